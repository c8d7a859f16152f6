"""The place `processes`: runs the function of an attempt in a worker process on this machine.

A worker that dies fails only its own attempt.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from mxm.pipeline.errors import (
    BackendError,
    SpecError,
    TaskTimeoutError,
    WorkerDiedError,
    described,
)
from mxm.pipeline.execution.call import FatalError, Invocation
from mxm.pipeline.execution.observing import unseen
from mxm.pipeline.execution.pickling import pack, pack_function, unpack
from mxm.pipeline.execution.places.base import Begun, Done
from mxm.pipeline.execution.places.engine_state import engine_state
from mxm.pipeline.execution.places.worker import RAISED, READY, UNGUARDED, UNSENT
from mxm.pipeline.execution.places.worker_process import (
    SECONDS_TO_END,
    WORKER,
    DiedError,
    LateError,
    Worker,
    ending_of,
)
from mxm.pipeline.execution.plan import Step
from mxm.pipeline.execution.resources import active_resources
from mxm.pipeline.interrupts import let_signals_pass
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.logs import logger
from mxm.pipeline.problems import Source

if TYPE_CHECKING:
    from mxm.pipeline.execution.call import Noting

__all__ = ["WorkerPool"]


class WorkerPool:
    """Worker processes, one per concurrent attempt; a dead one is replaced.

    Raises
    ------
    BackendError
        The program is not in a file: a worker starts by importing it.
    """

    def __init__(self) -> None:
        main = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        if file and getattr(main, "__spec__", None) is None and not os.path.exists(file):
            raise BackendError(
                f"a program read from {file} cannot start worker processes",
                hint="write it to a file, or use runner 'threads'",
            )
        self._called_at = _refuse_at_import()
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []
        self._ending: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._noted = False  # what went wrong as workers closed their resources
        self._process = os.getpid()
        # Before multiprocessing's own handler, which would wait for them.
        atexit.register(self._kill)

    def invoke(self, call: Invocation) -> Any:
        """Call the function of *call* once in a worker; return its value.

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
            except LateError:
                self._stop(worker, task)
                raise TaskTimeoutError(task, timeout or 0) from None
            except DiedError as died:
                code = self._drop(worker)
                if not (died.begun or fresh):
                    _warn_of_idle(worker, code, task)
                    continue  # it has not started this
                raise self._died(task, code, begun=died.begun) from None
            except BaseException:
                self._drop(worker)
                raise
        _pass_on(call.probe, worker)
        self._give_back(worker)
        value, error = _outcome(task, kind, content)
        if error is not None:
            raise error
        return value

    def invoke_many(self, calls: Sequence[Invocation]) -> Iterator[Begun | Done]:
        """Call the functions of *calls* in sequence in one worker; see `Place.invoke_many`."""
        task, timeout = calls[0].step.name, calls[0].step.task.timeout_s
        try:
            head, inputs, sent = _requests(calls)
        except FatalError as fatal:  # those behind it may be sent
            yield Done(0, error=fatal)
            return
        worker, fresh = self._take()
        number = -1  # of the last started call
        outcomes = worker.ask_many(head, inputs, sent, timeout)
        try:
            for kind, content in outcomes:
                if kind != READY:
                    _pass_on(calls[number].probe, worker)
                    yield Done(number, *_outcome(task, kind, content))
                if kind == READY or number + 1 < sent:
                    number += 1
                    yield Begun(number)
        except LateError:
            self._stop(worker, task)
            yield Done(number, error=TaskTimeoutError(task, timeout or 0))
        except DiedError:
            code = self._drop(worker)
            if number >= 0 or fresh:
                yield Done(max(number, 0), error=self._died(task, code, begun=number >= 0))
            else:
                _warn_of_idle(worker, code, task)
        except BaseException:
            self._drop(worker)
            raise
        else:
            self._give_back(worker)

    def close(self) -> None:
        """End every worker: idle ones as Python ends, busy ones by interrupting them.

        An idle one may take long, where a thread or an exit handler of the user's is at work. It is
        not waited for here for more than a second; this process does not end before it has.
        """
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = self._all.difference(idle, self._ending)
            self._ending.update(idle)
        for worker in busy:
            worker.interrupt()
        threads = [threading.Thread(target=self._end, args=(worker,)) for worker in idle]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + SECONDS_TO_END
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        for worker in busy:
            worker.join(max(0, deadline - time.monotonic()))
            worker.kill()
            self._forget(worker)
        resources = active_resources()
        if resources is not None:
            resources.note(problem for worker in (*idle, *busy) for problem in worker.problems())
        self._noted = True
        self._let_go()

    def _end(self, worker: Worker) -> None:
        worker.end()
        for problem in worker.problems() if self._noted else ():  # it ended after its run
            logger.warning("%s", problem)
        self._forget(worker)
        self._let_go()

    def _kill(self) -> None:
        if os.getpid() == self._process:  # a fork of this one leaves them alone
            for worker in tuple(self._all):
                worker.kill()

    def _let_go(self) -> None:
        if not self._all:
            atexit.unregister(self._kill)

    def _take(self) -> tuple[Worker, bool]:
        """A worker, and whether it is new."""
        with self._lock:
            if self._closed:
                raise KeyboardInterrupt  # the run was cancelled: no more calls may start
            if self._idle:
                return self._idle.pop(0), False
            worker = Worker()
            self._all.add(worker)
            return worker, True

    def _give_back(self, worker: Worker) -> None:
        with self._lock:
            if not self._closed:
                self._idle.append(worker)

    def _forget(self, worker: Worker) -> None:
        with self._lock:
            self._all.discard(worker)
            self._ending.discard(worker)

    def _stop(self, worker: Worker, task: str) -> None:
        """End a worker that is late."""
        gone = worker.stop()
        self._drop(worker)
        if worker.used and not gone:
            logger.warning(
                "the worker process of task %r could only be killed: what tasks before it had not "
                "written yet in that process may be lost",
                task,
            )

    def _drop(self, worker: Worker) -> int | None:
        worker.kill()
        self._forget(worker)
        if self._closed:
            raise KeyboardInterrupt  # it did not die by itself
        return worker.exitcode

    def _died(self, task: str, code: int | None, *, begun: bool) -> Exception:
        what = f"the worker process of task {task!r} ended with {ending_of(code)}"
        if begun:
            return WorkerDiedError(what, hint="run it with --runner sequential to see what it does")
        if code == UNGUARDED:
            where = f"{self._called_at}: " if self._called_at else ""
            return FatalError(
                BackendError(
                    f"{where}a flow runs with runner 'processes' whenever the script is imported, "
                    "and each worker process imports it",
                    hint='put the call under `if __name__ == "__main__":`',
                    source=self._called_at,
                )
            )
        return WorkerDiedError(
            what,
            hint=shadow_hint() or "run it with --runner sequential to see what it does",
        )


