"""Placeholders for the values of a run in a flow's body; a use that needs the value raises."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NoReturn, Protocol, cast

from mxm.pipeline.bindings import Binding, Collection, Const, Each, Param, Upstream
from mxm.pipeline.errors import PipelineError, repr_of
from mxm.pipeline.introspection.other_engines import attribute_hint
from mxm.pipeline.problems import Source
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.tracing.marks import ItemMark, Mark

__all__ = [
    "CONTAINERS",
    "Ready",
    "Recorder",
    "StandIn",
    "TracingError",
    "active_recorder",
    "awaiting_error",
    "body_frames",
    "body_source",
    "called_in_asyncio",
    "hidden_in",
    "parts_of",
    "recording",
    "run_body",
    "snapshot",
    "stand_ins_in",
    "to_binding",
]


class Origin(Protocol):
    """The call whose result a stand-in represents."""

    final: str

    @property
    def name(self) -> str:
        """The name of the task in the body."""
        ...


class Recorder(Protocol):
    """The reader of a body, which keeps the errors of stand-ins."""

    file: str
    over: bool

    def used(self, what: str) -> None:
        """Report *what* if it happens in a block that a run does not pass through."""
        ...

    def unpacks(self, stand_in: StandIn) -> int | None:
        """The number of parts that *stand_in* is unpacked into; None if it must not be unpacked."""
        ...

    def keep(self, error: TracingError) -> None:
        """Keep *error* as a problem of the flow."""
        ...


recording: ContextVar[Recorder | None] = ContextVar("mxm_trace", default=None)


def active_recorder() -> Recorder | None:
    """The reader of a body in this context, or None."""
    recorder = recording.get()
    # A context that was copied in a body, for an asyncio task say, outlives the pass.
    return None if recorder is None or recorder.over else recorder


class TracingError(PipelineError, TypeError):
    """A flow's body used a value that exists only when the flow runs."""

    code = "MXM301"


class StandIn:
    """Stands for a value that exists only when the flow runs: a parameter or a task's result.

    It may be passed to tasks, also inside lists, tuples and dict values, indexed with a constant,
    awaited and returned, and unpacked where it is annotated as a tuple of fixed length. Everything
    else raises, naming the line and what to write instead.
    """

    __slots__ = ("_origin", "_path")
    _origin: Origin | str
    _path: tuple[str | int, ...]

    def __init__(self, origin: Origin | str, path: tuple[str | int, ...] = ()) -> None:
        object.__setattr__(self, "_origin", origin)
        object.__setattr__(self, "_path", path)

    def __repr__(self) -> str:
        origin = self._origin
        name = origin if isinstance(origin, str) else origin.name
        kind = "parameter" if isinstance(origin, str) else "result of task"
        path = "".join(f"[{key!r}]" for key in self._path)
        return f"<{kind} {name!r}{path}, known when the flow runs>"

    def __getitem__(self, key: object) -> StandIn:
        if isinstance(key, StandIn):
            self._refuse("an index that is itself a value of the run", "index inside a task")
        if not isinstance(key, str | int) or isinstance(key, bool):
            self._refuse(
                f"an index {repr_of(key)}", 'only ["key"] and [0] with a constant may be used'
            )
        _used("a result is indexed or unpacked")
        return StandIn(self._origin, (*self._path, key))

    def __iter__(self) -> Iterator[StandIn]:
        return iter([self[i] for i in range(self._count("iteration or unpacking"))])

    def __reversed__(self) -> Iterator[StandIn]:
        return iter([self[i] for i in reversed(range(self._count("iteration or unpacking")))])

    def __len__(self) -> int:
        return self._count("its length")  # list(x) calls it

    def _count(self, use: str) -> int:
        recorder = active_recorder()
        count = None if recorder is None else recorder.unpacks(self)
        if count is None:
            self._refuse(use, _UNPACKING[use])
        return count

    def __await__(self) -> Generator[Any, Any, StandIn]:
        if active_recorder() is not None and called_in_asyncio(body_frames()) is not None:
            self._refuse("awaiting it through asyncio", "await it in the body")
        _used("a result is awaited")
        return self
        yield  # makes this a generator that ends at once

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # protocols that are only probed, such as copy
        package = _asking()
        if package is None:
            fix = attribute_hint("value", name) or f"take {name!r} inside a task"
            self._refuse(f"its attribute {name!r}", fix)
        self._refuse(f"its value in {package}", f"use {package} inside a task")

    def _refuse(self, use: str, fix: str) -> NoReturn:
        recorder = active_recorder()
        error = TracingError(
            f"{self!r}: {use} cannot be used in a flow's body",
            hint=fix,
            source=body_source(column=True),
        )
        if recorder is not None:
            called = called_in_asyncio(body_frames())
            if called is not None:  # gather asks for a hash, which is not what the user did
                error = awaiting_error(called, error.source)
            recorder.keep(error)
        raise error


