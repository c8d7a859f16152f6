"""Which Prefect versions are supported, and the error if the installed one lacks a name we use."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from mxm.pipeline.errors import EngineMissingError, described
from mxm.pipeline.introspection.shadows import shadow_hint

__all__ = ["known_prefect", "require", "require_parameters", "unfit"]

# As in pyproject.toml, which gives the reasons.
_FITS = ("prefect>=3.8.7,<3.10", "fastapi>=0.139,<0.151")


def unfit(what: str, error: BaseException) -> EngineMissingError:
    """The error that the installed Prefect *what*, and why; it names the supported versions."""
    from importlib.metadata import PackageNotFoundError, version  # slow to load

    try:
        installed = f"Prefect {version('prefect')}"
    except PackageNotFoundError:  # a copy on the path
        installed = "This Prefect, whose version is unknown,"
    install = "pip install " + " ".join(f"'{requirement}'" for requirement in _FITS)
    return EngineMissingError(
        f"{installed} {what}: {described(error)}", hint=shadow_hint() or install
    )


@contextmanager
def known_prefect() -> Generator[None, None, None]:
    """Name the supported versions if this Prefect lacks names that are used here.

    Raises
    ------
    EngineMissingError
        A name is missing: it is not public, and another version may not have it.
    """
    try:
        yield
    except EngineMissingError:
        raise
    except (ImportError, AttributeError) as error:
        raise unfit("is not a version that mxm-pipeline supports", error) from error


def require(owner: Any, *names: str) -> None:
    """Raise AttributeError unless *owner* has all *names*; a model's fields count, too."""
    declared = {
        *getattr(owner, "__pydantic_fields__", ()),
        *getattr(owner, "__private_attributes__", ()),
    }
    for name in names:
        if name not in declared:
            getattr(owner, name)


def require_parameters(function: Callable[..., Any], *names: str) -> None:
    """Raise AttributeError unless *function* has a parameter for each of *names*."""
    taken = inspect.signature(function).parameters
    for name in names:
        if name not in taken:
            raise AttributeError(f"{function.__qualname__}() takes no {name!r}")
