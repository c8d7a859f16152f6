"""The worker's side of the place `processes`: answers one request after another.

Only functions, inputs and values are sent, so a worker loads neither an engine nor a decorator's
module twice. What a task logs and prints goes back, for the parent to show.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import logging
import logging.handlers
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from mxm.pipeline.assets.reading import ReadAsset, noting_reads
from mxm.pipeline.errors import described, text_of
from mxm.pipeline.execution.attempts.invocation import call_function
from mxm.pipeline.execution.loop import EventLoop
from mxm.pipeline.execution.output import send_progress
from mxm.pipeline.execution.pickling import pack, pack_error, unpack
from mxm.pipeline.execution.places.engine_state import known_to_engine
from mxm.pipeline.execution.resources.opening import Resources, using
from mxm.pipeline.execution.tracebacks import users_traceback
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass, note_signal
from mxm.pipeline.process.logs import DecodedBytes, TaskLines, current_task, within_task
from mxm.pipeline.values.fingerprint import Lookup, differing

if TYPE_CHECKING:
    from mxm.pipeline.execution.attempts.invocation import Noting

__all__ = [
    "CALLED",
    "END",
    "HELD",
    "LOGGED",
    "NOTED",
    "OTHER",
    "PRINTED",
    "PROGRESSED",
    "RAISED",
    "READ",
    "READY",
    "RETURNED",
    "UNGUARDED",
    "UNREAD",
    "UNSENT",
    "WARNED",
    "LogQueue",
    "returned",
    "serve",
]


# What a worker sends: one message with this name, and one with the content.
READY = b"ready"  # the function and its inputs are here: nothing
LOGGED = b"logged"  # the task, a record
PRINTED = b"printed"  # the task, the stream's name, a text
PROGRESSED = b"progressed"  # the task, how many are done, of how many
RETURNED = b"returned"  # the value
HELD = b"held"  # on a cluster, the value: its type, its size, and its JSON
UNREAD = b"unread"  # why an input cannot be taken from a value that the cluster holds
UNSENT = b"unsent"  # why the value cannot be sent
RAISED = b"raised"  # the exception
OTHER = b"other"  # instead of a call: names that mean something else here
CALLED = b"called"  # before the notes of a cached call: the function returned in time
NOTED = b"noted"  # before the outcome of a cached call: what its attempt did, as Notes
READ = b"read"  # before the outcome of a call: the assets that it loaded
WARNED = b"warned"  # at its end: what went wrong when it closed a resource, a Problem


END = b"end"
"""What a worker gets in place of a request when there are no more."""

UNGUARDED = 66
"""The exit code of a worker that ran the flow again when it imported the parent's script."""


class _Stopped(BaseException):
    """The parent no longer needs an answer."""


def serve(pipe: Connection) -> None:
    """Answer requests until there are no more, then end as Python does; the worker's main function.

    SIGTERM interrupts the worker's current work, and ends it in the same way.
    """
    stopped: list[BaseException] = []
    # It may be raised from the line that sets the handler to the one that sets it back.
    with contextlib.suppress(_Stopped):
        _stand_alone(stopped)
        _answer_all(pipe, stopped)
        if not stopped and sys.platform != "win32":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Now, because multiprocessing ends its own things after this function, and Python does first
    # what the user's threads and exit handlers may need those for.
    threading._shutdown()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    if stopped:
        sys.exit(128 + signal.SIGTERM)


def _answer_all(pipe: Connection, stopped: list[BaseException]) -> None:
    parent = _Parent(pipe)
    resources = Resources.of_process("the run")
    try:
        while not stopped and (request := _next_request(pipe)):
            (flow, task, levels, fn, shared, engine, _), inputs, parts = request
            set_levels = functools.partial(_set_levels, levels)
            set_levels()
            resources.share(shared)
            # An engine that the task imports sets up logging in its own way.
            known = known_to_engine(engine, then=set_levels)
            with within_task(flow, task), using(resources), known:
                if parts is not None:
                    _answer_each(parent, resources, fn, inputs, parts)
                    continue
                answer = _answer(parent, resources, fn, inputs)
                parent.flush()
            parent.tell(*answer)
        _close(parent, resources)
    except _Stopped:
        _close(parent, resources)


def _close(parent: _Parent, resources: Resources) -> None:
    for problem in resources.close():
        parent.tell(WARNED, pack(problem))


