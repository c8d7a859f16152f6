"""The place `processes`: runs the function of an attempt in a worker process on this machine.

A worker that dies fails only its own attempt.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

from mxm.pipeline.errors import (
    BackendError,
    TaskTimeoutError,
    WorkerDiedError,
)
from mxm.pipeline.execution.attempts.fatal import FatalError
from mxm.pipeline.execution.attempts.invocation import Invocation
from mxm.pipeline.execution.files.observing import unseen
from mxm.pipeline.execution.pickling import pack, pack_function
from mxm.pipeline.execution.places.base import Begun, Done
from mxm.pipeline.execution.places.requests import chunk, outcome, request
from mxm.pipeline.execution.places.worker import READY, UNGUARDED
from mxm.pipeline.execution.places.worker_process import (
    SECONDS_TO_END,
    WORKER,
    DiedError,
    LateError,
    Worker,
    ending_of,
)
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.problems import Source
from mxm.pipeline.process.logs import logger
from mxm.pipeline.project.roots import project_root
from mxm.pipeline.values.fingerprint import Fingerprints, Lookup, lookups_of

if TYPE_CHECKING:
    from mxm.pipeline.execution.options import RunOptions
    from mxm.pipeline.spec import FlowSpec

__all__ = ["WorkerPool", "refuse_at_import"]

_NANNYS = "Dask Worker process"  # the name of those that Dask starts on this machine


class WorkerPool:
    """Worker processes, one per concurrent attempt; a dead one is replaced.

    Raises
    ------
    BackendError
        The program is not in a file: a worker starts by importing it.
    """

    def __init__(self, flow: FlowSpec, options: RunOptions) -> None:
        self._functions = [task.fn for task in flow.tasks]
        self._prints = Fingerprints(project_root(flow.source.file if flow.source else None))
        # By id, because a callable object may have no hash; the steps keep them alive.
        self._packed: dict[int, bytes] = {}
        self._lookups: dict[int, tuple[Lookup, ...]] = {}
        self._digests: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self.slots: int = options.workers or os.cpu_count() or 1
        main = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        if file and getattr(main, "__spec__", None) is None and not os.path.exists(file):
            raise BackendError(
                f"a program read from {file} cannot start worker processes",
                hint="write it to a file, or use runner 'threads'",
            )
        self._called_at = refuse_at_import("processes")
        self._all: set[Worker] = set()
        self._idle: list[Worker] = []
        self._ending: set[Worker] = set()
        self._lock = threading.Lock()
        self._closed = False
        self._noted = False  # what went wrong when workers closed their resources
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
        asked = request(call, self._pack)
        while True:
            worker, fresh = self._take()
            try:
                kind, content = worker.ask(*asked, timeout)
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
        _pass_on(call, worker)
        self._give_back(worker)
        value, error = outcome(task, kind, content)
        if error is not None:
            raise error
        return value

    def invoke_many(self, calls: Sequence[Invocation]) -> Iterator[Begun | Done]:
        """Call the functions of *calls* in sequence in one worker; see `Place.invoke_many`."""
        task, timeout = calls[0].step.name, calls[0].step.task.timeout_s
        try:
            head, inputs, sent = chunk(calls, self._pack)
        except FatalError as fatal:  # the others may be sent
            yield Done(0, error=fatal)
            return
        worker, fresh = self._take()
        number = -1  # for the last started call
        outcomes = worker.ask_many(head, inputs, sent, timeout)
        try:
            for kind, content in outcomes:
                if kind != READY:
                    _pass_on(calls[number], worker)
                    yield Done(number, *outcome(task, kind, content))
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
        """End every worker: idle ones normally, busy ones by interrupting them.

        An idle worker may take long, if a thread or an exit handler of the user is at work. This
        waits for it for at most a second; this process does not end before the worker has.
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

    def _pack(self, fn: Callable[..., Any]) -> bytes:
        """*fn* as bytes, with the names that it looks up, which a worker compares with its own.

        Names that calls of any task change are included, so the order of calls changes no warning.
        """
        with self._lock:
            known = self._packed.get(id(fn))
        if known is None:
            by_name = pack_function(fn)
            loose = {
                each for one in self._functions for each in self._looked_up(one) if not each.stays
            }
            known = pack((by_name, sorted(loose.union(self._looked_up(fn)))))
            with self._lock:
                self._packed[id(fn)] = known
        return known

    def _looked_up(self, fn: Callable[..., Any]) -> tuple[Lookup, ...]:
        known = self._lookups.get(id(fn))
        if known is None:
            known = lookups_of(self._prints.of(fn), fn, self._digests)
            self._lookups[id(fn)] = known
        return known

    def _end(self, worker: Worker) -> None:
        worker.end()
        for problem in worker.problems() if self._noted else ():  # it ended after its run
            logger.warning("%s", problem)
        self._forget(worker)
        self._let_go()

    def _kill(self) -> None:
        if os.getpid() == self._process:  # a fork of this process leaves them alone
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
            raise KeyboardInterrupt  # it did not end by itself
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
        "output that earlier tasks had not yet written in that process may be lost",
        worker.pid,
        ending_of(code),
        task,
    )


def refuse_at_import(runner: str) -> Source | None:
    """Where the script calls this, whose workers import it.

    Raises
    ------
    BackendError
        A module runs this while it is imported: its workers would run it, too.
    """
    frame: FrameType | None = sys._getframe()  # pyright: ignore[reportPrivateUsage]
    called_at: Source | None = None
    while frame is not None:
        spec, module = frame.f_globals.get("__spec__"), frame.f_globals.get("__name__")
        if frame.f_code.co_name == "<module>":
            place = Source(frame.f_code.co_filename, frame.f_lineno)
            child = multiprocessing.current_process().name
            if module == "__mp_main__" and child.startswith((WORKER, _NANNYS)):
                os._exit(UNGUARDED)  # the parent reports it once for all workers
            if module == "__main__":
                called_at = place
            if module == "__mp_main__" or getattr(spec, "_initializing", False):
                raise BackendError(
                    f"{place}: a flow runs with runner {runner!r} while module {module!r} is "
                    "imported",
                    hint='put the call under `if __name__ == "__main__":`, or into a function',
                    source=place,
                )
        frame = frame.f_back
    return called_at


def _pass_on(call: Invocation, worker: Worker) -> None:
    """Keep a worker's notes; without notes, the result of a task around this run is not kept."""
    call.reads.extend(worker.reads())
    if call.probe is None:
        unseen("worker processes")
    else:
        call.probe.take(worker.notes())