def _used(what: str) -> None:
    recorder = active_recorder()
    if recorder is not None:
        recorder.used(what)


_UNPACKING = {
    "iteration or unpacking": (
        "index with constants, p = split(x); p[0], p[1], or annotate it as a tuple of fixed "
        "length, tuple[A, B]; otherwise iterate inside a task"
    ),
    "its length": "take len() inside a task",
}
# In C, types are looked at without asking the object, and named as they are: no user's name is so.
StandIn.__name__ = StandIn.__qualname__ = "<value of the run>"

_OPERATORS = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("and", "or", "xor"),
)
_REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "its truth value (if, and, or, not, while)": (
        ("__bool__",),
        "move the decision into a task, which gets the value as an argument",
    ),
    "a comparison": (
        ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
        "compare inside a task",
    ),
    "in": (("__contains__",), "look inside a task"),
    "its hash (a set, a dict key)": (
        ("__hash__",),
        "use it as a list item or a dict value, or build the set inside a task",
    ),
    "its text (str, an f-string, print)": (
        ("__str__", "__format__", "__bytes__"),
        "make the text inside a task",
    ),
    "next": (("__next__",), "index with constants: p = split(x); p[0], p[1]"),
    "arithmetic": (
        (
            *(f"__{prefix}{op}__" for op in _OPERATORS for prefix in ("", "r", "i")),
            *("__neg__", "__pos__", "__abs__", "__invert__", "__round__"),
        ),
        "calculate inside a task",
    ),
    ">> or <<": (
        tuple(f"__{prefix}{side}shift__" for prefix in ("", "r", "i") for side in "lr"),
        "order tasks with after=; calculate inside a task",
    ),
    "its value as a number": (
        ("__int__", "__float__", "__complex__", "__index__", "__trunc__", "__floor__", "__ceil__"),
        "calculate, or open the file, inside a task",
    ),
    "its value as an array": (
        ("__array__", "__array_ufunc__", "__array_function__", "__dataframe__", "__arrow_array__"),
        "pass it to a task, which gets the array",
    ),
    "its value as a path": (("__fspath__",), "open the file inside a task"),
    "assignment to it or a part of it": (
        ("__setattr__", "__delattr__", "__setitem__", "__delitem__"),
        "change a value inside the task that makes it",
    ),
    "a call": (("__call__",), "call it inside a task"),
    "with": (("__enter__", "__exit__", "__aenter__", "__aexit__"), "open it inside a task"),
    "copying or pickling it": (("__reduce__", "__reduce_ex__"), "copy it inside a task"),
    "async for": (("__aiter__",), "iterate inside a task"),
}


def _refusal(use: str, fix: str) -> Callable[..., NoReturn]:
    def refuse(self: StandIn, /, *_: object, **__: object) -> NoReturn:
        self._refuse(use, fix)  # pyright: ignore[reportPrivateUsage]

    return refuse


for _use, (_names, _fix) in _REFUSED.items():
    for _name in _names:
        setattr(StandIn, _name, _refusal(_use, _fix))


def body_frames() -> Iterator[FrameType]:
    """The frames from here out to the flow's body, without our own code."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code is not run_body.__code__:
        if not f"{frame.f_globals.get('__name__')}.".startswith("mxm.pipeline."):
            yield frame
        frame = frame.f_back


def body_source(*, column: bool = False) -> Source | None:
    """The line of the body's file that is executing.

    Where a library uses a stand-in that the body gave it, the user's line is the one to show.

    Parameters
    ----------
    column
        Whether to look for the column too, which takes as long as the body is.
    """
    recorder = active_recorder()
    frames = list(body_frames())
    own = [f for f in frames if recorder is not None and f.f_code.co_filename == recorder.file]
    frame = next(iter(own or frames), None)
    if frame is None:
        return None
    place = _column(frame.f_code, frame.f_lasti) if column else None
    return Source(frame.f_code.co_filename, frame.f_lineno, place)


def _asking() -> str | None:
    """The package other than the body's module whose code uses a stand-in, or None."""
    recorder = active_recorder()
    frame = next(body_frames(), None)
    if recorder is None or frame is None or frame.f_code.co_filename == recorder.file:
        return None
    return _module(frame).partition(".")[0]


def called_in_asyncio(frames: Iterable[FrameType]) -> str | None:
    """The function of asyncio that the body called, if *frames* (innermost first) are in one."""
    names = [f.f_code.co_name for f in frames if _module(f).partition(".")[0] == "asyncio"]
    return names[-1] if names else None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def awaiting_error(called: str | None, source: Source | None) -> TracingError:
    """The error for an await, or a call of asyncio, that stand-ins do not support."""
    name = "asyncio" if called is None or called.startswith("_") else f"asyncio.{called}"
    subject = f"{name} is not supported: a flow's body" if called else "a flow's body"
    hint = (
        "await the tasks one after the other: independent tasks run in parallel "
        "with --runner threads"
        if called in ("gather", "wait", "create_task", "as_completed")
        else "await it inside an async task"
    )
    error = TracingError(f"{subject} may await tasks and flows only", hint=hint, source=source)
    error.code = "MXM303"
    return error


