"""Results of an earlier run: shown at once, loaded when the value is needed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from mxm.pipeline.taskruns import ItemRun, TaskRun
from mxm.pipeline.values.jsonvalue import Written
from mxm.pipeline.values.remote import RemoteValue, fetched

__all__ = ["CachedItem", "Later", "LaterTask", "Results"]


class Later:
    """A value that is loaded once, on whichever thread asks first.

    Parameters
    ----------
    load
        Loads it.
    """

    __slots__ = ("_load", "_lock", "_value", "is_loaded")

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._value: Any = None
        self.is_loaded: bool = False

    def get(self) -> Any:
        """The value, by reference.

        Raises
        ------
        StoreError
            It cannot be loaded.
        """
        with self._lock:
            if not self.is_loaded:
                self._value = self._load()
                self.is_loaded = True
            return self._value


class LaterTask(TaskRun):
    """A task whose value is loaded on demand.

    Parameters
    ----------
    later
        Its value.
    written
        The value as JSON; None to make it when it is asked for.
    entry
        What an earlier run left of it; None for a mapped task, whose items have their own.
    **fields
        Those of `TaskRun`, without the value.
    """

    later: Later
    entry: Any

    def __init__(
        self, later: Later, written: Written | None, entry: Any = None, **fields: Any
    ) -> None:
        self.__dict__["later"] = later
        self.__dict__["entry"] = entry
        super().__init__(**fields)
        if written is not None:
            self.__dict__["written"] = written

    @property
    def value(self) -> Any:
        """What the task returned: a copy of it, loaded once.

        Raises
        ------
        StoreError
            It cannot be loaded.
        """
        return self.later.get()

    @value.setter
    def value(self, value: Any) -> None:
        del value  # the dataclass has None


class CachedItem(ItemRun):
    """An item whose value is loaded on demand.

    Parameters
    ----------
    later
        Its value.
    written
        The value as JSON; None to make it when it is asked for.
    entry
        What an earlier run left of it.
    **fields
        Those of `ItemRun`, without the value.
    """

    __slots__ = ("entry", "later", "written")

    def __init__(self, later: Later, written: Written | None, entry: Any, **fields: Any) -> None:
        self.later: Later = later
        self.written: Written | None = written
        self.entry: Any = entry
        super().__init__(**fields)

    @property
    def value(self) -> Any:
        """What the item's call returned: a copy of it, loaded once.

        Raises
        ------
        StoreError
            It cannot be loaded.
        """
        return self.later.get()

    @value.setter
    def value(self, value: Any) -> None:
        del value  # the dataclass has None

    def to_written(self) -> Written:
        """The value as JSON; only a long one is loaded for it."""
        return super().to_written() if self.written is None else self.written


class Results(dict[str, Any]):
    """The results of steps by name.

    Those that an earlier run kept are loaded when asked for, and those that stayed on a cluster
    are fetched.

    Attributes
    ----------
    held
        By step, what leads to the results that stayed on a cluster: it goes to workers in place of
        the value.
    """

    def __init__(self) -> None:
        super().__init__()
        self._later: dict[str, TaskRun] = {}
        self.held: dict[str, Any] = {}

    def keep(self, task: TaskRun) -> None:
        """Add the result of *task*."""
        if isinstance(task, LaterTask):
            self._later[task.name] = task
        elif type(task.value) is RemoteValue:
            self._later[task.name] = task
            self.held[task.name] = task.value.held
        else:
            self[task.name] = task.value

    def is_loaded(self, name: str) -> bool:
        """Whether the result of the step *name* is here."""
        task = self._later.get(name)
        if task is None:
            return True
        if isinstance(task, LaterTask):
            return task.later.is_loaded
        return type(task.value) is not RemoteValue or task.value.is_here

    def __missing__(self, name: str) -> Any:
        return fetched(self._later[name].value)

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or name in self._later

    def __len__(self) -> int:
        return super().__len__() + len(self._later)
