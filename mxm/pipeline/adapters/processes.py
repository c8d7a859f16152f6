"""The `processes` runner: the engine stays here, each attempt's function runs in a worker process.

Only functions, inputs and values cross over, so that a worker loads neither an engine nor a
decorator's module twice, and a worker that dies takes nothing but its own attempt along.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from mxm.pipeline.adapters.calls import Call, call_function
from mxm.pipeline.errors import BackendError, Source, SpecError, TaskTimeoutError, WorkerDiedError
from mxm.pipeline.logs import TaskLines, within_task

__all__ = ["WorkerPool"]

# Workers start from a process without threads: a fork of this one may copy a lock that is held.
_METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


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
                f"a program read from {file} can have no workers",
                hint="write it to a file, or use runner 'threads'",
            )
        self._context = multiprocessing.get_context(_METHOD)
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._closed = False

    def invoke(self, call: Call) -> Any:
        """Call the function of *call* once, in a worker; its value.

        Raises
        ------
        WorkerDiedError
            The worker ended before the function did.
        TaskTimeoutError
            It took too long; its worker was killed.
        BaseException
            What the function raised.
        """
        request = _pickled(call)
        worker = self._take()
        try:
            outcome = worker.ask(request, call.step.task.timeout_s)
        except TimeoutError:
            self._drop(worker)
            timeout = call.step.task.timeout_s or 0
            raise TaskTimeoutError(call.step.name, timeout) from None
        except (EOFError, OSError):
            code = self._drop(worker)
            raise WorkerDiedError(
                f"the worker process of task {call.step.name!r} ended with exit code {code}",
                hint="run it with --runner sequential to see what it does",
            ) from None
        except BaseException:
            self._drop(worker)
            raise
        self._idle.put(worker)
        ok, value = pickle.loads(outcome)  # noqa: S301 - from our own worker
        if ok:
            return value
        raise value

    def close(self) -> None:
        """End every worker, busy ones too."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.kill()
            self._all.clear()

    def _take(self) -> _Worker:
        with contextlib.suppress(queue.Empty):
            return self._idle.get_nowait()
        with self._lock:
            if self._closed:
                raise KeyboardInterrupt  # the run was cancelled: nothing more may start
            worker = _Worker(self._context)
            self._all.add(worker)
            return worker

    def _drop(self, worker: _Worker) -> int | None:
        with self._lock:
            if worker in self._all:
                self._all.discard(worker)
                worker.kill()
            if self._closed:
                raise KeyboardInterrupt  # it did not die by itself
        return worker.exitcode


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any) -> None:
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, dict(os.environ)), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, request: bytes, timeout: float | None) -> bytes:
        self._pipe.send_bytes(request)
        if not self._pipe.poll(timeout):
            raise TimeoutError
        answer: bytes = self._pipe.recv_bytes()
        return answer

    @property
    def exitcode(self) -> int | None:
        code: int | None = self._process.exitcode
        return code

    def kill(self) -> None:
        self._process.join(0.05)  # one that died by itself has an exit code of its own
        self._process.kill()
        self._process.join()


def _pickled(call: Call) -> bytes:
    fn = inspect.unwrap(call.step.task.fn)
    try:
        return pickle.dumps((call.flow, call.step.name, _reference(fn), call.args, call.kwargs))
    except Exception as error:  # any type may refuse to be pickled, in its own way
        error.add_note(
            f"the inputs of task {call.step.name!r} cannot be sent to a worker process: "
            "values must pickle there; use --runner threads"
        )
        raise


def _reference(fn: Callable[..., Any]) -> tuple[str, str, str]:
    """Where a worker finds *fn*: the name stands for the Task there, so it cannot be pickled."""
    if "<" in fn.__qualname__:
        raise SpecError(
            f"{fn.__qualname__!r} cannot be sent to a worker process",
            hint="define it with def at the top level of a module",
        )
    file = fn.__code__.co_filename
    if fn.__module__ == "__main__" and not os.path.exists(file):
        raise SpecError(
            f"{fn.__qualname__!r} was defined at {Source.of_function(fn)}, where no worker process "
            "can import it from",
            hint="put it into a module and import it here, or use runner 'threads'",
        )
    return fn.__module__, fn.__qualname__, file


def _serve(pipe: Connection, environment: dict[str, str]) -> None:
    """Answer requests until the pipe is closed; runs in the worker."""
    os.environ.update(environment)  # what forks it may have begun before the environment changed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # Lines of several workers meet in one stream: each says whose it is.
    sys.stdout = lines = TaskLines(sys.stdout)
    while True:
        try:
            request = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        answer = _answer(request)
        lines.finish()
        pipe.send_bytes(answer)


def _answer(request: bytes) -> bytes:
    try:
        flow, task, reference, args, kwargs = pickle.loads(request)  # noqa: S301 - from our own parent
        with within_task(flow, task):
            value = call_function(_resolve(*reference), args, kwargs)
        return pickle.dumps((True, value))
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        error.add_note("in a worker process:\n" + text)
        with contextlib.suppress(Exception):
            answer = pickle.dumps((False, error))
            pickle.loads(answer)  # noqa: S301 - some exceptions pickle, and cannot be read back
            return answer
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}\n{text}")))


def _resolve(module: str, qualname: str, file: str) -> Callable[..., Any]:
    if module == "__main__":
        # What multiprocessing calls the parent's main module in a child.
        module = "__mp_main__" if "__mp_main__" in sys.modules else module
    try:
        found: Any = importlib.import_module(module)
    except ImportError:
        found = _from_file(module, file)
    for part in qualname.split("."):
        found = getattr(found, part)
    plain: Callable[..., Any] = inspect.unwrap(found)
    return plain


def _from_file(module: str, file: str) -> Any:
    """A module that discovery imported by its path, under a name that is not its own."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(module, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{module!r} cannot be imported in a worker process from {file!r}")
    found = importlib.util.module_from_spec(spec)
    sys.modules[module] = found
    spec.loader.exec_module(found)
    return found
