"""The one place that loads pydantic: a value read as a type."""

from __future__ import annotations

import functools
from typing import Any

from pydantic import ConfigDict, PydanticUserError, SecretStr, TypeAdapter, ValidationError

__all__ = ["NoSchemaError", "SecretStr", "read", "validate"]


class NoSchemaError(Exception):
    """Nothing can be checked against this annotation."""


def validate(value: Any, annotation: Any) -> Any:
    """*value* itself where it already fits *annotation*, else what `read` makes of it.

    Raises
    ------
    ValueError
        It does not fit.
    NoSchemaError
        *annotation* is nothing that pydantic knows.
    """
    try:
        _adapter(annotation).validate_python(value, strict=True)
    except NoSchemaError:
        raise
    except Exception:  # a validator of the user's may fail in any way; reading tells it properly
        return read(value, annotation)
    return value


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
