"""Secrets: finds the parameters that contain one, and masks their values."""

from __future__ import annotations

import atexit
import functools
import inspect
import re
import typing
from collections.abc import Callable
from typing import Any

from mxm.pipeline.introspection.annotations import Unresolved, hints_of, parts_of

__all__ = ["MASK", "Masked", "is_secret", "mask", "secret_parameters", "signature_text", "unmask"]

MASK = "**********"
"""What stands for a secret wherever something is shown; the same as pydantic's."""


class Masked:
    """A value that shows as `MASK`; `get_secret_value` returns it, as in pydantic's ``SecretStr``.

    Parameters
    ----------
    value
        Anything.
    """

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def get_secret_value(self) -> Any:
        """The unmasked value."""
        return self._value

    def __repr__(self) -> str:
        return MASK


def mask(value: Any) -> Any:
    """*value*, masked: unchanged if it is already a secret or None, else wrapped in a `Masked`."""
    return value if value is None or hasattr(value, "get_secret_value") else Masked(value)


def unmask(value: Any) -> Any:
    """The value passed to `mask`."""
    return value.get_secret_value() if isinstance(value, Masked) else value


def secret_parameters(fn: Callable[..., Any] | None) -> frozenset[str]:
    """Names of the parameters of *fn* whose annotation is or contains a secret."""
    hints = None if fn is None else hints_of(fn)
    if not hints:
        return _NONE
    return frozenset([n for n, a in hints.items() if n != "return" and is_secret(a)])


_NONE: frozenset[str] = frozenset()


def signature_text(fn: Callable[..., Any], *, annotated: bool = True) -> str:
    """The signature of *fn* as written, with defaults of secrets masked.

    Parameters
    ----------
    fn
        A callable that has a signature.
    annotated
        Whether to show types.
    """
    signature = inspect.signature(fn)
    shown = list(signature.parameters.values())
    secrets = secret_parameters(fn)
    if secrets:
        shown = [
            p.replace(default=mask(p.default))
            if p.name in secrets and p.default is not p.empty
            else p
            for p in shown
        ]
    if not annotated:
        shown = [p.replace(annotation=p.empty) for p in shown]
        signature = signature.replace(return_annotation=signature.empty)
    shown = [p.replace(annotation=_as_written(p.annotation)) for p in shown]
    returned = _as_written(signature.return_annotation)
    return str(signature.replace(parameters=shown, return_annotation=returned))


class _Text(str):
    """An annotation that is a string already; its repr has no quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _as_written(annotation: Any) -> Any:
    return _Text(annotation) if type(annotation) is str else annotation


def is_secret(annotation: Any) -> bool:
    """Whether values of *annotation* are or contain a ``SecretStr`` or a similar type.

    pydantic's types are recognized by their method, so pydantic is not loaded.
    """
    try:
        return _is_secret(annotation)
    except TypeError:  # an unhashable annotation, Annotated[...] with a list in it
        return _search(annotation)


def _search(annotation: Any) -> bool:
    return any(map(_is_one, parts_of(annotation)))


_is_secret = functools.lru_cache(maxsize=4096)(_search)
atexit.register(_is_secret.cache_clear)  # so that the user's objects end as if nothing held them
_NAMED_SO = re.compile(r"\bSecret(Str|Bytes)?\b")


def _is_one(kind: Any) -> bool:
    if isinstance(kind, typing.ForwardRef):
        kind = kind.__forward_arg__
    if isinstance(kind, Unresolved | str):
        # An import under TYPE_CHECKING: only the name is known.
        return bool(_NAMED_SO.search(str(kind)))
    return hasattr(kind, "get_secret_value")
