"""The place `dask`: a local cluster of worker processes, one at an address, or a client's.

Dask runs a task again whose worker died, and one whose result it lost. Neither may happen here: a
plugin of the scheduler keeps it from doing so for our tasks, and for nobody else's.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mxm.pipeline.errors import BackendError, EngineMissingError, described
from mxm.pipeline.execution.attempts.fatal import FatalError
from mxm.pipeline.execution.places.cluster import (
    ClusterPlace,
    LostError,
    LostValueError,
    require_same,
    require_socket,
)
from mxm.pipeline.execution.places.held import Packed
from mxm.pipeline.execution.places.processes import refuse_at_import
from mxm.pipeline.execution.places.remote import about, answer, close_run
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import logger

if TYPE_CHECKING:
    from mxm.pipeline.execution.options import RunOptions
    from mxm.pipeline.spec import FlowSpec

__all__ = ["DaskPlace"]

_PREFIX = "mxm_"
_LOGGERS = (
    *("distributed", "distributed.scheduler", "distributed.nanny", "distributed.core"),
    *("distributed.worker", "distributed.client", "distributed.batched", "distributed.comm"),
)
_ANSWERS_S = 10
"""How long a scheduler may take to answer."""
_WORKERS_S = 30
"""How long a cluster may be without workers."""
_LARGE = 1_000_000
"""Bytes of a request that go to a worker directly, not through the scheduler."""


class DaskPlace(ClusterPlace):
    """Calls on the workers of a Dask cluster.

    Raises
    ------
    EngineMissingError
        Dask is not installed.
    BackendError
        Nothing answers at the address, or something else does; the
        scheduler or a worker has another Python, or another version of this package.
    """

    name: str = "the Dask cluster"

    def __init__(self, flow: FlowSpec, options: RunOptions) -> None:
        super().__init__(flow, options)
        try:
            distributed = importlib.import_module("distributed")
        except ImportError as error:
            raise EngineMissingError(
                f"runner 'dask' needs Dask: {error}",
                hint="pip install 'mxm-pipeline[dask]'",
            ) from error
        self._dask: Any = distributed
        self._cluster: Any = None
        self._client: Any = None
        self._is_ours = True
        self._open: set[Any] = set()
        self._number = itertools.count()
        self._quiet: list[tuple[logging.Logger, int]] = []
        try:
            self._connect()
            self._check()
            self._plug_in()
        except BaseException:
            self.leave()
            raise

    def ask(self, data: bytes, task: str, held: Sequence[Any] = ()) -> tuple[bytes, Any]:
        """What a worker answers to a request."""
        sent = data
        if len(data) > _LARGE:
            sent = self._client.scatter(data, hash=False)
        try:
            answered, future = self._asked_once(task, _answer, sent, *held)
        except (LostError, FatalError):
            for number, value in enumerate(held):
                if value.status != "finished":
                    raise LostValueError(number) from None
            raise
        if isinstance(answered, bytes):
            future.release()
            return answered, None
        if isinstance(answered, _Answered):  # its type was not known before
            return answered.said, future
        # Only what was said comes here.
        said, short = self._asked_once(task, _said, future)
        short.release()
        return said, future

    def put(self, packed: Packed) -> Any:
        """A reference to *packed*: Dask sends it once to each worker that needs it."""
        return self._client.scatter(packed, hash=False)

    def has(self, reference: Any) -> bool:
        """Whether it is there, as far as the scheduler has said."""
        return bool(reference.status == "finished")

    def load(self, reference: Any) -> Packed:
        """A value that stayed on the cluster."""
        answered: _Answered = self._client.gather(reference, direct=self._cluster is not None)
        return answered

    def lives_on(self) -> bool:
        """Whether the client is connected: one of ours is closed at the end of the run."""
        return bool(self._client.status == "running")

    def _asked_once(self, task: str, function: Callable[..., Any], *inputs: Any) -> tuple[Any, Any]:
        """What a call on a worker returns, and its future; None for what stays there."""
        key = f"{_PREFIX}{task}-{self.run}-{next(self._number)}"
        future: Any = None
        is_needed = False
        try:
            future = self._client.submit(function, *inputs, key=key, pure=False, retries=0)
            with self._lock:
                self._open.add(future)
            self._wait(future)
            stays = future.status == "finished" and future.type is _Answered
            answered = None if stays and not self._closed else self._result(future, task)
            is_needed = True
            return answered, future
        finally:
            with self._lock:
                self._open.discard(future)
            if future is not None and not is_needed:
                future.release()

    def close_run(self) -> Iterable[tuple[list[Problem], list[tuple[bytes, bytes]]]]:
        """Close what is open for this run on all workers."""
        with self._lock:
            waiting = list(self._open)
        if waiting:
            self._client.cancel(waiting, force=True, reason="the run has ended")
            return []
        if not self.lives_on():  # to ask would wait for it once more
            raise ConnectionError("the scheduler does not answer")
        closed: dict[str, Any] = self._client.run(close_run, self.run)
        return closed.values()

    def _connect(self) -> None:
        distributed = self._dask
        if self.address is None:
            with contextlib.suppress(ValueError):
                self._client, self._is_ours = distributed.get_client(), False
                self.is_theirs = True
                return
            self._start()
        else:
            require_socket(self.address, _ANSWERS_S, "Dask scheduler")
        made: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def connect() -> None:
            try:
                where = self._cluster or self.address
                made.put(distributed.Client(where, timeout=_ANSWERS_S, set_as_default=False))
            except BaseException as error:  # MemoryError, too, where another protocol answers
                made.put(error)

        # What accepts a connection and says nothing is waited for without end.
        threading.Thread(target=connect, daemon=True).start()
        try:
            client = made.get(timeout=_ANSWERS_S)
        except queue.Empty:
            client = TimeoutError(f"no answer within {_ANSWERS_S} seconds")
        if isinstance(client, BaseException):
            let_signals_pass(client)
            if self.address is None:
                raise BackendError(f"the Dask cluster does not answer: {described(client):.200}")
            raise BackendError(
                f"what answers at {self.address} is not a Dask scheduler: {described(client):.200}",
                hint="give --address the address that `dask scheduler` printed",
            )
        self._client = client

    def _start(self) -> None:
        """Start a cluster on this machine, for this run."""
        called_at = refuse_at_import("dask")
        config = importlib.import_module("dask").config
        self._silence()
        try:
            with config.set({"distributed.scheduler.allowed-failures": 0}):
                self._cluster = self._dask.LocalCluster(
                    n_workers=self.workers,
                    threads_per_worker=1,
                    dashboard_address=None,
                    silence_logs=logging.CRITICAL + 1,
                )
        except Exception as error:
            hint = "use fewer workers, or runner 'threads'"
            if called_at is not None:
                hint = 'put the call under `if __name__ == "__main__":`: workers import the script'
            raise BackendError(
                f"a Dask cluster cannot start on this machine: {described(error)}",
                hint=hint,
                source=called_at,
            ) from None

    def _silence(self) -> None:
        """Keep the scheduler of a cluster of ours, which is in this process, from logging."""
        for log in map(logging.getLogger, _LOGGERS):
            self._quiet.append((log, log.level))
            log.setLevel(logging.CRITICAL + 1)

    def _check(self) -> None:
        """Check that every process has what this one has."""
        client = self._client
        with contextlib.suppress(Exception):  # the batches of the client wait 10 ms
            client.scheduler_comm.interval = 0.001
        self._require_workers()
        try:
            require_same(client.run_on_scheduler(about), "the Dask scheduler")
            for address, theirs in client.run(about).items():
                require_same(theirs, f"the Dask worker at {address}")
        except BackendError:
            raise
        except Exception as error:
            raise BackendError(
                f"the Dask scheduler or a worker cannot import mxm-pipeline: {described(error)}",
                hint="install the same mxm-pipeline on the scheduler and on every worker",
            ) from None
        threads = sum(client.nthreads().values()) or 1
        self.slots: int = min(self.workers or threads, threads)

    def _require_workers(self) -> None:
        try:
            self._client.wait_for_workers(1, timeout=_WORKERS_S)
        except Exception:
            raise self._bare() from None

    def _bare(self) -> BackendError:
        return BackendError(
            f"{self.name} has had no workers for {_WORKERS_S} seconds",
            hint="start workers: dask worker ADDRESS",
        )

    def _plug_in(self) -> None:
        try:
            self._client.register_plugin(_once())
        except Exception as error:
            logger.warning(
                "the Dask scheduler takes no plugin (%s): a task whose worker dies may run again",
                described(error),
            )

    def _wait(self, future: Any) -> None:
        """Wait until *future* is done, as long as the scheduler answers."""
        done = threading.Event()

        async def watch() -> None:
            await future._state.wait()  # `distributed.wait` asks for a default client
            done.set()

        self._client.loop.add_callback(watch)
        silent = bare = 0
        while not done.wait(1.0):
            if self._closed:
                raise KeyboardInterrupt
            silent = silent + 1 if self._client.status != "running" else 0
            if silent >= _ANSWERS_S:  # the client would go on trying for ever
                raise FatalError(BackendError("the Dask scheduler does not answer any more"))
            bare = bare + 1 if not silent and not self._workers() else 0
            if bare >= _WORKERS_S:
                raise FatalError(self._bare())

    def _workers(self) -> bool:
        """Whether there are workers, as far as the scheduler says."""
        try:
            return bool(self._client.sync(self._client.scheduler.ncores, callback_timeout=1))
        except Exception:  # it does not answer: `status` says so in time
            return True

    def _result(self, future: Any, task: str) -> Any:
        if self._closed:
            raise KeyboardInterrupt
        if future.status == "finished":
            try:
                return self._client.gather(future)
            except Exception as error:
                raise LostError(f"its result is gone: {described(error)}") from None
        if future.status == "cancelled":
            raise LostError("the scheduler ended, or lost its result with a worker")
        why: Any = future.exception()
        if type(why).__name__ == "KilledWorker":
            raise LostError(f"its Dask worker at {why.last_worker.address} ended")
        raise FatalError(BackendError(f"task {task!r} cannot run on Dask: {described(why)}"))

    def leave(self) -> None:
        """Let the client go, and end a cluster of ours."""
        if self._client is not None and self._is_ours:
            with contextlib.suppress(Exception):
                self._client.close(timeout=2)
        if self._cluster is not None:
            with contextlib.suppress(Exception):
                self._cluster.close(timeout=5)
        for log, level in self._quiet:
            log.setLevel(level)


class _Answered(Packed):
    """A value that stays on the worker, with what there is to say of it."""

    __slots__ = ("said",)

    def __init__(self, said: bytes, data: Any, *apart: Any) -> None:
        super().__init__(data, *apart)
        self.said: bytes = said

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        kind, parts = super().__reduce_ex__(protocol)
        return kind, (self.said, *parts)


def _answer(data: bytes, *held: Packed) -> bytes | _Answered:
    """Answer a request on a worker; the task of Dask.

    The value's buffers are copied: they are still the function's own, and it may have kept them.
    """
    said, value = answer(data, *held)
    return said if value is None else _Answered(said, value.data, *value.copied())


def _said(answered: _Answered) -> bytes:
    return answered.said


def _once() -> Any:
    """The plugin of the scheduler; made here, its class goes to the scheduler by value."""
    plugin: Any = importlib.import_module("distributed.diagnostics.plugin")

    def start(self: Any, scheduler: Any) -> None:
        self.scheduler = scheduler

    def transition(self: Any, key: Any, start: str, finish: str, *args: Any, **more: Any) -> None:
        del start, args, more
        task = self.scheduler.tasks.get(key) if str(key).startswith("mxm_") else None
        if task is None:
            return
        if finish == "processing":
            task.suspicious = self.scheduler.allowed_failures  # the next loss is the last
        elif finish == "memory":
            task.run_spec = None  # if its result is lost, it is not made again

    parts = {"name": "mxm-once", "idempotent": True, "start": start, "transition": transition}
    made: Any = type("Once", (plugin.SchedulerPlugin,), parts)
    return made()
