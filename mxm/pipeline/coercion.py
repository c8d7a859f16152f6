"""The one place that loads pydantic: a value read as a type."""

from __future__ import annotations

import functools
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

__all__ = ["validate"]


def validate(value: Any, annotation: Any) -> Any:
    """*value* itself where it already fits *annotation*, else what pydantic's lax mode makes of it.

    Raises
    ------
    ValueError
        It cannot be read so; the message is pydantic's own, without its frame.
    """
    adapter = _adapter(annotation)
    if not isinstance(value, str):
        try:
            adapter.validate_python(value, strict=True)
        except ValidationError:
            pass
        else:
            return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = "".join(f"[{part!r}]" for part in first["loc"] if part not in ("int", "str"))
        raise ValueError(f"{place} {first['msg']}".strip()) from None


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return _cached(annotation)
    except TypeError:  # an unhashable annotation, Annotated[...] with a list in it
        return _made(annotation)


def _made(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # dataclasses and models bring a configuration of their own
        return TypeAdapter(annotation)


_cached = functools.lru_cache(maxsize=1024)(_made)
