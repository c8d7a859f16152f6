"""One pass over a flow's body: the calls of tasks on stand-ins, recorded in order."""

from __future__ import annotations

import inspect
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, TypeVar, cast

from mxm.pipeline.errors import PipelineError, described
from mxm.pipeline.introspection.decorated import TaskBase, tasks_beside
from mxm.pipeline.introspection.other_engines import argument_hint
from mxm.pipeline.introspection.signatures import VARIADIC, shape_of, signature_of, source_of
from mxm.pipeline.problems import Problem, Source, closest
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.tracing.blocks import IN_PARALLEL, Handlers, block_error, calls_in_blocks
from mxm.pipeline.tracing.marks import Mark, MisplacedEachError, refuse_each
from mxm.pipeline.tracing.placeholders import (
    CONTAINERS,
    Ready,
    StandIn,
    TracingError,
    active_recorder,
    awaiting_error,
    body_frames,
    body_source,
    called_in_asyncio,
    hidden_in,
    parts_of,
    recording,
    run_body,
    snapshot,
)
from mxm.pipeline.values.iterators import read_once

__all__ = ["Group", "Node", "Trace", "active_trace", "refuse_marks"]

T = TypeVar("T")


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
    outcomes
        Whether it is a map whose result holds failures in their places.
    over
        The list that its flow is mapped over, marked; None if it is not.
    by_item
        Nodes of the same mapped flow whose results it takes item by item, or waits for so.
    item_key
        Names the items of that flow.
    final
        Its name in the flow; known when the pass is over.
    """

    task: TaskBase | TaskSpec
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    source: Source | None
    after: tuple[Node, ...] = ()
    group: Group | None = None
    outcomes: bool = False
    over: Mark | None = None
    by_item: tuple[Node, ...] = ()
    item_key: Callable[[Any], object] | None = None
    final: str = ""

    @property
    def name(self) -> str:
        """The name of the task in the body."""
        return self.task.name


def active_trace() -> Trace | None:
    """The pass over a body in this context, or None.

    Raises
    ------
    TracingError
        A body that is read started this thread, in which its calls would run.
    """
    current = cast("Trace | None", active_recorder())
    if current is None and _reading:
        me = threading.get_ident()
        for trace in _reading:
            if me not in trace.threads:
                raise trace.call_in_a_thread()
    return current


_reading: list[Trace] = []  # by any thread


_ATOMS = frozenset({str, int, float, bool, complex, bytes, type(None)})


@dataclass
class Trace:
    """One pass over the body of the flow *flow*: its calls in order, and its problems.

    *flows* are those that it called, and what they were.
    """

    flow: str
    nodes: list[Node] = field(default_factory=list[Node])
    groups: list[Group] = field(default_factory=list[Group])
    flows: list[tuple[Any, FlowSpec]] = field(default_factory=list[tuple[Any, FlowSpec]])
    problems: list[Problem] = field(default_factory=list[Problem])
    unpacked: list[tuple[StandIn, int]] = field(default_factory=list[tuple[StandIn, int]])
    returned: Any = None
    file: str = ""
    over: bool = False
    fn: Callable[..., Any] | None = None
    outer: Trace | None = None
    thread: int = 0
    threads: frozenset[int] = frozenset()
    _handlers: Handlers = field(default_factory=Handlers)

    def run(self, fn: Callable[..., Any]) -> None:
        """Run the body *fn* once, on stand-ins for its parameters; keep its errors as problems."""
        source = source_of(fn)
        self.file = source.file if source else ""
        self.fn, self.outer = fn, active_trace()
        self.thread = threading.get_ident()
        self.threads = frozenset(sys._current_frames())  # pyright: ignore[reportPrivateUsage]
        _reading.append(self)
        token = recording.set(self)
        # A stand-in refuses to be logged, which logging would print with its whole stack.
        logging: Any = sys.modules.get("logging")  # nothing is logged where it is not loaded
        loud = getattr(logging, "raiseExceptions", None)
        if logging is not None:
            logging.raiseExceptions = False
        for error in calls_in_blocks(fn):
            self.keep(error)
        try:
            returned = run_body(fn, *self._stand_ins(fn))
            refuse_marks((returned,), in_map=False)
            self.returned = returned
        except TracingError as error:
            self.keep(error)
        except MisplacedEachError as error:
            self._keep_each(error)
        except BaseException as error:
            let_signals_pass(error)
            self._keep_foreign(error, fn)
        finally:
            if logging is not None:
                logging.raiseExceptions = loud
            recording.reset(token)
            _reading.remove(self)
            self.over = True
        self._name()

    def reads(self, fn: Callable[..., Any]) -> bool:
        """Whether *fn* is the body of this pass, or of a pass around it."""
        trace: Trace | None = self
        while trace is not None and trace.fn is not fn:
            trace = trace.outer
        return trace is not None

    def _stand_ins(self, fn: Callable[..., Any]) -> tuple[list[StandIn], dict[str, StandIn]]:
        """The arguments of *fn*, positional and by name."""
        args: list[StandIn] = []
        kwargs: dict[str, StandIn] = {}
        signature = signature_of(fn)
        for name, parameter in signature.parameters.items() if signature else ():
            if parameter.kind in VARIADIC:
                self.problems.append(
                    Problem(
                        "MXM304",
                        f"flow {self.flow!r} takes {parameter}: a flow's parameters need names",
                        "write each parameter in the signature",
                        source=source_of(fn),
                        flow=self.flow,
                    )
                )
            elif parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                kwargs[name] = StandIn(name)
            else:
                args.append(StandIn(name))
        return args, kwargs

    def keep(self, error: TracingError) -> None:
        """Keep *error* as a problem, once per place, whether or not the body catches it."""
        if any((p.code, p.source) == (error.code, error.source) for p in self.problems):
            return
        problem = Problem(
            error.code, error.message, error.hint, source=error.source, flow=self.flow
        )
        self.problems.append(problem)

    def _keep_each(self, error: MisplacedEachError) -> None:
        frames = traceback_frames(error)
        own = [(f, line) for f, line in frames if f.f_code.co_filename == self.file]
        source = Source(self.file, own[-1][1]) if own else self.fn and source_of(self.fn)
        self.problems.append(
            Problem(error.code, error.message, error.hint, source=source, flow=self.flow)
        )

    def _keep_foreign(self, error: BaseException, fn: Callable[..., Any]) -> None:
        if any(problem.code in ("MXM301", "MXM303") for problem in self.problems):
            return  # a consequence of a forbidden use that the body caught
        frames = traceback_frames(error)
        own = [(f, line) for f, line in frames if f.f_code.co_filename == self.file]
        source = Source(self.file, own[-1][1]) if own else source_of(fn)
        called = called_in_asyncio(f for f, _ in reversed(frames))
        if called is not None:
            self.keep(awaiting_error(called, source))
            return
        message = described(error)
        if StandIn.__name__ in message:
            self.keep(TracingError(message, hint="do this inside a task", source=source))
            return
        hint = "the body runs once, when the module is imported, to find the flow's tasks"
        if isinstance(error, NameError):
            near = closest(error.name or "", tasks_beside(fn))
            if error.name == fn.__name__:
                hint = "a flow cannot call itself"
            elif near:
                hint = f"did you mean {near!r}?"
            else:
                hint = f"define it above: {hint}"
        self.problems.append(
            Problem(
                "MXM302",
                f"the body of flow {self.flow!r} raised {message}",
                hint,
                source=source,
                flow=self.flow,
            )
        )

    def call_in_a_thread(self) -> TracingError:
        """Keep and return the error for a call of a task or flow in a thread of the body."""
        frame = sys._current_frames().get(self.thread)  # pyright: ignore[reportPrivateUsage]
        while frame is not None and frame.f_code.co_filename != self.file:
            frame = frame.f_back
        error = TracingError(
            f"the body of flow {self.flow!r} calls a task in a thread of its own, which would "
            "run it while the flow is being read",
            hint=IN_PARALLEL,
            source=Source(self.file, frame.f_lineno) if frame else self.fn and source_of(self.fn),
        )
        error.code = "MXM305"
        self.keep(error)
        return error

    def used(self, what: str) -> None:
        """Report *what* if it happens in a block that a run does not pass through."""
        for frame in body_frames():
            word = self._handlers.around(frame)
            # A cached property holds a lock while it is made, on old Pythons.
            if word is not None and frame.f_globals.get("__name__") != "functools":
                place = Source(frame.f_code.co_filename, frame.f_lineno)
                own = place.file == self.file
                source, at = (place, None) if own else (body_source(), place)
                self.keep(block_error(what, word, source, at))
                return

    def unpacks(self, stand_in: StandIn) -> int | None:
        """The number of parts that *stand_in* is unpacked into; None if it must not be unpacked."""
        # Loaded by bodies that unpack something.
        from mxm.pipeline.values.compatibility import count_of

        count = count_of(self.type_of(stand_in))
        if count is not None:
            self.unpacked.append((stand_in, count))
        return count

    def type_of(self, stand_in: StandIn) -> Any:
        """The annotation of what *stand_in* stands for; of a map, that of one item."""
        from mxm.pipeline.introspection.annotations import hints_of, result_hint
        from mxm.pipeline.values.compatibility import part_of

        origin, path = stand_in._origin, stand_in._path  # pyright: ignore[reportPrivateUsage]
        annotation: Any = Any
        if isinstance(origin, Node):
            annotation = result_hint(origin.task.fn)
        elif self.fn and isinstance(origin, str):
            annotation = hints_of(self.fn).get(origin, Any)
        for key in path:
            annotation = part_of(annotation, key)
        return annotation

    def map(
        self,
        task: TaskBase,
        items: Any,
        more: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        outcomes: bool,
    ) -> StandIn:
        """Record a map of *task* over *items*; return the stand-in for its result."""
        # Loaded by bodies that map something.
        from mxm.pipeline.tracing.maps import MapError, require_mappable

        try:
            require_mappable("task", task.name, task.fn, items, len(more))
        except MapError as error:
            self.keep_map(error)
            return self.call(task, (), {})
        return self.call(task, (Mark(items),), kwargs, outcomes=outcomes)

    def keep_map(self, error: PipelineError) -> None:
        """Keep *error*, about an invalid map, as a problem."""
        place = body_source()
        self.problems.append(
            Problem("MXM109", error.message, error.hint, source=place, flow=self.flow)
        )

    def call(
        self,
        task: TaskBase,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        outcomes: bool | None = None,
    ) -> StandIn:
        """Record a call of *task*, or a map if *outcomes* is set; return the result's stand-in."""
        source = body_source()
        refuse_marks((*args, *kwargs.values()), in_map=outcomes is not None)
        self.used(f"task {task.name!r} is called")
        try:
            shape = shape_of(task.fn)
            if shape is None or not shape.takes(len(args), list(kwargs)):
                inspect.signature(task.fn).bind_partial(*args, **kwargs)
        except TypeError as error:
            from mxm.pipeline.values.secrets import signature_text

            name = task.fn.__name__
            hints = [hint for word in kwargs if (hint := argument_hint(word, name))]
            self.problems.append(
                Problem(
                    "MXM104",
                    f"task {task.name!r} cannot be called like this: {error}",
                    next(iter(hints), f"signature {name}{signature_text(task.fn)}"),
                    source=source,
                    flow=self.flow,
                    task=task.name,
                )
            )
            args, kwargs = (), {}
        what = f"an argument of task {task.name!r}"
        args, kwargs = self.checked(args, source, what), self.checked(dict(kwargs), source, what)
        node = Node(task, args, kwargs, source, outcomes=bool(outcomes))
        self.nodes.append(node)
        return StandIn(node)

    def checked(self, inputs: T, source: Source | None, what: str) -> T:
        """*inputs* as they are now; what no second run could have again is refused.

        A stand-in in an object that is not made anew for each run is, and an iterator.

        Parameters
        ----------
        inputs
            What a call gives, by place or by name.
        source
            The line of the call.
        what
            What each of them is.
        """
        for item in parts_of(inputs):
            kind = cast("Any", type(item))
            if kind in _ATOMS or kind in CONTAINERS or kind is StandIn:
                continue
            if isinstance(item, Ready):
                message = "the result of an async flow is passed on without await"
                self.keep(TracingError(message, hint="await the call", source=source))
            elif (once := read_once(item)) is not None:
                error = TracingError(f"{what} is {once}", hint=once.hint, source=source)
                error.code = "MXM306"
                self.keep(error)
            elif hidden_in(item):
                message = f"a value of the run inside a {kind.__name__} cannot be passed to a task"
                fix = "use a plain list, tuple or dict, or make the object inside a task"
                self.keep(TracingError(message, hint=fix, source=source))
        return cast("T", snapshot(inputs))

    def _name(self) -> None:
        """Name every call; those of an inlined flow get the name of its call as a prefix."""
        own = [node for node in self.nodes if node.group is None]
        for node, name in zip(own, _distinct([(n.name, _chosen(n)) for n in own]), strict=True):
            node.final = name
        groups = self.groups
        for group, name in zip(groups, _distinct([(g.name, False) for g in groups]), strict=True):
            group.final = name
        for node in self.nodes:
            if node.group is not None:
                node.final = f"{node.group.final}.{node.name}"