def _next_request(pipe: Connection) -> tuple[Any, bytes, list[bytes] | None] | None:
    """The request, the inputs, and for a chunk the inputs of each call."""
    try:
        first = pipe.recv_bytes()
        if first == END:
            return None
        inputs = pipe.recv_bytes()
        head = unpack(first)
        *_, count = head
        return head, inputs, None if count is None else [pipe.recv_bytes() for _ in range(count)]
    except (EOFError, OSError):
        return None


def _stand_alone(stopped: list[BaseException]) -> None:
    """Become the leader of a process group, which ends as one; a signal that stops it is listed."""
    # The parent decides what Ctrl-C means, and what a task starts must not outlive it.
    if sys.platform != "win32":
        os.setsid()

    def stop(*_: object) -> None:
        if not stopped:
            error = _Stopped()
            stopped.append(error)
            note_signal(error)
            raise error

    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _interrupt(*_: object) -> None:
    error = KeyboardInterrupt()
    note_signal(error)
    raise error


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


class _Parent:
    """The asking process: it gets what is logged and printed here."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()  # threads that a task starts print, too
        self._whole = True  # a signal may cut a message, so the rest cannot be sent
        self._handling = logging.Logger.callHandlers
        logs = LogQueue(self.tell)
        # Whatever loggers and handlers the user's module sets up, the parent has them, too.
        _set_handling(lambda _, record: logs.handle(record))
        sys.stdout, sys.stderr = self._streams = self._stream("stdout"), self._stream("stderr")
        send_progress(self._progressed)
        if sys.platform != "win32":
            os.register_at_fork(after_in_child=self._leave)

    def tell(self, kind: bytes, content: bytes) -> None:
        """Send *content* of this *kind*."""
        with self._lock:
            if self._whole and not self._pipe.closed:
                self._whole = False
                self._pipe.send_bytes(kind)
                self._pipe.send_bytes(content)
                self._whole = True

    def _progressed(self, done: int, total: int | None) -> None:
        self.tell(PROGRESSED, pack((current_task(), done, total)))

    def flush(self) -> None:
        """Send unfinished lines."""
        for stream in self._streams:
            if not stream.closed:
                stream.flush()

    def _stream(self, name: str) -> io.TextIOWrapper:
        def write(text: str) -> None:
            self.tell(PRINTED, pack((current_task(), name, text)))

        beneath: Any = DecodedBytes(write, getattr(sys, name))
        return io.TextIOWrapper(beneath, "utf-8", "backslashreplace", line_buffering=True)

    def _leave(self) -> None:
        """For a fork of this process: it must not write to this pipe, nor keep it open."""
        self._lock = threading.Lock()  # another thread may have held it
        self._pipe.close()
        _set_handling(self._handling)
        sys.stdout, sys.stderr = (TaskLines(s) for s in (sys.__stdout__, sys.__stderr__) if s)


class LogQueue(logging.handlers.QueueHandler):
    """Prepares log records for sending, and sends them."""

    def __init__(self, tell: Callable[[bytes, bytes], None]) -> None:
        super().__init__(queue.SimpleQueue())
        self._tell = tell

    def prepare(self, record: logging.LogRecord) -> Any:
        """*record* with only its text."""
        try:
            return super().prepare(record)
        except BaseException as error:  # from a value without a text: the task continues
            let_signals_pass(error)
            record.msg, record.args = text_of(record.msg), None
            return super().prepare(record)

    def enqueue(self, record: logging.LogRecord) -> None:
        """Send *record*, which `prepare` made fit."""
        self._tell(LOGGED, pack((current_task(), record)))


def _set_handling(handling: Callable[[logging.Logger, logging.LogRecord], object]) -> None:
    setattr(logging.Logger, "callHandlers", handling)  # noqa: B010 - type checkers refuse it


def _set_levels(levels: Mapping[str, int]) -> None:
    """Set the levels at which the parent logs."""
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def _answer_each(
    parent: _Parent, resources: Resources, fn: bytes, shared: bytes, parts: list[bytes]
) -> None:
    """Answer the calls of a chunk in turn; shared inputs are unpickled anew for each.

    So no item sees what another item changed in them.
    """
    try:
        function = _function(parent, fn)
    except BaseException as error:
        parent.tell(READY, b"")
        for _ in parts:
            parent.tell(*_raised(error))
        return
    parent.tell(READY, b"")
    for part in parts:
        answer = _answer_one(parent, resources, function, shared, part)
        parent.flush()
        parent.tell(*answer)


def _answer_one(
    parent: _Parent, resources: Resources, function: Callable[..., Any], shared: bytes, part: bytes
) -> tuple[bytes, bytes]:
    try:
        args, kwargs, _ = unpack(shared)
        own_args, own_names, probe = unpack(part)
        args = tuple(own_args.get(i, value) for i, value in enumerate(args))
        value = _value(parent, resources, function, args, {**kwargs, **own_names}, probe)
    except _Stopped:
        raise
    except BaseException as error:
        return _raised(error)
    return returned(value)


def _value(
    parent: _Parent,
    resources: Resources,
    function: Callable[..., Any],
    args: Any,
    kwargs: Mapping[str, Any],
    probe: Noting | None,
) -> Any:
    """The value that *function* returns when called with the resources that it asks for."""
    filled, named = resources.filled(function, args, kwargs)
    loop = resources.loop or EventLoop()
    called = functools.partial(call_function, function, filled, named, loop)
    reads: list[ReadAsset] = []
    try:
        with noting_reads(reads):
            return _noted(parent, function, args, kwargs, probe, called)
    finally:
        if reads:
            parent.tell(READ, pack(reads))


def _noted(
    parent: _Parent,
    function: Callable[..., Any],
    args: Any,
    kwargs: Mapping[str, Any],
    probe: Noting | None,
    called: Callable[[], Any],
) -> Any:
    """The value that *called* returns; the notes of its *probe* are sent."""
    if probe is None:
        return called()
    try:
        with probe.around(function):
            value = called()
        parent.tell(CALLED, b"")
        probe.check(function, args, kwargs)
        return value
    finally:
        for notes in probe.notes:
            parent.tell(NOTED, pack(notes))


def _raised(error: BaseException) -> tuple[bytes, bytes]:
    if isinstance(error, _OtherError):
        return OTHER, pack(error.args[0])
    note = f"in a worker process:\n{users_traceback(error)}"
    vars(error).setdefault("__notes__", []).append(note)
    return RAISED, pack_error(error)


def _answer(parent: _Parent, resources: Resources, fn: bytes, inputs: bytes) -> tuple[bytes, bytes]:
    try:
        function = _function(parent, fn)
        args, kwargs, probe = unpack(inputs)
        parent.tell(READY, b"")
        value = _value(parent, resources, function, args, kwargs, probe)
    except _Stopped:
        raise
    except BaseException as error:
        return _raised(error)
    return returned(value)


class _OtherError(Exception):
    """The function would read something different here from in the parent."""


def _function(parent: _Parent, packed: bytes) -> Callable[..., Any]:
    """The function that was sent, if the modules here match the parent's.

    They are compared before anything in them is called here.
    """
    fn, lookups = unpack(packed)
    function: Callable[..., Any] = unpack(fn)
    if packed not in _compared:
        # What calls change is compared before the first call that could, of any task.
        asked = {
            each
            for each in lookups
            if each.stays or (each.module in sys.modules and each.module not in _in_use)
        }
        others = differing(sorted(asked - _same))
        if any(other.stays for other in others):
            raise _OtherError([str(other) for other in others if other.stays])
        for other in others:
            parent.tell(WARNED, pack(_warning_of(other)))
        _same.update(each for each in asked if each.stays)
        _compared.add(packed)
        _in_use.update(sys.modules)
    return function


def _warning_of(other: Lookup) -> Problem:
    return Problem(
        "MXM935",
        f"{other} differs in worker processes: they have what importing {other.module!r} makes",
        hint="pass what a program changes as a parameter, or use runner 'threads'",
        severity="warning",
    )


_compared: set[bytes] = set()
_same: set[Lookup] = set()
_in_use: set[str] = set()
"""The modules that were imported before the last call."""


def returned(value: Any) -> tuple[bytes, bytes]:
    """The message with the whole *value*, or the reason why it cannot be sent."""
    try:
        return RETURNED, pack(value)
    except BaseException as error:  # any type may refuse to be pickled, in its own way
        let_signals_pass(error)
        return UNSENT, pack(described(error))
