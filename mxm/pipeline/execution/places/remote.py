"""What a worker of any cluster does: it answers one request with what was said and came of it.

The cluster's own task is always `answer`; the user's function is data in it. No engine and no
library of a cluster is imported here.
"""

from __future__ import annotations

import io
import json
import logging
import pickle
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TextIO

from mxm.pipeline.assets.reading import ReadAsset, noting_reads
from mxm.pipeline.bindings import Unpacked
from mxm.pipeline.errors import described
from mxm.pipeline.execution.attempts.invocation import Noting, call_here, require_counts
from mxm.pipeline.execution.cache.probe import forget_fingerprints
from mxm.pipeline.execution.pickling import pack, pack_apart, pack_error, unpack
from mxm.pipeline.execution.places.code import Tree, has_tree, install, within_tree
from mxm.pipeline.execution.places.engine_state import known_to_engine
from mxm.pipeline.execution.places.facts import facts_of
from mxm.pipeline.execution.places.held import InputError, Packed, arrived
from mxm.pipeline.execution.places.worker import (
    HELD,
    NOTED,
    PRINTED,
    RAISED,
    READ,
    RETURNED,
    UNREAD,
    UNSENT,
    LogQueue,
    returned,
)
from mxm.pipeline.execution.resources.opening import Resources, using
from mxm.pipeline.execution.staying import Stay
from mxm.pipeline.execution.tracebacks import users_traceback
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import DecodedBytes, current_task, within_task
from mxm.pipeline.values.arrays import type_name
from mxm.pipeline.values.fingerprint import Fingerprints, Item, Lookup, differing
from mxm.pipeline.values.jsonvalue import Written, to_json

__all__ = ["Answer", "Request", "about", "answer", "close_run"]