def _warn_of_idle(worker: Worker, code: int | None, task: str) -> None:
    logger.warning(
        "worker process %s ended with %s before task %r began in it: another one runs the task; "
        "what tasks before it had not written yet in that process may be lost",
        worker.pid,
        ending_of(code),
        task,
    )


def _refuse_at_import() -> Source | None:
    """Raise if a module runs this while it is imported: its workers would import it, too.

    Return where the script calls this.
    """
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    called_at: Source | None = None
    while frame is not None:
        spec, module = frame.f_globals.get("__spec__"), frame.f_globals.get("__name__")
        if frame.f_code.co_name == "<module>":
            place = Source(frame.f_code.co_filename, frame.f_lineno)
            if module == "__mp_main__" and multiprocessing.current_process().name == WORKER:
                os._exit(UNGUARDED)  # the parent reports it, once for all workers
            if module == "__main__":
                called_at = place
            if module == "__mp_main__" or getattr(spec, "_initializing", False):
                raise BackendError(
                    f"{place}: a flow runs with runner 'processes' while module {module!r} is "
                    "imported",
                    hint='put the call under `if __name__ == "__main__":`, or into a function',
                    source=place,
                )
        frame = frame.f_back
    return called_at


def _pass_on(probe: Noting | None, worker: Worker) -> None:
    """Keep what a worker noted; without notes, a task that this run is inside of is not kept."""
    if probe is None:
        unseen("worker processes")
    else:
        probe.take(worker.notes())


def _outcome(task: str, kind: bytes, content: bytes) -> tuple[Any, BaseException | None]:
    """The value in a worker's answer; raises if the call failed."""
    if kind == UNSENT:
        return None, _unsendable("value", task, unpack(content))
    try:
        outcome = unpack(content)
    except BaseException as error:  # some types can be pickled, but not unpickled
        let_signals_pass(error)
        fatal = _unsendable("exception" if kind == RAISED else "value", task, error)
        fatal.__cause__ = error
        return None, fatal
    return (None, outcome) if kind == RAISED else (outcome, None)


def _request(call: Invocation) -> tuple[bytes, bytes]:
    """The request header for a worker, and the inputs."""
    task = call.step.name
    try:
        fn = pack_function(call.step.task.fn)
    except SpecError as error:
        raise FatalError(error) from None
    except BaseException as error:  # any type may refuse to be pickled, in its own way
        let_signals_pass(error)
        raise _unsendable("function", task, error) from error
    try:
        inputs = pack((call.args, call.kwargs, call.probe and call.probe.sent()))
    except BaseException as error:
        let_signals_pass(error)
        raise _unsendable("inputs", task, error) from error
    resources = active_resources()
    shared = resources.shared() if resources else None
    try:
        return pack((call.flow, task, _levels(), fn, shared, engine_state(), None)), inputs
    except BaseException as error:
        let_signals_pass(error)
        raise _unsendable("resources", task, error) from error


def _requests(calls: Sequence[Invocation]) -> tuple[bytes, list[bytes], int]:
    """Like `_request`, for calls that differ in some inputs; common inputs are sent once.

    The inputs of each call follow, for as many calls as fit into one chunk.
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
            part = pack((own_args, own_names, call.probe and call.probe.sent()))
        except BaseException as error:
            let_signals_pass(error)
            if parts:
                break  # send it alone, so that only its own item fails
            raise _unsendable("inputs", first.step.name, error) from error
        size += len(part)
        parts.append(part)
        if size > _LARGEST_CHUNK:
            break
    *common, _ = unpack(head)
    head = pack((*common, len(parts)))
    return head, [shared, *parts], len(parts)


@dataclass
class ItemInputs:
    """The common inputs of all calls of a chunk."""

    flow: str
    step: Step
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probe: Noting | None = None


_LARGEST_CHUNK = 4_000_000  # bytes of inputs


def _unsendable(what: str, task: str, why: object) -> FatalError:
    """A value cannot be sent, so another attempt would fail, too."""
    reason = described(why) if isinstance(why, BaseException) else why
    return FatalError(
        BackendError(
            f"the {what} of task {task!r} cannot pass between processes: {reason}",
            hint="use runner 'threads' for what cannot be pickled",
        )
    )


def _levels() -> dict[str, int]:
    """The level set on each logger."""
    root = logging.getLogger()
    loggers = [
        root,
        *(v for v in root.manager.loggerDict.values() if isinstance(v, logging.Logger)),
    ]
    return {log.name: log.level for log in loggers if log.level}
