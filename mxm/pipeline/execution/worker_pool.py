"""The `processes` runner: the engine stays here, each attempt's function runs in a worker process.

A worker that dies takes nothing but its own attempt along.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import logging
import multiprocessing
import os
import queue
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Generator
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
from mxm.pipeline.execution.call import Call, FatalError
from mxm.pipeline.execution.pickling import pack, pack_function, unpack
from mxm.pipeline.execution.worker import (
    LOGGED,
    PRINTED,
    RAISED,
    READY,
    UNSENT,
    serve,
)
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.logs import within_task
from mxm.pipeline.problems import Source

__all__ = ["WorkerPool"]

_SECONDS_TO_DIE = 1.0


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
        self._context = multiprocessing.get_context(_method())
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        # Before multiprocessing, which would wait for them.
        atexit.register(self.close)

    def invoke(self, call: Call) -> Any:
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
                raise WorkerDiedError(
                    f"the worker process of task {task!r} ended with exit code {code}",
                    hint=(None if died.begun else shadow_hint())
                    or "run it with --runner sequential to see what it does",
                ) from None
            except BaseException:
                self._drop(worker)
                raise
        self._idle.put(worker)
        if kind == UNSENT:
            raise _unsendable("value", task, unpack(content))
        try:
            outcome = unpack(content)
        except BaseException as error:  # some types can be written, and not be read
            let_signals_pass(error)
            what = "exception" if kind == RAISED else "value"
            raise _unsendable(what, task, error) from error
        if kind == RAISED:
            raise outcome
        return outcome

    def close(self) -> None:
        """End every worker, busy ones too, with all that they started."""
        with self._lock:
            self._closed = True
            for worker in self._all:
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


def _method() -> str:
    """How workers start: from a process without threads, where there can be one.

    A fork of this process may copy a lock that is held.
    """
    # A fork of the process that started the fork server cannot use it. A worker that has workers
    # is killed at its end, and would leave the folder of its fork server behind.
    has = "forkserver" in multiprocessing.get_all_start_methods()
    first = _first_process() == os.getpid() and multiprocessing.parent_process() is None
    short = len(tempfile.gettempdir()) <= _LONGEST_FOLDER
    return "forkserver" if has and first and short else "spawn"


# The fork server listens at a path of this folder, which the system bounds at about 100 characters.
_LONGEST_FOLDER = 60


@functools.cache
def _first_process() -> int:
    return os.getpid()


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

    def _answer(self, timeout: float | None) -> tuple[bytes, bytes]:
        deadline: float | None = None
        while True:
            kind, content = self._next(deadline)
            if kind == READY:
                self._begun = True
                # What it took to start the worker, and to import a module, is not the function's.
                deadline = None if timeout is None else time.monotonic() + timeout
            elif kind == LOGGED:
                _log(*unpack(content))
            elif kind == PRINTED:
                _print(*unpack(content))
            else:
                return kind, content

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


def _request(call: Call) -> tuple[bytes, bytes]:
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
    return pack((call.flow, task, _levels(), fn)), inputs


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
