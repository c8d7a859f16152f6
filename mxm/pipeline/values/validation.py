"""The one place that loads pydantic: a value read as a type."""

from __future__ import annotations

import functools
import sys
import typing
from collections import abc
from types import GenericAlias, UnionType
from typing import Any

import typing_extensions
from pydantic import ConfigDict, PydanticUserError, SecretStr, TypeAdapter, ValidationError

from mxm.pipeline.introspection.annotations import entries_of, is_typed_dict

__all__ = ["NoSchemaError", "SecretStr", "read"]


class NoSchemaError(Exception):
    """Nothing can be checked against this annotation."""


def read(value: Any, annotation: Any) -> Any:
    """What pydantic's lax mode makes of *value*.

    Raises
    ------
    ValueError
        It cannot be read so; the message is pydantic's own, without its frame.
    NoSchemaError
        *annotation* is nothing that pydantic knows.
    """
    adapter = _adapter(annotation)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{part!r}]" for part in first["loc"] if part not in ("int", "str"))
        raise ValueError(f"{place} {first['msg']}".strip()) from None
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached(annotation)
    except TypeError:  # an unhashable annotation, Annotated[...] with a list in it
        return _made(annotation)


def _made(annotation: Any) -> TypeAdapter[Any]:
    try:
        annotation = _known(annotation, {})
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # dataclasses and models bring a configuration of their own
        pass
    except Exception as error:
        raise NoSchemaError(str(error)) from error
    try:
        return TypeAdapter(annotation)
    except Exception as error:
        raise NoSchemaError(str(error)) from error


_cached = functools.lru_cache(maxsize=1024)(_made)


def _known(annotation: Any, twins: dict[Any, Any]) -> Any:
    """*annotation* with what pydantic can check in place of what it cannot.

    Parameters
    ----------
    annotation
        The user's.
    twins
        What stands for each typed dict found so far.
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
    """The typed dict *kind* as one of typing_extensions: before 3.12 pydantic takes no other."""
    typed_dict: Any = typing_extensions.TypedDict
    twin = typed_dict(kind.__name__, {})
    twins[kind] = twin  # before its entries are known, as they may name it
    entries = entries_of(kind)
    twin.__annotations__ = {name: _known(hint, twins) for name, (hint, _) in entries.items()}
    twin.__required_keys__ = frozenset(n for n, (_, required) in entries.items() if required)
    return twin
