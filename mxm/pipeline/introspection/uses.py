"""What a function asks for by `mxm.use`: resources, as the defaults of its parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any, NoReturn

from mxm.pipeline.errors import UseError, repr_of
from mxm.pipeline.introspection.signatures import VARIADIC, defaults_of, signature_of
from mxm.pipeline.problems import Source

__all__ = [
    "ResourceBase",
    "Use",
    "asks_async",
    "resources_of",
    "settings_of",
    "used_by",
    "uses_in",
    "uses_of",
]


class ResourceBase:
    """What lower layers need to know about a resource; `resources.Resource` is one."""

    fn: Callable[..., Any]
    name: str
    source: Source | None
    is_async: bool
    origin: Any = None


class Use:
    """The default of a parameter that takes an opened resource; nothing can be done with it.

    Parameters
    ----------
    resource
        What `mxm.use` was given, be it a resource or not.
    """

    __slots__ = ("resource",)

    def __init__(self, resource: Any) -> None:
        self.resource: Any = resource

    def __repr__(self) -> str:
        resource = self.resource
        shown = resource.name if isinstance(resource, ResourceBase) else repr_of(resource)
        return f"mxm.use({shown})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Use, (self.resource,)

    def _refuse(self, *_: object) -> NoReturn:
        raise UseError(
            f"MXM602 {self!r} is used where nothing opens it: it must be the default of a "
            "parameter of a task or a resource",
            hint="put @mxm.task above the function, or open it by hand: with db.open() as ...",
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)  # a protocol that is only asked for
        self._refuse()


for _name in (
    *("call", "enter", "exit", "aenter", "aexit", "await", "iter", "aiter"),
    *("getitem", "len", "bool", "contains"),
):
    setattr(Use, f"__{_name}__", Use._refuse)  # pyright: ignore[reportPrivateUsage]


def uses_of(fn: Callable[..., Any]) -> dict[str, Use]:
    """By parameter of *fn*, what its default asks for."""
    if type(fn) is FunctionType and not fn.__dict__:  # nearly all, and nearly all have none
        kwdefaults = fn.__kwdefaults__
        if Use not in map(type, fn.__defaults__ or ()) and (
            not kwdefaults or Use not in map(type, kwdefaults.values())
        ):
            return {}
    return {name: value for name, value in defaults_of(fn).items() if type(value) is Use}


def resources_of(fn: Callable[..., Any]) -> dict[str, ResourceBase]:
    """By parameter of *fn*, the resource it takes; parameters without one are left out."""
    return {
        name: use.resource
        for name, use in uses_of(fn).items()
        if isinstance(use.resource, ResourceBase)
    }


def used_by(
    functions: Iterable[Callable[..., Any]],
    meant: Callable[[ResourceBase], Any] = lambda resource: resource,
) -> list[ResourceBase]:
    """Every resource that one of *functions* needs, each once, those that others need included.

    Parameters
    ----------
    functions
        Of tasks or resources.
    meant
        What is opened instead of each; only resources need an entry.
    """
    resources: dict[ResourceBase, None] = {}
    stack = [resource for fn in functions for resource in resources_of(fn).values()][::-1]
    while stack:
        resource = meant(stack.pop())
        if isinstance(resource, ResourceBase) and resource not in resources:
            resources[resource] = None
            stack.extend(reversed(resources_of(resource.fn).values()))
    return list(resources)


def settings_of(resource: ResourceBase) -> dict[str, inspect.Parameter]:
    """The parameters of *resource* that settings give their values."""
    signature = signature_of(resource.fn)
    return {
        name: parameter
        for name, parameter in (signature.parameters.items() if signature else ())
        if parameter.kind not in VARIADIC and type(parameter.default) is not Use
    }


def asks_async(
    fn: Callable[..., Any], meant: Callable[[ResourceBase], Any]
) -> Iterator[tuple[str, ResourceBase]]:
    """The parameters of *fn* that take an async resource, and which."""
    for name, resource in resources_of(fn).items():
        opened = meant(resource)
        if isinstance(opened, ResourceBase) and opened.is_async:
            yield name, opened


def uses_in(value: Any) -> Iterator[Use]:
    """Each `Use` in *value*, the members of lists, tuples, sets and dicts included."""
    stack, seen = [value], set[int]()
    while stack:
        part: Any = stack.pop()
        if type(part) is Use:
            yield part
        elif type(part) in _CONTAINERS and id(part) not in seen:
            seen.add(id(part))
            values = getattr(part, "values", None)
            stack.extend(part if values is None else values())


_CONTAINERS = (list, tuple, set, frozenset, dict)
