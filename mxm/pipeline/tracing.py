"""One pass over a flow's body: stand-ins for values, and a record of the calls made on them."""

from __future__ import annotations

import contextlib
import inspect
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn, cast

from mxm.pipeline.bindings import (
    Binding,
    Collection,
    Const,
    Param,
    Upstream,
    keys_taken,
    value_of,
    with_named,
)
from mxm.pipeline.errors import PipelineError, Problem, Source, closest
from mxm.pipeline.functions import shape_of, signature_of, source_of, unwrapped
from mxm.pipeline.graph import find_problems
from mxm.pipeline.masking import signature_text
from mxm.pipeline.spec import FlowSpec, TaskBase, TaskSpec, last_of

__all__ = ["Group", "Node", "StandIn", "Trace", "TracingError", "active_trace"]


class TracingError(PipelineError, TypeError):
    """A flow's body used a value that exists only when the flow runs."""

    code = "MXM301"


@dataclass(eq=False)
class Group:
    """One call of a flow in another flow's body: the prefix of its steps' names."""

    name: str
    final: str = ""


@dataclass(eq=False)
class Node:
    """One call of a task in a flow's body.

    Parameters
    ----------
    task
        The decorated task, or the spec of a task that came with an inlined flow.
    args, kwargs
        As given; stand-ins in them are edges.
    after
        Nodes that an inlined flow orders before this one.
    group
        The inlined flow it came with.
    final
        Its name in the flow; known when the pass is over.
    """

    task: TaskBase | TaskSpec
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    source: Source | None
    after: tuple[Node, ...] = ()
    group: Group | None = None
    final: str = ""


_active: ContextVar[Trace | None] = ContextVar("mxm_trace", default=None)


def active_trace() -> Trace | None:
    """The pass that is going on here and now, or None."""
    trace = _active.get()
    # A context that was copied in a body, for an asyncio task say, outlives the pass.
    return None if trace is None or trace.over else trace


class StandIn:
    """Stands for a value that exists only when the flow runs: a parameter or a task's result.

    It may be passed to tasks, also inside lists, tuples and dict values, indexed with a constant,
    awaited and returned. Everything else raises, naming the line and what to write instead.
    """

    __slots__ = ("_origin", "_path")
    _origin: Node | str
    _path: tuple[str | int, ...]

    def __init__(self, origin: Node | str, path: tuple[str | int, ...] = ()) -> None:
        object.__setattr__(self, "_origin", origin)
        object.__setattr__(self, "_path", path)

    def __repr__(self) -> str:
        origin = self._origin
        name = origin if isinstance(origin, str) else origin.task.name
        kind = "parameter" if isinstance(origin, str) else "result of task"
        path = "".join(f"[{key!r}]" for key in self._path)
        return f"<{kind} {name!r}{path}, known when the flow runs>"

    def __getitem__(self, key: object) -> StandIn:
        if isinstance(key, StandIn):
            self._refuse("an index that is itself a value of the run", "index inside a task")
        if not isinstance(key, str | int) or isinstance(key, bool):
            self._refuse(f"an index {key!r}", 'only ["key"] and [0] with a constant may be used')
        return StandIn(self._origin, (*self._path, key))

    def __await__(self) -> Generator[Any, Any, StandIn]:
        if active_trace() is not None and _asyncio_call(_body_frames()) is not None:
            self._refuse("awaiting it by way of asyncio", "await it in the body")
        return self
        yield  # makes this a generator that ends at once

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # protocols that are only asked for, copy and the like
        self._refuse(f"its attribute {name!r}", f"take {name!r} inside a task")

    def _refuse(self, use: str, mend: str) -> NoReturn:
        trace = active_trace()
        error = TracingError(
            f"{self!r}: {use} cannot be used in a flow's body",
            hint=mend,
            source=body_source(column=True),
        )
        if trace is not None:
            called = _asyncio_call(_body_frames())
            if called is not None:  # gather asks for a hash, which is not what the user did
                error = _not_awaitable(called, error.source)
            trace.keep(error)
        raise error


