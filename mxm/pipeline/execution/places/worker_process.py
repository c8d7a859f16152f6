"""One worker process as its parent sees it: its start, its answers and its end."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from multiprocessing.connection import wait
from typing import Any

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.errors import BackendError, described
from mxm.pipeline.execution.attempts.fatal import FatalError
from mxm.pipeline.execution.openfiles import files_hint
from mxm.pipeline.execution.output import pass_on_progress
from mxm.pipeline.execution.pickling import unpack
from mxm.pipeline.execution.places.worker import (
    CALLED,
    END,
    LOGGED,
    NOTED,
    PRINTED,
    PROGRESSED,
    READ,
    READY,
    WARNED,
    serve,
)
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.logs import logger, within_task

__all__ = ["SECONDS_TO_END", "WORKER", "DiedError", "LateError", "Worker", "ending_of", "show"]

SECONDS_TO_END = 1.0
"""How many seconds an interrupted worker may take to end, and how many to wait at once for one that
ends by itself."""

WORKER = "mxm-worker"
"""The name of each of these processes."""

_LOOK_S = 0.2


class LateError(Exception):
    """An attempt took longer than allowed."""


class DiedError(Exception):
    """The worker is gone; *begun* says whether it had called the function."""

    begun = False


class Worker:
    """One process and the pipe to it.

    It is spawned, because a fork may copy a held lock, and a child of a fork server does not end as
    Python does.

    Raises
    ------
    FatalError
        It cannot start.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        try:
            self._pipe, theirs = context.Pipe()
            # Not a daemon, which could not start processes of its own.
            self._process = context.Process(target=serve, args=(theirs,), name=WORKER, daemon=False)
            with theirs:
                self._process.start()
        except (EOFError, OSError) as error:
            raise FatalError(
                BackendError(
                    f"a worker process cannot start: {described(error)}",
                    hint=_way_out(error),
                )
            ) from error
        self.used: bool = False
        self._killed = False
        self._problems: list[Problem] = []
        self._notes: list[Any] = []
        self._reads: list[ReadAsset] = []

    def problems(self) -> list[Problem]:
        """What went wrong when it closed its resources, each once."""
        problems, self._problems = self._problems, []
        return problems

    def notes(self) -> list[Any]:
        """The notes on attempts of cached calls, each once."""
        notes, self._notes = self._notes, []
        return notes

    def reads(self) -> list[ReadAsset]:
        """The assets that calls have read, each once."""
        reads, self._reads = self._reads, []
        return reads

    def ask(self, head: bytes, inputs: bytes, timeout: float | None) -> tuple[bytes, bytes]:
        """The worker's answer to a request; meanwhile, show what it logs and prints.

        Raises
        ------
        LateError
            It took longer than *timeout* seconds.
        DiedError
            The process is gone.
        """
        begun = False
        deadline: float | None = None
        try:
            self._send(head, inputs)
            while True:
                kind, content = self._answer(deadline)
                if kind == CALLED:
                    deadline = None
                    continue
                if kind != READY:
                    self.used = True
                    return kind, content
                begun = True
                # Starting the worker and importing a module do not count.
                deadline = None if timeout is None else time.monotonic() + timeout
        except DiedError as died:
            died.begun = begun
            raise

    def ask_many(
        self, head: bytes, inputs: Sequence[bytes], count: int, timeout: float | None
    ) -> Iterator[tuple[bytes, bytes]]:
        """READY once *inputs* have arrived, then an answer to each of *count* calls.

        Raises
        ------
        LateError
            One took longer than *timeout* seconds.
        DiedError
            The process is gone.
        """
        self._send(head, *inputs)
        deadline: float | None = None
        answers = 0
        while answers < count:
            kind, content = self._answer(deadline)
            if kind == CALLED:
                deadline = None
                continue
            if kind != READY:
                self.used = True
                answers += 1
            yield kind, content
            deadline = None if timeout is None else time.monotonic() + timeout

    def _send(self, *messages: bytes) -> None:
        with self._dying():
            for message in messages:
                self._pipe.send_bytes(message)

    def _answer(self, deadline: float | None) -> tuple[bytes, bytes]:
        """The worker's next answer, after showing what it logged and printed before."""
        while (message := self._next(deadline)) is not None:
            if not self._show(*message):
                return message
        raise LateError

    def end(self) -> None:
        """Let the idle worker end as Python does, however long that takes."""
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(END)
        self._see_off(None)
        code = self._process.exitcode
        if code and not self._killed:
            logger.warning(
                "a worker process ended with %s after its last task: output that its tasks had "
                "not written may be lost",
                ending_of(code),
            )
        self.kill()

    def interrupt(self) -> None:
        """Ask it to stop its work and end; without signals, kill it."""
        if sys.platform == "win32":
            self.kill()
        else:
            self._process.terminate()

    def stop(self) -> bool:
        """End it within a second, or by force; return whether it ended by itself."""
        self.interrupt()
        gone = self._see_off(SECONDS_TO_END)
        self.kill()
        return gone

    def kill(self) -> None:
        """End it at once, with everything that it started."""
        self._killed = True
        if sys.platform != "win32" and self._process.pid is not None:
            with contextlib.suppress(OSError):  # it is not a group yet, or not any more
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()

    def join(self, seconds: float) -> None:
        """Wait until it is gone, while another thread reads its messages."""
        self._process.join(seconds)

    @property
    def pid(self) -> int | None:
        """The number of the process."""
        return self._process.pid

    @property
    def exitcode(self) -> int | None:
        """The code it ended with; None while it runs."""
        return self._process.exitcode

    def _see_off(self, seconds: float | None) -> bool:
        """Show what it still logs and prints, until it is gone or *seconds* have passed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        try:
            while (message := self._next(deadline)) is not None:
                self._show(*message)
        except DiedError:
            return True
        return False

    def _next(self, deadline: float | None) -> tuple[bytes, bytes] | None:
        """The next message; None if there is none by *deadline*."""
        with self._dying():
            while True:
                left = _LOOK_S if deadline is None else min(_LOOK_S, deadline - time.monotonic())
                if self._pipe in wait([self._pipe, self._process.sentinel], max(0, left)):
                    return self._pipe.recv_bytes(), self._pipe.recv_bytes()
                # A process that the worker started may hold its ends of both.
                if self._process.exitcode is not None and not self._pipe.poll():
                    raise EOFError
                if left <= 0:
                    return None

    def _show(self, kind: bytes, content: bytes) -> bool:
        """If this is a line or a warning of the worker, show or keep it; return whether it is."""
        if kind == WARNED:
            self._problems.append(unpack(content))
        elif kind == NOTED:
            self._notes.append(unpack(content))
        elif kind == READ:
            self._reads += unpack(content)
        else:
            show(kind, content)
        return kind in (LOGGED, PRINTED, PROGRESSED, WARNED, NOTED, READ)

    @contextlib.contextmanager
    def _dying(self) -> Generator[None, None, None]:
        try:
            yield
        except (EOFError, OSError):
            self._process.join(SECONDS_TO_END)  # it ended by itself, with an exit code of its own
            raise DiedError from None


def ending_of(code: int | None) -> str:
    """The exit code *code* in words, or the signal that it stands for."""
    try:
        return signal.Signals(-(code or 0)).name
    except ValueError:
        return f"exit code {code}"


def _way_out(error: Exception) -> str:
    return files_hint(error) or shadow_hint() or "use fewer workers, or runner 'threads'"


def show(kind: bytes, content: bytes) -> None:
    """Log or print a worker's message as output of its task."""
    if kind == LOGGED:
        _log(*unpack(content))
    elif kind == PRINTED:
        _print(*unpack(content))
    elif kind == PROGRESSED:
        _progress(*unpack(content))


def _log(task: tuple[str, str] | None, record: logging.LogRecord) -> None:
    log = logging.getLogger(record.name)
    with _marked(task):
        if log.isEnabledFor(record.levelno):
            log.handle(record)


def _print(task: tuple[str, str] | None, stream: str, text: str) -> None:
    beneath = getattr(sys, stream)
    if beneath is not None:  # as where there is no console
        with _marked(task):
            beneath.write(text)


def _progress(task: tuple[str, str] | None, done: int, total: int | None) -> None:
    with _marked(task):
        pass_on_progress(done, total)


def _marked(task: tuple[str, str] | None) -> contextlib.AbstractContextManager[None]:
    return within_task(*task) if task else contextlib.nullcontext()
