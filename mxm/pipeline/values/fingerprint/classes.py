"""Reads classes: their statement, bases, methods and current attributes."""

from __future__ import annotations

import enum
import sys
from abc import ABCMeta
from types import FunctionType, GetSetDescriptorType, MemberDescriptorType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint.items import hash_of
from mxm.pipeline.values.fingerprint.nodes import Graphed, Node
from mxm.pipeline.values.fingerprint.places import Origin, Places

__all__ = ["accessors_of", "fill_class", "home_of_class"]

_PLAIN_METAS = (type, ABCMeta, enum.EnumMeta)
_SIMPLE = (int, float, complex, str, bytes, bool, type(None), tuple, frozenset,
           FunctionType)  # fmt: skip
_SLOTS = (MemberDescriptorType, GetSetDescriptorType)


# Classes made by these functions have this name as their module.
_MAKERS = ("abc", "dataclasses", "types")


def home_of_class(cls: type, scope: Any, places: Places) -> tuple[Origin, str, Any]:
    """Origin, file and namespace of the module that defines *cls*.

    Parameters
    ----------
    scope
        A namespace in which it was found.
    """
    if cls.__module__ in _MAKERS and (
        vars(sys.modules[cls.__module__]).get(cls.__qualname__) is not cls
    ):
        return Origin.TYPED, "", {}
    for value in list(vars(cls).values()):
        function: Any = getattr(value, "__func__", getattr(value, "fget", value))
        if isinstance(function, FunctionType) and function.__qualname__.startswith(
            f"{cls.__qualname__}."
        ):
            home = function.__globals__
            if home.get("__name__") == cls.__module__:
                return (*places.of_file(home.get("__file__")), home)
    space: Any = scope
    if isinstance(scope, dict) and space.get("__name__") == cls.__module__ and "__file__" in space:
        return (*places.of_file(space["__file__"]), space)
    module = sys.modules.get(cls.__module__)
    if isinstance(module, ModuleType):
        origin, path = places.of_module(module)
        return origin, path, vars(module)
    return Origin.TYPED, "", {}


def fill_class(graph: Graphed, node: Node, cls: type, path: str, space: Any) -> None:
    """Fill *node* with *cls*, which the module of the namespace *space* defines."""
    facts = graph.file(path) if path else None
    node.path = path
    definitions = facts.classes.get(cls.__qualname__, []) if facts is not None else []
    foreign = _is_foreign(cls)
    own = dict(vars(cls))
    if definitions and facts is not None:
        node.line = definitions[0].line
        node.content = hash_of(*(each.digest for each in definitions))
        annotated = hash_of(*(each.annotated for each in definitions))
        for each in definitions:
            if each.raw in facts.codes:
                graph.follow(node, facts.codes[each.raw][1], space)
        for number, decorator in enumerate(facts.decorators.get(cls.__qualname__, [])):
            annotated = f"{annotated} decorated {number}"
            graph.follow(node, decorator.facts, space)
    else:
        node.content = hash_of(*own)
        annotated = hash_of(repr(own.get("__annotations__")))
        made: dict[str, Any] = own.get("__dataclass_fields__", {})
        for name, each in made.items():
            graph.link(node, f"field {name}", (each.default_factory, dict(each.metadata)))
    node.annotations = annotated
    reads = foreign or "__dataclass_fields__" in own or "_fields" in own or "decorated" in annotated
    if reads:
        node.content = hash_of(node.content, annotated)
    for number, base in enumerate(cls.__bases__):
        graph.link(node, f"base {number}", base, space)
    if type(cls) is not type:
        graph.link(node, "metaclass", type(cls), space)
    if issubclass(cls, enum.Enum):
        for name, member in cls.__members__.items():
            graph.link(node, f"member {name}", member.value)
    for name, value in own.items():
        if not _is_written(name, value, cls):  # pyright: ignore[reportUnknownArgumentType]
            continue
        if foreign and not (accessors_of(value) or isinstance(value, _SIMPLE)):
            continue  # a library's state; its statement counts
        graph.bind(node, vars(cls), name, value)  # pyright: ignore[reportUnknownArgumentType]
        graph.link(node, f".{name}", value, vars(cls))  # pyright: ignore[reportUnknownArgumentType]


def _is_foreign(cls: type) -> bool:
    """Whether a library processes the class: pydantic, SQLAlchemy, TypedDict."""
    return any(type(base) not in _PLAIN_METAS for base in cls.__mro__)


def _is_written(name: str, value: Any, cls: type) -> bool:
    """Whether the author of *cls* wrote the attribute."""
    if isinstance(value, _SLOTS) or name == "_abc_impl":
        return False
    if issubclass(cls, enum.Enum) and (
        name in cls.__members__ or name in _OF_ENUMS or type(value).__module__ == "enum"
    ):
        return False
    return not (name.startswith("__") and name.endswith("__")) or bool(
        isinstance(value, FunctionType) or accessors_of(value)
    )


_OF_ENUMS = {
    "_member_names_", "_member_map_", "_value2member_map_", "_unhashable_values_", "_member_type_",
    "_value_repr_", "_new_member_", "_use_args_", "_hashable_values_", "_unhashable_values_map_",
    "_flag_mask_", "_singles_mask_", "_all_bits_", "_boundary_", "_inverted_",
    "_generate_next_value_",
}  # fmt: skip


def accessors_of(value: Any) -> list[tuple[str, Any]]:
    """The functions behind a property, a class method, a cached function; with their names."""
    kind: Any = type(value)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, property):
        both: list[tuple[str, Any]] = [
            ("get", value.fget),
            ("set", value.fset),
            ("del", value.fdel),
        ]
        return [(name, each) for name, each in both if each is not None]
    if isinstance(value, classmethod | staticmethod):
        wrapper: Any = value  # pyright: ignore[reportUnknownVariableType]
        return [("function", wrapper.__func__)]
    if kind.__module__ == "functools":
        if kind.__name__ == "_lru_cache_wrapper":
            return [
                ("cached", value.__wrapped__),
                ("cache", tuple(value.cache_parameters().items())),
            ]
        if kind.__name__ in ("cached_property", "singledispatchmethod"):
            return [("function", value.func), *_registered(getattr(value, "dispatcher", None))]
        if kind.__name__ == "partialmethod":
            return [("function", value.func), ("args", (value.args, tuple(value.keywords.items())))]
    return _registered(value)


def _registered(function: Any) -> list[tuple[str, Any]]:
    """What a singledispatch function calls, by type."""
    if not isinstance(function, FunctionType) or "registry" not in vars(function):
        return []
    registry: Any = vars(function)["registry"]
    if not hasattr(function, "dispatch"):
        return []
    return [(f"for {kind.__module__}.{kind.__qualname__}", each) for kind, each in registry.items()]
