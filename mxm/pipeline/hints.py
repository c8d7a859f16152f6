"""Annotations of functions, resolved as far as they can be."""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Unresolved", "hints_of", "type_text"]


class Unresolved:
    """Stands for an annotation that cannot be evaluated: an import under TYPE_CHECKING, a typo."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


@functools.lru_cache(maxsize=65_536)
def hints_of(fn: Callable[..., Any]) -> Mapping[str, Any]:
    """The annotations of *fn* by parameter name, ``"return"`` too; never raises.

    One that cannot be evaluated is an `Unresolved`, and leaves the others as they are.
    """
    plain = inspect.unwrap(fn)
    raw: Mapping[str, Any] = getattr(plain, "__annotations__", {})
    if not any(isinstance(value, str) for value in raw.values()):
        return {k: type(None) if v is None else v for k, v in raw.items()}
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception:  # an annotation may run any code, and fail in any way
        return {name: _resolve(plain, value) for name, value in raw.items()}


def _resolve(fn: Callable[..., Any], annotation: Any) -> Any:
    if not isinstance(annotation, str):
        return annotation
    module = sys.modules.get(getattr(fn, "__module__", ""))
    scope: dict[str, Any] = getattr(fn, "__globals__", None) or vars(module)
    holder: Any = type(
        "_", (), {"__annotations__": {"it": annotation}, "__module__": fn.__module__}
    )
    try:
        return typing.get_type_hints(holder, scope, {}, include_extras=True)["it"]
    except Exception:
        return Unresolved(annotation)


def type_text(annotation: Any) -> str:
    """*annotation* as a user would write it: ``int``, ``list[str] | None``, ``date``."""
    if annotation is inspect.Parameter.empty:
        return "any"
    if annotation is type(None):
        return "None"
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "").replace("datetime.", "")
