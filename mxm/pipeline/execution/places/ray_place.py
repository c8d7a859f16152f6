"""The place `ray`: actors on a local Ray, or on a cluster at an address; each is one worker.

An actor that dies is not restarted by Ray, and its call is not made again: another actor takes its
place, for other calls. On a Ray that the user is connected to, the actors of a run wait some time
for the next one, which saves it their start; each run imports the project's modules anew.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import socket
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

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
from mxm.pipeline.execution.places.remote import about, answer, close_run
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass

if TYPE_CHECKING:
    from mxm.pipeline.execution.options import RunOptions
    from mxm.pipeline.spec import FlowSpec

__all__ = ["RayPlace"]

_ANSWERS_S = 10
_WORKERS_S = 30
_LOOK_S = 1.0
_KEPT_S = 30
"""How long idle actors wait for a next run; each holds a processor that others may want."""


class _Worker:
    """What an actor does: the same as a worker of any cluster."""

    def about(self) -> dict[str, str]:
        return about()

    def answer(self, data: bytes, *held: Packed) -> tuple[bytes, Packed | None]:
        return answer(data, *held)

    def close_run(self, run: str) -> tuple[list[Problem], list[tuple[bytes, bytes]]]:
        return close_run(run)


_keeping = threading.Lock()
_kept: dict[tuple[str, str], list[Any]] = {}
"""By connection: the actors that wait for a next run."""


class RayPlace(ClusterPlace):
    """Calls on actors of Ray.

    Raises
    ------
    EngineMissingError
        Ray is not installed.
    BackendError
        Nothing answers at the address; a worker has another Python, or
        another version of this package.
    """

    name: str = "the Ray cluster"

    def __init__(self, flow: FlowSpec, options: RunOptions) -> None:
        super().__init__(flow, options)
        try:
            ray = importlib.import_module("ray")
        except ImportError as error:
            raise EngineMissingError(
                f"runner 'ray' needs Ray: {error}", hint="pip install 'mxm-pipeline[ray]'"
            ) from error
        self._ray: Any = ray
        self._is_ours = self._has_left = False
        self._actors: list[Any] = []
        self._clean: list[Any] = []  # those whose run is closed: another may have them
        # The last one that answered is asked first: it has the sources, and its resources are open.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        self._remote: Any = None
        self._connected: tuple[str, str] | None = None
        try:
            self._connect()
            self._connected = self._connection()
            self._start()
        except BaseException:
            self.leave()
            raise

    def ask(self, data: bytes, task: str, held: Sequence[Any] = ()) -> tuple[bytes, Any]:
        """What an actor answers to a request."""
        actor = self._take()
        try:
            said, value = actor.answer.options(num_returns=2).remote(data, *held)
            answered: bytes = self._wait(said)
        except self._ray.exceptions.RayActorError as error:
            self._replace(actor)
            if self._closed:
                raise KeyboardInterrupt from None
            # The lines after the first one are ids of Ray's.
            why = described(error).partition("\n")[0].rstrip(".")
            raise LostError(f"its Ray worker ended: {why:.200}") from None
        except self._ray.exceptions.RayError as error:
            self._idle.put(actor)
            if self._closed:
                raise KeyboardInterrupt from None
            for number, reference in enumerate(held):
                if self._is_lost(reference):
                    raise LostValueError(number) from None
            message = f"task {task!r} cannot run on Ray: {described(error):.500}"
            raise FatalError(BackendError(message)) from None
        self._idle.put(actor)
        return answered, value

    def load(self, reference: Any) -> Packed:
        """A value that stayed on the cluster."""
        packed: Packed = self._ray.get(reference)
        return packed

    def lives_on(self) -> bool:
        """Whether this process is still connected: a Ray of ours ends with the run."""
        return (
            not self._has_left
            and bool(self._ray.is_initialized())
            and self._connection() == self._connected
        )

    def _is_lost(self, reference: Any) -> bool:
        """Whether no node has this object any more."""
        try:
            self._ray.wait([reference], timeout=_ANSWERS_S, fetch_local=True)
            self._ray.get(reference, timeout=_ANSWERS_S)
        except self._ray.exceptions.RayError:
            return True
        return False

    def close_run(self) -> Iterable[tuple[list[Problem], list[tuple[bytes, bytes]]]]:
        """Close what is open for this run in all actors that are idle."""
        idle: list[Any] = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._idle.get_nowait())
        closing = [actor.close_run.remote(self.run) for actor in idle]
        closed: list[Any] = self._ray.get(closing, timeout=_ANSWERS_S)
        self._clean = idle
        return closed

    def _connect(self) -> None:
        if self._ray.is_initialized():
            self.is_theirs = True
            return
        if self.address is not None:
            require_socket(self.address, _ANSWERS_S, "Ray cluster")
            _require_ray(self.address)
        try:
            self._ray.init(
                address=self.address or "local",
                num_cpus=None if self.address else self.workers,
                include_dashboard=None if self.address else False,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except BaseException as error:
            let_signals_pass(error)
            where = f" at {self.address}" if self.address else ""
            raise BackendError(f"Ray{where} does not start: {described(error):.200}") from None
        self._is_ours = True

    def _start(self) -> None:
        self._remote = self._ray.remote(
            num_cpus=1, max_restarts=0, max_task_retries=0, max_concurrency=1
        )(_Worker)
        self.slots: int = self.workers or int(self._ray.cluster_resources().get("CPU", 1)) or 1
        self._actors = [actor for actor in self._kept_ones() if self._answers(actor)]
        self._actors += [self._remote.remote() for _ in range(self.slots - len(self._actors))]
        try:
            for each in self._ray.get(
                [actor.about.remote() for actor in self._actors], timeout=_WORKERS_S
            ):
                require_same(each, "a Ray worker")
        except self._ray.exceptions.GetTimeoutError:
            raise BackendError(
                f"{self.name} has had no {self.slots} free processors for {_WORKERS_S} seconds",
                hint="ask for fewer workers: --workers N",
            ) from None
        except self._ray.exceptions.RayError as error:
            raise BackendError(
                f"a Ray worker cannot import mxm-pipeline: {described(error):.300}",
                hint="install the same mxm-pipeline on every machine of the cluster",
            ) from None
        for actor in self._actors:
            self._idle.put(actor)

    def _connection(self) -> tuple[str, str]:
        """What names this connection among all that this process has had."""
        context = self._ray.get_runtime_context()
        return context.get_node_id(), context.get_job_id()

    def _kept_ones(self) -> list[Any]:
        """Actors of an earlier run, which are this run's now; at most as many as it needs."""
        with _keeping:
            waiting = _kept.get(self._connection(), [])
            taken, waiting[:] = waiting[: self.slots], waiting[self.slots :]
        return taken

    def _answers(self, actor: Any) -> bool:
        try:
            self._ray.get(actor.about.remote(), timeout=_ANSWERS_S)
        except self._ray.exceptions.RayError:
            return False
        return True

    def _take(self) -> Any:
        while not self._closed:
            with contextlib.suppress(queue.Empty):
                return self._idle.get(timeout=_LOOK_S)
        raise KeyboardInterrupt

    def _wait(self, reference: Any) -> Any:
        while True:
            try:
                return self._ray.get(reference, timeout=_LOOK_S)
            except self._ray.exceptions.GetTimeoutError:
                if self._closed:
                    raise KeyboardInterrupt from None

    def _replace(self, dead: Any) -> None:
        with self._lock:
            if self._closed:
                return
            self._actors.remove(dead)
            actor = self._remote.remote()
            self._actors.append(actor)
        self._idle.put(actor)

    def leave(self) -> None:
        """End a Ray of ours, or the actors; on a Ray of the user's the idle ones wait for a run."""
        with contextlib.suppress(Exception):
            if self._is_ours:
                self._has_left = True
                self._ray.shutdown()
                return
            for actor in self._actors:
                if actor not in self._clean:
                    self._ray.kill(actor)
            self._keep(self._clean)

    def _keep(self, actors: list[Any]) -> None:
        with _keeping:
            waiting = _kept.setdefault(self._connection(), [])
            waiting += actors

        def drop() -> None:
            with _keeping:
                left = [actor for actor in actors if actor in waiting]
                waiting[:] = [actor for actor in waiting if actor not in left]
            if self.lives_on():  # Ray ends a process that kills an actor of an earlier one
                for actor in left:
                    self._ray.kill(actor)

        timer = threading.Timer(_KEPT_S, drop)
        timer.daemon = True
        timer.start()


def _require_ray(address: str) -> None:
    """Check that what answers at *address* may be Ray, which speaks HTTP/2: it waits for any other.

    Raises
    ------
    BackendError
        It is something else.
    """
    if os.environ.get("RAY_USE_TLS", "0") != "0":
        return
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    said = b""
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), _ANSWERS_S) as peer:
            peer.settimeout(_ANSWERS_S)
            peer.sendall(_HELLO)
            while len(said) < len(_SETTINGS) and (more := peer.recv(64)):
                said += more
    except OSError as error:
        why = described(error)
    else:
        if said[3:5] == _SETTINGS[3:5]:
            return
        why = f"it says {said[:20]!r}" if said else "it says nothing"
    raise BackendError(
        f"what answers at {address} is not a Ray cluster: {why}",
        hint="give --address the address that `ray start --head` printed",
    )


_SETTINGS = b"\0\0\0\4\0\0\0\0\0"
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _SETTINGS