_OPERATORS = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow"),
    *("lshift", "rshift", "and", "or", "xor"),
)
_REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "its truth (if, and, or, not, while)": (
        ("__bool__",),
        "move the decision into a task, which gets the value as an argument",
    ),
    "a comparison": (
        ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
        "compare inside a task",
    ),
    "in": (("__contains__",), "look inside a task"),
    "its length": (("__len__", "__length_hint__"), "take len() inside a task"),
    "its hash (a set, a dict key)": (
        ("__hash__",),
        "use it as a list item or a dict value, or build the set inside a task",
    ),
    "its text (str, an f-string, print)": (
        ("__str__", "__format__", "__bytes__"),
        "make the text inside a task",
    ),
    "iteration or unpacking": (
        ("__iter__", "__next__", "__reversed__"),
        "take parts by constants: p = split(x); p[0], p[1]; or iterate inside a task",
    ),
    "arithmetic": (
        (
            *(f"__{prefix}{op}__" for op in _OPERATORS for prefix in ("", "r", "i")),
            *("__neg__", "__pos__", "__abs__", "__invert__", "__round__"),
        ),
        "calculate inside a task",
    ),
    "its value as a number": (
        ("__int__", "__float__", "__complex__", "__index__", "__trunc__", "__floor__", "__ceil__"),
        "calculate inside a task",
    ),
    "its value as an array": (
        ("__array__", "__array_ufunc__", "__array_function__", "__dataframe__", "__arrow_array__"),
        "hand it to a task, which gets the array",
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


def _refusal(use: str, mend: str) -> Callable[..., NoReturn]:
    def refuse(self: StandIn, *_: object, **__: object) -> NoReturn:
        self._refuse(use, mend)  # pyright: ignore[reportPrivateUsage]

    return refuse


for _use, (_names, _mend) in _REFUSED.items():
    for _name in _names:
        setattr(StandIn, _name, _refusal(_use, _mend))


def _body_frames() -> Iterator[FrameType]:
    """What is being carried out, from here out to the flow's body; our own code is left out."""
    frame: FrameType | None = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None and frame.f_code is not Trace.call_body.__code__:
        if not f"{frame.f_globals.get('__name__')}.".startswith("mxm.pipeline."):
            yield frame
        frame = frame.f_back


def body_source(*, column: bool = False) -> Source | None:
    """The line of the body's file that is being carried out.

    Where a library uses a stand-in that the body gave it, the user's line is the one to show.

    Parameters
    ----------
    column
        Whether to look for the column too, which takes as long as the body is.
    """
    trace = active_trace()
    frames = list(_body_frames())
    own = [f for f in frames if trace is not None and f.f_code.co_filename == trace.file]
    frame = next(iter(own or frames), None)
    if frame is None:
        return None
    place = _column(frame.f_code, frame.f_lasti) if column else None
    return Source(frame.f_code.co_filename, frame.f_lineno, place)


def _asyncio_call(frames: Iterable[FrameType]) -> str | None:
    """The function of asyncio that the body called, if *frames* (innermost first) are in one."""
    names = [f.f_code.co_name for f in frames if _module(f).partition(".")[0] == "asyncio"]
    return names[-1] if names else None


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _not_awaitable(called: str | None, source: Source | None) -> TracingError:
    """The error of an await, or a call of asyncio, that no stand-in can answer."""
    name = "asyncio" if called is None or called.startswith("_") else f"asyncio.{called}"
    told = f"{name} is not supported: a flow's body" if called else "a flow's body"
    hint = (
        "await the tasks one after the other: those that do not need each other run side by side "
        "with --runner threads"
        if called in ("gather", "wait", "create_task", "as_completed")
        else "move what is awaited here into an async task"
    )
    error = TracingError(f"{told} may await tasks and flows only", hint=hint, source=source)
    error.code = "MXM303"
    return error


def _column(code: Any, lasti: int) -> int | None:
    for i, (_, _, column, _) in enumerate(code.co_positions()):
        if i == lasti // 2:
            return None if column is None else column + 1
    return None


@dataclass
class _Ready:
    """What an async flow returned, to be awaited; as a dataclass it has no hash for `gather`."""

    value: Any

    def __await__(self) -> Generator[Any, Any, Any]:
        return self.value
        yield  # makes this a generator that ends at once


@dataclass
class Trace:
    """One pass over the body of the flow named *flow*: its calls in order, and what went wrong.

    *flows* are those that it called, and what they were.
    """

    flow: str
    nodes: list[Node] = field(default_factory=list[Node])
    groups: list[Group] = field(default_factory=list[Group])
    flows: list[tuple[Any, FlowSpec]] = field(default_factory=list[tuple[Any, FlowSpec]])
    problems: list[Problem] = field(default_factory=list[Problem])
    returned: Any = None
    file: str = ""
    over: bool = False

    def run(self, fn: Callable[..., Any]) -> None:
        """Run the body *fn* once, on stand-ins for its parameters; never raises for its errors."""
        source = source_of(fn)
        self.file = source.file if source else ""
        token = _active.set(self)
        try:
            self.returned = self.call_body(fn)
        except TracingError as error:
            self.keep(error)
        except (Exception, SystemExit) as error:
            self._keep_foreign(error, fn)
        finally:
            _active.reset(token)
            self.over = True
        self._name()

    def call_body(self, fn: Callable[..., Any]) -> Any:
        """What *fn* returns for stand-ins; stacks are read up to here."""
        args: list[StandIn] = []
        kwargs: dict[str, StandIn] = {}
        signature = signature_of(fn)
        for name, parameter in signature.parameters.items() if signature else ():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = StandIn(name)
            elif parameter.kind in (
                inspect.Parameter.VAR_POSITIONAL,
                inspect.Parameter.VAR_KEYWORD,
            ):
                self.problems.append(
                    Problem(
                        "MXM304",
                        f"flow {self.flow!r} takes {parameter}: a flow's parameters need names",
                        "write each parameter in the signature",
                        source=source_of(fn),
                        flow=self.flow,
                    )
                )
            else:
                args.append(StandIn(name))
        returned = fn(*args, **kwargs)
        return _drive(returned) if inspect.iscoroutine(returned) else returned

    def keep(self, error: TracingError) -> None:
        """Keep *error* as a problem, one for each place: the body may catch it, or let it go on."""
        if any((p.code, p.source) == (error.code, error.source) for p in self.problems):
            return
        problem = Problem(
            error.code, error.message, error.hint, source=error.source, flow=self.flow
        )
        self.problems.append(problem)

    def _keep_foreign(self, error: BaseException, fn: Callable[..., Any]) -> None:
        if any(problem.code in ("MXM301", "MXM303") for problem in self.problems):
            return  # what follows from a forbidden use that the body caught
        frames = list(traceback.walk_tb(error.__traceback__))
        own = [(f, line) for f, line in frames if f.f_code.co_filename == self.file]
        source = Source(self.file, own[-1][1]) if own else source_of(fn)
        called = _asyncio_call(f for f, _ in reversed(frames))
        if called is not None:
            self.keep(_not_awaitable(called, source))
            return
        told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        hint = "the body runs once, when the module is imported, to find the flow's tasks"
        if isinstance(error, NameError):
            scope: Mapping[str, Any] = getattr(inspect.unwrap(fn), "__globals__", {})
            tasks = [name for name, value in scope.items() if isinstance(value, TaskBase)]
            near = closest(error.name or "", tasks)
            hint = f"did you mean {near!r}?" if near else hint
        self.problems.append(
            Problem(
                "MXM302",
                f"the body of flow {self.flow!r} raised {told}",
                hint,
                source=source,
                flow=self.flow,
            )
        )

    def call(self, task: TaskBase, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> StandIn:
        """Record a call of *task*; its result's stand-in."""
        source = body_source()
        try:
            shape = shape_of(task.fn)
            if shape is None or not shape.takes(len(args), list(kwargs)):
                inspect.signature(task.fn).bind_partial(*args, **kwargs)
        except TypeError as error:
            self.problems.append(
                Problem(
                    "MXM104",
                    f"task {task.name!r} cannot be called so: {error}",
                    f"signature {task.fn.__name__}{signature_text(task.fn)}",
                    source=source,
                    flow=self.flow,
                    task=task.name,
                )
            )
            args, kwargs = (), {}
        args, kwargs = _snapshot(args), _snapshot(dict(kwargs))
        for value in (*args, *kwargs.values()):
            self._check_containers(value, source)
        node = Node(task, args, kwargs, source)
        self.nodes.append(node)
        return StandIn(node)

    def _check_containers(self, value: Any, source: Source | None) -> None:
        """Refuse a stand-in in a container that cannot be made anew for each run."""
        for item in _contained(value):
            plain = type(item) in _CONTAINERS or isinstance(item, StandIn)
            if not plain and next(stand_ins_in(item), None) is not None:
                error = TracingError(
                    f"a value of the run inside a {type(item).__name__} cannot be passed on",
                    hint="put it into a plain list, tuple or dict, or make this inside a task",
                    source=source,
                )
                self.keep(error)

    def inline(self, spec: FlowSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Record the tasks of *spec* as steps of this flow; what it returns, as stand-ins.

        Parameters
        ----------
        spec
            The flow that was called.
        args, kwargs
            As given.
        """
        group = Group(spec.name)
        self.groups.append(group)
        source = body_source()
        for problem in find_problems(spec):
            # The others are found again among this flow's own steps.
            lost = problem in spec.problems or problem.code in ("MXM102", "MXM103", "MXM105")
            if lost and problem not in self.problems:
                self.problems.append(problem)
        given = self._given(spec, args, kwargs, source)
        nodes: dict[str, Node] = {}

        def look_up(origin: Upstream | Param) -> Any:
            if isinstance(origin, Param):
                return given[origin.name]
            # One that is unknown is a problem, kept above.
            return StandIn(nodes.get(origin.name, origin.name))

        for task in spec.tasks:  # in topological order: see assembly
            own = task.bindings
            filled = [value_of(b, look_up) for b in own.args]
            named = {k: value_of(b, look_up) for k, b in own.kwargs.items()}
            taken = [] if spec.traced else keys_taken(task.fn, own, given)
            filled, named = with_named(
                task.fn, filled, named, {k: given[k] for k in taken}, lambda default: default
            )
            after = tuple(nodes[name] for name in task.after if name in nodes)
            node = Node(task, tuple(filled), named, source, after, group)
            nodes[task.name] = node
            self.nodes.append(node)
        if spec.output is not None:
            returned = value_of(spec.output, look_up)
        else:
            last = {name: StandIn(nodes[name]) for name in last_of(spec.tasks)}
            returned = next(iter(last.values())) if len(last) == 1 else last
        awaited = inspect.iscoroutinefunction(unwrapped(cast("Any", spec.fn)))
        return _Ready(returned) if awaited and not isinstance(returned, StandIn) else returned

    def _given(
        self,
        spec: FlowSpec,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        source: Source | None,
    ) -> dict[str, Any]:
        """The parameters of a flow called in this body, its own values included."""
        signature = inspect.signature(cast("Callable[..., Any]", spec.fn))
        try:
            bound = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            self.problems.append(
                Problem(
                    "MXM104",
                    f"flow {spec.name!r} cannot be called so: {error}",
                    f"signature {spec.name}{signature_text(cast('Any', spec.fn))}",
                    source=source,
                    flow=self.flow,
                )
            )
            return {name: StandIn(name) for name in signature.parameters}
        given: dict[str, Any] = _snapshot({**spec.params, **bound})
        for value in given.values():
            self._check_containers(value, source)
        return given

    def _name(self) -> None:
        """Give every node its name: the first call keeps the task's, later ones count."""
        taken: set[str] = set()
        counts: dict[str, int] = {}
        for node in self.nodes:
            if node.group is None and (_chosen(node) or node.task.name not in taken):
                node.final = node.task.name
                taken.add(node.final)
        for node in self.nodes:
            if node.group is None and not node.final:
                node.final = _numbered(node.task.name, taken, counts)
        prefixes: set[str] = set()
        counts = {}
        for group in self.groups:
            group.final = group.name
            if group.name in prefixes:
                group.final = _numbered(group.name, prefixes, counts)
            prefixes.add(group.final)
        for node in self.nodes:
            if node.group is not None:
                node.final = f"{node.group.final}.{node.task.name}"


def _chosen(node: Node) -> bool:
    return isinstance(node.task, TaskBase) and node.task.chosen


def _numbered(name: str, taken: set[str], counts: dict[str, int]) -> str:
    """The next of ``name_2``, ``name_3`` that is not *taken*; *counts* says where to go on."""
    count = counts.get(name, 1) + 1
    while f"{name}_{count}" in taken:
        count += 1
    counts[name] = count
    taken.add(f"{name}_{count}")
    return f"{name}_{count}"


def _drive(coroutine: Any) -> Any:
    """Run an async body to its end; anything awaited but a stand-in is an error."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    frame = coroutine.cr_frame
    source = Source(frame.f_code.co_filename, frame.f_lineno) if frame else None
    with contextlib.suppress(Exception):  # the body may do anything on its way out
        coroutine.close()
    raise _not_awaitable(None, source)


def to_binding(value: Any) -> Binding:
    """Where *value* comes from; a container becomes a `Collection` only if a stand-in is in it."""
    if isinstance(value, StandIn):
        origin, path = value._origin, value._path  # pyright: ignore[reportPrivateUsage]
        return Param(origin, path) if isinstance(origin, str) else Upstream(origin.final, path)
    kind = cast("Any", type(value))
    if kind not in _CONTAINERS or next(stand_ins_in(value), None) is None:
        return Const(value)
    if kind is dict:
        return Collection(dict, tuple(map(to_binding, value.values())), tuple(value))
    return Collection(kind, tuple(map(to_binding, value)))


_CONTAINERS = (list, tuple, dict)


def stand_ins_in(value: Any) -> Iterator[StandIn]:
    """Every stand-in in *value*, lists, tuples and dict values included."""
    return (item for item in _contained(value) if isinstance(item, StandIn))


def _contained(value: Any) -> Iterator[Any]:
    """*value* and everything in it, as far as lists, tuples, dicts and their like go."""
    stack: list[Any] = [value]
    seen: set[int] = set()  # a list may contain itself
    while stack:
        item = stack.pop()
        yield item
        if isinstance(item, _CONTAINERS) and id(cast("object", item)) not in seen:
            seen.add(id(cast("object", item)))
            part = cast("Any", item)
            stack.extend(part.values() if isinstance(item, dict) else part)


def _snapshot(value: Any) -> Any:
    """*value* as it is now: what the body adds to a list later is not in an earlier call."""
    kind = cast("Any", type(value))
    if kind is dict:
        return {k: _snapshot(v) for k, v in value.items()}
    if kind in (list, tuple):
        items = [_snapshot(item) for item in value]
        return items if kind is list else tuple(items)
    return value
