"""Converts values with pydantic; the only module that loads it."""

from __future__ import annotations

import atexit
import functools
import sys
import typing
from collections import abc
from types import GenericAlias, UnionType
from typing import Any, cast

import pydantic
import typing_extensions
from pydantic import ConfigDict, PydanticUserError, SecretStr, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from mxm.pipeline.errors import PipelineError, described, text_of
from mxm.pipeline.introspection.annotations import (
    entries_of,
    field_hints,
    is_typed_dict,
    parts_of,
)
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.strictness import strict_schema

__all__ = ["NoSchemaError", "SecretStr", "read"]


class NoSchemaError(Exception):
    """Pydantic cannot check this annotation."""


def read(value: Any, annotation: Any, *, closed: bool = True) -> Any:
    """Convert *value* in pydantic's lax mode, within the limits of `strict_schema`.

    Parameters
    ----------
    value, annotation
        The value, and the type to convert it to.
    closed
        Whether an unknown key of a typed dict is an error; otherwise it is kept.

    Raises
    ------
    ValueError
        It cannot be converted; the message lists all problems.
    NoSchemaError
        Pydantic does not know *annotation*.
    PipelineError
        The installed pydantic does not support the strict checks.
    """
    validator = _validator(annotation, closed)
    try:
        return validator.validate_python(value)
    except ValidationError as error:
        try:
            text = _described(error, value, annotation)
        except BaseException as broken:  # pydantic takes the text of validators' exceptions
            let_signals_pass(broken)
            text = "a validator refuses it"
        raise ValueError(text) from None
    except BaseException as error:  # from the user's validators
        let_signals_pass(error)
        raise ValueError(described(error)) from error


_MOST_ERRORS = 10


def _described(error: ValidationError, value: Any, annotation: Any) -> str:
    """All problems of *value*, each with its place."""
    lines: list[str] = []
    for one in error.errors(include_url=False, include_context=False):
        place = _place(one["loc"], value)
        message = one["msg"]
        if one["type"] in _UNKNOWN:
            known = {name for part in parts_of(annotation) for name in field_hints(part)}
            near = did_you_mean(str(one["loc"][-1]), known)
            message = "unknown field" + (f": {near}" if near else "")
        line = f"{place} {message}".strip()
        if line not in lines:
            lines.append(line)
    more = len(lines) - _MOST_ERRORS
    return "; ".join(lines[:_MOST_ERRORS]) + (f"; and {more} more" if more > 0 else "")


_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def _place(location: tuple[int | str, ...], value: Any) -> str:
    """*location* in *value*, without pydantic's names for members of a union."""
    place = ""
    for number, part in enumerate(location):
        last = number == len(location) - 1
        if isinstance(value, abc.Mapping):
            table = cast("Any", value)
            if part not in table and not (last and isinstance(part, str)):
                continue
            value = table.get(part)
        elif isinstance(part, str):
            value = getattr(value, part, value)
            if not hasattr(value, part):
                continue
        elif isinstance(value, abc.Sequence) and not isinstance(value, str):
            row = cast("Any", value)
            value = row[part] if part < len(row) else None
        place += f"[{part!r}]"
    return place


def _validator(annotation: Any, closed: bool) -> SchemaValidator:
    try:
        return _cached(annotation, closed)
    except TypeError:  # an unhashable annotation, Annotated[...] with a list in it
        return _made(annotation, closed)


def _made(annotation: Any, closed: bool) -> SchemaValidator:
    try:
        schema: Any = strict_schema(_adapter(annotation).core_schema, closed=closed)
    except NoSchemaError:
        raise
    except BaseException as error:  # a class may have any code
        let_signals_pass(error)
        raise NoSchemaError(text_of(error)) from error
    try:
        # Models and dataclasses have their own validators, whose schemas are not strict.
        return SchemaValidator(schema, None, _use_prebuilt=False)
    except TypeError:  # pydantic 2.11 and 2.12 would use those, and read a number as a date
        raise PipelineError(
            f"pydantic {pydantic.VERSION} cannot check values as strictly as parameters need",
            hint="pip install --upgrade mxm-pipeline 'pydantic>=2.13'",
        ) from None


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        annotation = _known(annotation, {})
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # dataclasses and models have their own configuration
        pass
    except BaseException as error:  # a class may have any code
        let_signals_pass(error)
        raise NoSchemaError(text_of(error)) from error
    try:
        return TypeAdapter(annotation)
    except BaseException as error:  # a class may have any code
        let_signals_pass(error)
        raise NoSchemaError(text_of(error)) from error


_cached = functools.lru_cache(maxsize=1024)(_made)
atexit.register(_cached.cache_clear)  # so that the user's objects end as if nothing held them


def _known(annotation: Any, twins: dict[Any, Any]) -> Any:
    """*annotation* with the parts that pydantic cannot check replaced.

    Parameters
    ----------
    annotation
        The user's annotation.
    twins
        The replacement of each typed dict so far.
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    kind = origin or annotation
    if kind in _READ_ONCE:
        return GenericAlias(list, (_known(args[0], twins),)) if args else list
    if is_typed_dict(kind) and type(kind).__module__ == "typing" and _OLD:
        return twins[kind] if kind in twins else _twin(kind, twins)
    if origin is typing.Literal:
        return annotation
    types, rest = (args[:1], args[1:]) if origin is typing.Annotated else (args, ())
    known = tuple(_known(part, twins) for part in types)
    if known == types:
        return annotation
    return (typing.Union if origin is UnionType else origin)[(*known, *rest)]


_OLD = sys.version_info < (3, 12)
# pydantic checks their members one by one while they are read, or not at all.
_READ_ONCE = (
    *(abc.Iterable, abc.Iterator, abc.Generator),
    *(abc.Collection, abc.Container, abc.Reversible),
)


def _twin(kind: Any, twins: dict[Any, Any]) -> Any:
    """The typed dict *kind* as one of typing_extensions, which pydantic requires before 3.12."""
    typed_dict: Any = typing_extensions.TypedDict
    twin = typed_dict(kind.__name__, {})
    twins[kind] = twin  # before its entries, because they may refer to it
    entries = entries_of(kind)
    twin.__annotations__ = {name: _known(hint, twins) for name, (hint, _) in entries.items()}
    twin.__required_keys__ = frozenset(n for n, (_, required) in entries.items() if required)
    return twin
