"""The inputs of the items of a mapped step: its lists, and what is the same for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mxm.pipeline.bindings import Const, Each, Param, Upstream
from mxm.pipeline.execution.items.places import ItemPlaces
from mxm.pipeline.execution.kept.later import Later

if TYPE_CHECKING:
    from mxm.pipeline.execution.kept.contents import Content

__all__ = ["ItemList", "Same", "SameLater", "described_list"]


class Same:
    """An input that is the same for every item."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def at(self, place: int) -> Any:
        """The input of the item at *place*."""
        del place
        return self._value


class SameLater(Same):
    """An input that is loaded when the first item is called."""

    def __init__(self, load: Callable[[], Any]) -> None:
        super().__init__(Later(load))

    def at(self, place: int) -> Any:
        """The input of the item at *place*."""
        del place
        return self._value.get()


class ItemList:
    """A list of items: those of an upstream mapped step, or the members of a value."""

    __slots__ = ("items", "source")

    def __init__(self, source: ItemPlaces | None, items: list[Any] | None) -> None:
        self.source: ItemPlaces | None = source
        self.items: list[Any] | None = items

    @property
    def count(self) -> int:
        """How many items there are."""
        return self.source.count if self.source else len(self.items or ())

    def at(self, place: int) -> Any:
        """The item at *place*."""
        if self.source is not None:
            return self.source.value_at(place)
        return (self.items or [])[place]

    def content_at(self, place: int) -> Content:
        """The content of the item at *place*."""
        # Loaded by runs that have cached tasks.
        from mxm.pipeline.execution.kept.contents import Fresh, content_of_item

        run = self.source.runs[place] if self.source is not None else None
        return content_of_item(run) if run and run.has_value else Fresh(self.at(place))


def described_list(binding: Each) -> str:
    """Where the items of *binding* come from, in words."""
    items = binding.items
    if isinstance(items, Upstream | Param):
        return str(items)
    if isinstance(items, Const):
        return "a constant"
    return f"a {items.kind.__name__}"
