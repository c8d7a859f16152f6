"""The place `processes`: the function of an attempt runs in a worker process of this machine.

A worker that dies takes nothing but its own attempt along.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from types import FrameType
from typing import Any

from mxm.pipeline.errors import (
    BackendError,
    SpecError,
    TaskTimeoutError,
    WorkerDiedError,
    described,
)
from mxm.pipeline.execution.call import FatalError, Invocation
from mxm.pipeline.execution.pickling import pack, pack_function, unpack
from mxm.pipeline.execution.places.base import Begun, Done
from mxm.pipeline.execution.places.worker import (
    END,
    LOGGED,
    PRINTED,
    RAISED,
    READY,
    UNSENT,
    serve,
)
from mxm.pipeline.execution.plan import Step
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.logs import logger, within_task
from mxm.pipeline.problems import Source

__all__ = ["WorkerPool"]

_SECONDS_TO_DIE = 1.0
_SECONDS_TO_END = 30.0  # of a worker that has nothing to do but to end
_SECONDS_AFTER_CANCEL = 1.0


class WorkerPool:
    """Worker processes, as many as attempts at once; one that died is replaced.

    Raises
    ------
    BackendError
        The program is in no file: a worker begins by importing it.
    """

    def __init__(self) -> None:
        main = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        if file and getattr(main, "__spec__", None) is None and not os.path.exists(file):
            raise BackendError(
                f"a program read from {file} cannot have worker processes",
                hint="write it to a file, or use runner 'threads'",
            )
        _refuse_at_import()
        # Not by fork, which may copy a lock that is held, nor by a fork server, whose children
        # end without flushing a file.
        self._context = multiprocessing.get_context("spawn")
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        # Before multiprocessing, which would wait for them.
        atexit.register(self.close)

    def invoke(self, call: Invocation) -> Any:
        """Call the function of *call* once, in a worker; its value.

        Raises
        ------
        WorkerDiedError
            The worker ended before the function did.
        TaskTimeoutError
            It took too long; its worker was killed.
        FatalError
            The function, its inputs or its value cannot be sent.
        BaseException
            What the function raised.
        """
        task, timeout = call.step.name, call.step.task.timeout_s
        request = _request(call)
        while True:
            worker, fresh = self._take()
            try:
                kind, content = worker.ask(*request, timeout)
                break
            except _LateError:
                self._drop(worker)
                raise TaskTimeoutError(task, timeout or 0) from None
            except _DiedError as died:
                code = self._drop(worker)
                if not (died.begun or fresh):
                    continue  # it was idle when it died, and has not begun this
                raise _died(task, code, begun=died.begun) from None
            except BaseException:
                self._drop(worker)
                raise
        self._idle.put(worker)
        value, error = _outcome(task, kind, content)
        if error is not None:
            raise error
        return value

    def invoke_many(self, calls: Sequence[Invocation]) -> Iterator[Begun | Done]:
        """Call the functions of *calls* in turn in one worker; see `Place.invoke_many`."""
        task, timeout = calls[0].step.name, calls[0].step.task.timeout_s
        try:
            head, inputs, sent = _requests(calls)
        except FatalError as fatal:  # those behind it may be sent
            yield Done(0, error=fatal)
            return
        worker, fresh = self._take()
        number = -1  # of the call that has begun last
        outcomes = worker.ask_many(head, inputs, sent, timeout)
        try:
            for kind, content in outcomes:
                if kind != READY:
                    yield Done(number, *_outcome(task, kind, content))
                if kind == READY or number + 1 < sent:
                    number += 1
                    yield Begun(number)
        except _LateError:
            self._drop(worker)
            yield Done(number, error=TaskTimeoutError(task, timeout or 0))
        except _DiedError:
            code = self._drop(worker)
            if number >= 0 or fresh:
                yield Done(max(number, 0), error=_died(task, code, begun=number >= 0))
        except BaseException:
            self._drop(worker)
            raise
        else:
            self._idle.put(worker)

    def cancel(self) -> None:
        """End what is at work, with all that it started; idle workers end as Python ends."""
        self._end(_SECONDS_AFTER_CANCEL)

    def close(self) -> None:
        """Let every worker end as Python ends: files are flushed, exit handlers run."""
        self._end(_SECONDS_TO_END)

    def _end(self, seconds: float) -> None:
        with self._lock:
            self._closed = True
            idle: list[_Worker] = []
            with contextlib.suppress(queue.Empty):
                while True:
                    idle.append(self._idle.get_nowait())
            for worker in self._all.difference(idle):
                worker.kill()
            for worker in idle:
                worker.send_end()
            deadline = time.monotonic() + seconds
            for worker in idle:
                if not worker.ended(max(0.0, deadline - time.monotonic())):
                    logger.warning(
                        "a worker process did not end within %g s and was killed: what it had not "
                        "written yet is lost",
                        seconds,
                    )
                worker.kill()
            self._all.clear()
        atexit.unregister(self.close)

    def _take(self) -> tuple[_Worker, bool]:
        """A worker, and whether it is a new one."""
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait(), False
        with self._lock:
            if self._closed:
                raise KeyboardInterrupt  # the run was cancelled: nothing more may start
            worker = _Worker(self._context)
            self._all.add(worker)
            return worker, True

    def _drop(self, worker: _Worker) -> int | None:
        with self._lock:
            if worker in self._all:
                self._all.discard(worker)
                worker.kill()
            if self._closed:
                raise KeyboardInterrupt  # it did not die by itself
        return worker.exitcode


def _refuse_at_import() -> None:
    """Raise where a module that is being imported runs this: its workers would import it, too."""
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        spec = frame.f_globals.get("__spec__")
        if frame.f_code.co_name == "<module>" and getattr(spec, "_initializing", False):
            module = frame.f_globals.get("__name__")
            place = Source(frame.f_code.co_filename, frame.f_lineno)
            raise BackendError(
                f"{place}: a flow runs with runner 'processes' while module {module!r} is imported",
                hint='put the call under `if __name__ == "__main__":`, or into a function',
                source=place,
            )
        frame = frame.f_back


def _died(task: str, code: int | None, *, begun: bool) -> WorkerDiedError:
    return WorkerDiedError(
        f"the worker process of task {task!r} ended with exit code {code}",
        hint=(None if begun else shadow_hint())
        or "run it with --runner sequential to see what it does",
    )


def _outcome(task: str, kind: bytes, content: bytes) -> tuple[Any, BaseException | None]:
    """The value that a worker answered with, or what failed."""
    if kind == UNSENT:
        return None, _unsendable("value", task, unpack(content))
    try:
        outcome = unpack(content)
    except BaseException as error:  # some types can be written, and not be read
        let_signals_pass(error)
        fatal = _unsendable("exception" if kind == RAISED else "value", task, error)
        fatal.__cause__ = error
        return None, fatal
    return (None, outcome) if kind == RAISED else (outcome, None)


class _LateError(Exception):
    """An attempt took longer than it may."""


class _DiedError(Exception):
    """The worker is gone; *begun* where it had called the function."""

    begun = False


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any) -> None:
        self._pipe, theirs = context.Pipe()
        # Not a daemon, which could start no processes of its own.
        self._process = context.Process(target=serve, args=(theirs, dict(os.environ)), daemon=False)
        try:
            self._process.start()
        except (EOFError, OSError) as error:
            raise FatalError(
                BackendError(
                    f"a worker process cannot start: {described(error)}",
                    hint=shadow_hint() or "use runner 'threads'",
                )
            ) from error
        theirs.close()

    def ask(self, head: bytes, inputs: bytes, timeout: float | None) -> tuple[bytes, bytes]:
        """What the worker answers to a request; shows what it logs and prints meanwhile."""
        self._begun = False
        try:
            with self._dying():
                self._pipe.send_bytes(head)
                self._pipe.send_bytes(inputs)
            return self._answer(timeout)
        except _DiedError as died:
            died.begun = self._begun
            raise

    def ask_many(
        self, head: bytes, inputs: Sequence[bytes], count: int, timeout: float | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """READY once *inputs* have arrived, then an answer to each of *count* calls."""
        self._begun = False
        with self._dying():
            self._pipe.send_bytes(head)
            for part in inputs:
                self._pipe.send_bytes(part)
        deadline: float | None = None
        answers = 0
        while answers < count:
            kind, content = self._shown(deadline)
            if kind != READY:
                answers += 1
            yield kind, content
            deadline = None if timeout is None else time.monotonic() + timeout

    def _shown(self, deadline: float | None) -> tuple[bytes, bytes]:
        """What the worker tells next, once what it logged and printed before is shown."""
        while True:
            kind, content = self._next(deadline)
            if kind == LOGGED:
                _log(*unpack(content))
            elif kind == PRINTED:
                _print(*unpack(content))
            else:
                return kind, content

    def send_end(self) -> None:
        """Ask the worker, which is idle, to end."""
        with contextlib.suppress(OSError):  # it is gone already
            self._pipe.send_bytes(END)
            self._pipe.send_bytes(b"")

    def ended(self, seconds: float) -> bool:
        """Whether the worker ends within *seconds*; shows what it logs and prints meanwhile."""
        with contextlib.suppress(_DiedError, _LateError):
            while True:
                self._shown(time.monotonic() + seconds)
        self._process.join(max(0.0, seconds))
        return self.exitcode is not None

    def _answer(self, timeout: float | None) -> tuple[bytes, bytes]:
        deadline: float | None = None
        while True:
            kind, content = self._shown(deadline)
            if kind != READY:
                return kind, content
            self._begun = True
            # What it took to start the worker, and to import a module, is not the function's.
            deadline = None if timeout is None else time.monotonic() + timeout

    def _next(self, deadline: float | None) -> tuple[bytes, bytes]:
        seconds = None if deadline is None else max(0, deadline - time.monotonic())
        # Not the pipe alone: a process that the worker started may hold its end open.
        ready = wait([self._pipe, self._process.sentinel], seconds)
        if not ready:
            raise _LateError
        with self._dying():
            if self._pipe not in ready and not self._pipe.poll():
                raise EOFError
            return self._pipe.recv_bytes(), self._pipe.recv_bytes()

    @contextlib.contextmanager
    def _dying(self) -> Generator[None, None, None]:
        try:
            yield
        except (EOFError, OSError):
            self._process.join(_SECONDS_TO_DIE)  # by itself: it has an exit code of its own
            raise _DiedError from None

    @property
    def exitcode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def kill(self) -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):  # it is no group yet, or no more
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()


def _request(call: Invocation) -> tuple[bytes, bytes]:
    """What a worker needs to know first, and the inputs."""
    task = call.step.name
    try:
        fn = pack_function(call.step.task.fn)
    except SpecError as error:
        raise FatalError(error) from None
    except BaseException as error:  # any type may refuse to be pickled, in its own way
        let_signals_pass(error)
        raise _unsendable("function", task, error) from error
    try:
        inputs = pack((call.args, call.kwargs))
    except BaseException as error:
        let_signals_pass(error)
        raise _unsendable("inputs", task, error) from error
    return pack((call.flow, task, _levels(), fn, None)), inputs


def _requests(calls: Sequence[Invocation]) -> tuple[bytes, list[bytes], int]:
    """As `_request`, of calls that differ in some inputs: what is the same for all goes once.

    The inputs of each call follow, of so many calls as fit into one chunk.
    """
    first = calls[0]
    same_args = tuple(
        i for i, value in enumerate(first.args) if all(c.args[i] is value for c in calls)
    )
    same_names = [k for k, v in first.kwargs.items() if all(c.kwargs[k] is v for c in calls)]
    head, shared = _request(
        ItemInputs(
            first.flow,
            first.step,
            tuple(value if i in same_args else None for i, value in enumerate(first.args)),
            {k: first.kwargs[k] for k in same_names},
        )
    )
    parts: list[bytes] = []
    size = 0
    for call in calls:
        own_args = {i: v for i, v in enumerate(call.args) if i not in same_args}
        own_names = {k: v for k, v in call.kwargs.items() if k not in same_names}
        try:
            part = pack((own_args, own_names))
        except BaseException as error:
            let_signals_pass(error)
            if parts:
                break  # it goes alone, so that only its own item fails
            raise _unsendable("inputs", first.step.name, error) from error
        size += len(part)
        parts.append(part)
        if size > _LARGEST_CHUNK:
            break
    flow, task, levels, fn, _ = unpack(head)
    return pack((flow, task, levels, fn, len(parts))), [shared, *parts], len(parts)


@dataclass
class ItemInputs:
    """What is the same for all calls of a chunk."""

    flow: str
    step: Step
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


_LARGEST_CHUNK = 4_000_000  # bytes of inputs


def _unsendable(what: str, task: str, why: object) -> FatalError:
    """Another attempt would fail as this one does."""
    told = described(why) if isinstance(why, BaseException) else why
    return FatalError(
        BackendError(
            f"the {what} of task {task!r} cannot pass between processes: {told}",
            hint="use runner 'threads' for what cannot be pickled",
        )
    )


def _levels() -> dict[str, int]:
    """By logger, the level it was given."""
    root = logging.getLogger()
    loggers = [
        root,
        *(v for v in root.manager.loggerDict.values() if isinstance(v, logging.Logger)),
    ]
    return {log.name: log.level for log in loggers if log.level}


def _log(task: tuple[str, str] | None, record: logging.LogRecord) -> None:
    log = logging.getLogger(record.name)
    if log.isEnabledFor(record.levelno):
        with _marked(task):
            log.handle(record)


def _print(task: tuple[str, str] | None, stream: str, text: str) -> None:
    beneath = getattr(sys, stream)
    if beneath is not None:  # as where there is no console
        with _marked(task):
            beneath.write(text)


def _marked(task: tuple[str, str] | None) -> contextlib.AbstractContextManager[None]:
    return within_task(*task) if task else contextlib.nullcontext()