_BUDGET_S = 0.25
"""How long a worker goes on with a chunk before it answers what it has."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one message to a worker asks for.

    Parameters
    ----------
    run
        The run: its resources are open until `close_run`.
    tree, archive
        The project's sources, and these themselves where the worker has not got them.
    digest
        The fingerprint of the function where the run was planned; None for one sent by value.
    timeout
        Seconds that one call may take.
    head, inputs, parts
        As in `mxm.pipeline.execution.places.requests`; *parts* is None for a single call.
        *inputs* is None where they are the first of the values on the cluster.
    stays
        When the value of a single call stays here; None for never.
    unpacked
        The parts of it that the flow's body unpacks, which are checked before it stays.
    lookups
        What the function looks up, as it was where the run was planned.
    """

    run: str
    tree: Tree
    archive: bytes | None
    digest: str | None
    timeout: float | None
    head: bytes
    inputs: bytes | None
    parts: tuple[bytes, ...] | None
    stays: Stay | None
    unpacked: tuple[Unpacked, ...]
    lookups: tuple[Lookup, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker gives back.

    Parameters
    ----------
    needs_tree
        It has not called anything: it has not got the sources.
    other_code
        It has not called anything: what its own code for the function is made of.
    differ
        It has not called anything: what the function would look up, and is not the same here.
    calls
        For each call that was made, in order, what it said; the last of these is its outcome.
    times
        For each call, how long before the answer it began and ended, in seconds.
    """

    needs_tree: bool = False
    other_code: tuple[Item, ...] | None = None
    differ: tuple[str, ...] = ()
    calls: tuple[tuple[tuple[bytes, bytes], ...], ...] = ()
    times: tuple[tuple[float, float], ...] = ()


def about() -> dict[str, str]:
    """What must be the same here and where the run was planned."""
    from mxm.pipeline.version import __version__

    return {"Python": "{}.{}".format(*sys.version_info), "mxm-pipeline": __version__}


def answer(data: bytes, *held: Packed) -> tuple[bytes, Packed | None]:
    """Make the calls of one request; the cluster's task.

    Parameters
    ----------
    data
        The request.
    held
        The values on the cluster that its inputs refer to.

    Returns
    -------
    tuple
        The answer, for the run's process; the value, where it stays on the cluster.
    """
    request: Request = pickle.loads(data)  # noqa: S301 - from the run's own process
    if request.archive is not None and not has_tree(request.tree):
        install(request.tree, request.archive)
    if not has_tree(request.tree):
        return pickle.dumps(Answer(needs_tree=True)), None
    _route_output()
    kept: list[Packed] = []
    with within_tree(request.tree, request.run) as folder:
        answered = pickle.dumps(_answer(request, folder, held, kept))
    return answered, kept[0] if kept else None


def _answer(request: Request, folder: str, held: Sequence[Packed], kept: list[Packed]) -> Answer:
    said = _Said()
    calls: list[tuple[tuple[bytes, bytes], ...]] = []
    times: list[tuple[float, float]] = []
    begun = time.perf_counter()
    token = _saying.set(said)
    try:
        try:
            flow, task, levels, fn, shared, engine, _ = unpack(request.head)
            function: Callable[..., Any] = unpack(fn)
            if not _is_checked(fn, request):
                own = Fingerprints(folder).of(function)
                if own.digest != request.digest:
                    return Answer(other_code=own.items)
                differ = tuple(map(str, differing(request.lookups)))
                if differ:
                    return Answer(differ=differ)
                _checked[request.run].add(fn)
        except BaseException as error:
            let_signals_pass(error)
            return Answer(calls=((*said.messages, _raised(error)),), times=((0.0, 0.0),))
        _set_levels(levels)
        resources = _resources_of(request.run, shared)
        known = known_to_engine(engine, then=lambda: _set_levels(levels))
        with within_task(flow, task), using(resources), known:
            inputs = held[0].data if request.inputs is None else request.inputs
            for part in request.parts or (None,):
                started = time.perf_counter()
                step = _Step(task, _Task(function, request.timeout))
                with arrived(held):
                    came = _outcome(flow, step, request, (inputs, part), kept)
                times.append((started, time.perf_counter()))
                before, said.messages = said.messages, []
                calls.append((*before, came))
                if time.perf_counter() - begun > _BUDGET_S:
                    break
    finally:
        _saying.reset(token)
        said.messages = _late.setdefault(request.run, [])
    now = time.perf_counter()
    return Answer(calls=tuple(calls), times=tuple((now - a, now - b) for a, b in times))


@dataclass(frozen=True, slots=True)
class _Task:
    fn: Callable[..., Any]
    timeout_s: float | None


@dataclass(frozen=True, slots=True)
class _Step:
    name: str
    task: _Task


@dataclass(slots=True)
class _Call:
    """A call as `call_here` makes it."""

    flow: str
    step: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probe: Noting | None
    reads: list[ReadAsset]
    stays: Stay | None = None


def _outcome(
    flow: str,
    step: _Step,
    request: Request,
    sent: tuple[bytes, bytes | None],
    kept: list[Packed],
) -> tuple[bytes, bytes]:
    """Call the function once; what came of it, as a message. *kept* gets a value that stays."""
    inputs, part = sent
    try:
        args, kwargs, probe = unpack(inputs)
        if part is not None:
            own_args, own_names, probe = unpack(part)
            args = tuple(own_args.get(i, value) for i, value in enumerate(args))
            kwargs = {**kwargs, **own_names}
        reads: list[ReadAsset] = []
        try:
            with noting_reads(reads):
                value = call_here(_Call(flow, step, args, kwargs, probe, reads))
        finally:
            if reads:
                _say(READ, pack(reads))
            for notes in probe.notes if probe is not None else ():
                _say(NOTED, pack(notes))
    except InputError as error:
        return UNREAD, pack_error(error.__cause__ or error)
    except BaseException as error:
        return _raised(error)
    stay = request.stays
    if stay is None:
        return returned(value)
    try:
        data, apart = pack_apart(value)
        packed = Packed(data, *apart)
    except BaseException as error:  # any type may refuse to be pickled, in its own way
        let_signals_pass(error)
        return UNSENT, pack(described(error))
    if packed.nbytes <= stay.above:
        return returned(value) if packed.apart else (RETURNED, packed.data)
    try:
        require_counts(request.unpacked, value)
        written = _short(value)
        facts = None if written is None else facts_of(stay, value, packed.nbytes)
    except BaseException as error:
        return _raised(error)
    if facts is None:
        return returned(value) if packed.apart else (RETURNED, packed.data)
    kept.append(packed)
    return HELD, pack((type_name(value), packed.nbytes, written, facts))


_LONGEST = 100_000  # characters


def _short(value: Any) -> Written | None:
    """*value* as JSON, where that only describes it; else the run's process needs all of it."""
    if type(value) in _WRITTEN_WHOLE and len(value) > _LONGEST // 10:
        return None
    written = to_json(value)
    return written if len(json.dumps(written)) <= _LONGEST else None


_WRITTEN_WHOLE = (str, list, dict, set, frozenset, tuple)


def _raised(error: BaseException) -> tuple[bytes, bytes]:
    note = f"in a worker of the cluster:\n{users_traceback(error)}"
    vars(error).setdefault("__notes__", []).append(note)
    return RAISED, pack_error(error)


# Code

_checked: dict[str, set[bytes]] = {}  # by run: another one imports the modules anew


def _is_checked(fn: bytes, request: Request) -> bool:
    """Whether the function is known to be that of the run's own process."""
    if request.run not in _checked:
        _checked.clear()
        forget_fingerprints()
        _checked[request.run] = set()
    return request.digest is None or fn in _checked[request.run]


# Resources

_resources: dict[str, Resources] = {}
_opening = threading.Lock()


def _resources_of(run: str, shared: tuple[Any, ...] | None) -> Resources:
    with _opening:
        resources = _resources.get(run)
        if resources is None:
            resources = _resources[run] = Resources.of_process("the run")
        resources.share(shared)
        return resources


def close_run(run: str) -> tuple[list[Problem], list[tuple[bytes, bytes]]]:
    """Close what is open for *run* in this process; what went wrong, and what was said."""
    with _opening:
        resources = _resources.pop(run, None)
    problems: list[Problem] = []
    said = _Said()
    token = _saying.set(said)
    try:
        if resources is not None:
            problems = resources.close()
    finally:
        _saying.reset(token)
    # A resource is closed in the context in which a call opened it.
    return problems, [*_late.pop(run, ()), *said.messages]


# Output


class _Said:
    """What is said in the context of one request; after its answer, what its run still says."""

    def __init__(self) -> None:
        self.messages: list[tuple[bytes, bytes]] = []


_saying: ContextVar[_Said | None] = ContextVar("mxm_saying", default=None)
_late: dict[str, list[tuple[bytes, bytes]]] = {}


def _say(kind: bytes, content: bytes) -> None:
    said = _saying.get()
    if said is not None:
        said.messages.append((kind, content))


def _routed(name: str, beneath: TextIO) -> TextIO:
    """A stream that keeps what tasks print, and passes on all else to *beneath*."""

    def write(text: str) -> None:
        if _saying.get() is None:
            beneath.write(text)
        else:
            _say(PRINTED, pack((current_task(), name, text)))

    raw: Any = DecodedBytes(write, beneath)
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", write_through=True)


_streams: dict[str, TextIO] = {}


def _route_output() -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream is not _streams.get(name):
            _streams[name] = _routed(name, stream)
            setattr(sys, name, _streams[name])
    global _logs
    if _logs is None:
        _logs = LogQueue(_say)
        before, logs = logging.Logger.callHandlers, _logs

        def handle(log: logging.Logger, record: logging.LogRecord) -> object:
            return before(log, record) if _saying.get() is None else logs.handle(record)

        setattr(logging.Logger, "callHandlers", handle)  # noqa: B010 - type checkers refuse it


_logs: LogQueue | None = None


_CLUSTERS = ("distributed", "dask", "ray", "tornado", "asyncio", "bokeh")


def _set_levels(levels: Mapping[str, int]) -> None:
    """Log what the run's own process would, of tasks; the cluster's loggers are left alone.

    A level that another run set, and this one does not, is taken back.
    """
    own = {k: v for k, v in levels.items() if k.partition(".")[0] not in _CLUSTERS}
    for name in _set_before - set(own):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in own.items():
        logging.getLogger(name).setLevel(level)
    _set_before.clear()
    _set_before.update(own)


_set_before: set[str] = set()