def _column(code: Any, lasti: int) -> int | None:
    for i, (_, _, column, _) in enumerate(code.co_positions()):
        if i == lasti // 2:
            return None if column is None else column + 1
    return None


@dataclass
class Ready:
    """The value of an async flow, to be awaited; as a dataclass it has no hash for `gather`."""

    value: Any

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.value
        yield  # makes this a generator that ends at once


def run_body(fn: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
    """Call the body *fn*; stacks are read up to this frame."""
    returned = fn(*args, **kwargs)
    return _drive(returned) if inspect.iscoroutine(returned) else returned


def _drive(coroutine: Any) -> Any:
    """Run an async body to its end; anything awaited but a stand-in is an error."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    frame = coroutine.cr_frame
    source = Source(frame.f_code.co_filename, frame.f_lineno) if frame else None
    try:
        coroutine.close()
    except BaseException as error:  # the body may do anything on its way out
        let_signals_pass(error)
    raise awaiting_error(None, source)


def to_binding(value: Any) -> Binding:
    """Where *value* comes from; a container becomes a `Collection` only if a stand-in is in it."""
    if isinstance(value, Mark | ItemMark):
        items: Any = to_binding(value.value)
        return Each(items, value.path if isinstance(value, ItemMark) else ())
    if isinstance(value, StandIn):
        origin, path = value._origin, value._path  # pyright: ignore[reportPrivateUsage]
        return Param(origin, path) if isinstance(origin, str) else Upstream(origin.final, path)
    kind = cast("Any", type(value))
    if kind not in CONTAINERS or not any(isinstance(v, _LEAVES) for v in _leaves(value)):
        return Const(value)
    if kind is dict:
        return Collection(dict, tuple(map(to_binding, value.values())), tuple(value))
    return Collection(kind, tuple(map(to_binding, value)))


CONTAINERS: tuple[type, ...] = (list, tuple, dict)
_LEAVES = (StandIn, ItemMark)


def _leaves(value: Any) -> Iterator[Any]:
    """Everything in *value*, marks as they are."""
    return parts_of(value, into_marks=False)


def stand_ins_in(value: Any) -> Iterator[StandIn]:
    """Every stand-in in *value*, lists, tuples and dict values included."""
    return (item for item in parts_of(value) if isinstance(item, StandIn))


def parts_of(value: Any, *, into_marks: bool = True) -> Iterator[Any]:
    """*value* and everything in it, as far as lists, tuples, dicts and their like go.

    In place of a mark of a map, the list that is marked, unless *into_marks* is false.
    """
    stack: list[Any] = [value]
    seen: set[int] = set()  # a list may contain itself
    while stack:
        item = stack.pop()
        if into_marks and isinstance(item, Mark | ItemMark):
            item = item.value
        yield item
        if isinstance(item, CONTAINERS) and id(item) not in seen:
            seen.add(id(item))
            part: Any = item
            stack.extend(part.values() if isinstance(item, dict) else part)


def snapshot(value: Any) -> Any:
    """A copy of *value* as it is now: later changes in the body do not affect earlier calls."""
    kind = cast("Any", type(value))
    if kind is Mark:
        return Mark(snapshot(value.value))
    if kind is ItemMark:
        return ItemMark(snapshot(value.value), value.path)
    if kind is dict:
        return {k: snapshot(v) for k, v in value.items()}
    if kind in (list, tuple):
        items = [snapshot(item) for item in value]
        return items if kind is list else tuple(items)
    return value


_MOST_SEARCHED = 10_000


def hidden_in(value: Any, kind: type = StandIn) -> bool:
    """Whether *value*, which is not a plain container, holds a stand-in or an object of *kind*.

    The garbage collector says what an object refers to: a function, a partial, a generator, an
    array of objects, a table. One that refers to very many objects is searched in part.
    """
    stack: list[Any] = [value]
    seen: set[int] = {id(value)}  # all that is found stays alive: *value* holds it
    while stack and len(seen) < _MOST_SEARCHED:
        item = stack.pop()
        if isinstance(item, kind):
            return True
        for part in _referents(item):
            if id(part) not in seen:
                seen.add(id(part))
                stack.append(part)
    return False


def _referents(item: Any) -> Iterable[Any]:
    if isinstance(item, FunctionType):  # not its globals
        return (item.__closure__, item.__defaults__, item.__kwdefaults__)
    if isinstance(item, type | ModuleType | CodeType | StandIn):
        return ()
    if type(item).__module__.startswith("mxm.pipeline."):  # a task holds the flows it is part of
        return ()
    if type(item).__module__ == "numpy" and type(item).__name__ == "ndarray":
        return (
            item.ravel().tolist() if item.dtype.hasobject else ()
        )  # it does not report its referents
    return gc.get_referents(item)