def traceback_frames(error: BaseException) -> list[tuple[FrameType, int]]:
    """The frames of *error*, outermost first, with the line of each."""
    import traceback  # needed only if the body raises

    return list(traceback.walk_tb(error.__traceback__))


def _chosen(node: Node) -> bool:
    return isinstance(node.task, TaskBase) and node.task.chosen


def _distinct(names: Sequence[tuple[str, bool]]) -> list[str]:
    """The first use of a name keeps it, and so does a chosen one; later uses are numbered.

    ``name_2``, ``name_3`` skip what is taken.
    """
    taken: set[str] = set()
    distinct: list[str] = []
    for name, chosen in names:
        keeps = chosen or name not in taken
        distinct.append(name if keeps else "")
        taken.add(name)
    counts: dict[str, int] = {}
    for i, (name, _) in enumerate(names):
        if not distinct[i]:
            distinct[i] = _numbered(name, taken, counts)
    return distinct


def _numbered(name: str, taken: set[str], counts: dict[str, int]) -> str:
    """The next of ``name_2``, ``name_3`` that is not *taken*, starting from *counts*."""
    count = counts.get(name, 1) + 1
    while f"{name}_{count}" in taken:
        count += 1
    counts[name] = count
    taken.add(f"{name}_{count}")
    return f"{name}_{count}"


def refuse_marks(arguments: Iterable[Any], *, in_map: bool) -> None:
    """Raise for an `each` among *arguments*, or within one of them.

    Parameters
    ----------
    arguments
        Those of a call.
    in_map
        Whether it is a map, whose arguments may be marked as a whole.

    Raises
    ------
    MisplacedEachError
        There is one.
    """
    for value in arguments:
        inside = value.value if in_map and type(value) is Mark else value
        if type(inside) in (*CONTAINERS, Mark) and any(
            type(part) is Mark for part in parts_of(inside, into_marks=False)
        ):
            refuse_each()
