"""Run commands and measure them: wall time, CPU time and peak memory of a whole process."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORKLOADS = HERE / "workloads"
PYTHON = sys.executable
COMMAND = str(Path(sys.executable).parent / "mxm-pipeline")
LIMIT = 300.0
"""Seconds after which a command is killed and the benchmark fails."""
# What would change a run: PYTHONDONTWRITEBYTECODE for one has every module compiled every time.
_CHANGES = ("PREFECT_", "MXM_", "PYTHON", "XDG_")
_KEPT = ("PYTHONPATH",)


@dataclass(frozen=True)
class Sample:
    """One command that ended: its times in seconds, its peak memory in MB, what it wrote."""

    wall: float
    cpu: float
    peak: float
    code: int
    out: str
    err: str

    def json(self) -> Any:
        """The last line of its output, which a workload writes as JSON."""
        return json.loads(self.out.strip().splitlines()[-1])


class Place:
    """A temporary folder with a home of its own: nothing of the user's is read or written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.project = folder / "project"
        for each in (self.home, self.project):
            each.mkdir()
        kept = {k: v for k, v in os.environ.items() if not k.startswith(_CHANGES) or k in _KEPT}
        self.env = {
            **kept,
            "HOME": str(self.home),
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        }

    def start(self, *command: str, cwd: Path | None = None) -> Started:
        """Start *command* in the project folder."""
        return Started(self, command, cwd or self.project)

    def run(self, *command: str, cwd: Path | None = None, ok: bool = True) -> Sample:
        """Run *command* to its end; a failure is an error unless *ok* is false."""
        sample = self.start(*command, cwd=cwd).wait()
        if ok and sample.code != 0:
            shown = " ".join(Path(part).name for part in command)
            raise RuntimeError(f"{shown} ended with {sample.code}:\n{sample.err[-2000:]}")
        return sample

    def script(self, name: str, *args: object, ok: bool = True) -> Sample:
        """Run the workload *name*."""
        return self.run(PYTHON, str(WORKLOADS / name), *map(str, args), ok=ok)

    def end_strays(self) -> None:
        """End processes that were started with this home and are still there: Prefect's server."""
        wanted = f"HOME={self.home}".encode()
        proc = Path("/proc")
        for entry in proc.iterdir() if proc.is_dir() else ():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        os.kill(int(entry.name), signal.SIGKILL)


class Started:
    """A command that runs."""

    def __init__(self, place: Place, command: Sequence[str], cwd: Path) -> None:
        self._place = place
        self._out = tempfile.TemporaryFile()  # noqa: SIM115 - closed by wait()
        self._err = tempfile.TemporaryFile()  # noqa: SIM115
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=place.env,
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
        )

    def wait(self) -> Sample:
        """Wait for its end; its CPU time includes that of the children it waited for."""
        alarm = signal.signal(signal.SIGALRM, lambda *_: self._process.kill())
        signal.setitimer(signal.ITIMER_REAL, LIMIT)
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, alarm)
        wall = time.perf_counter() - self._began
        self._process.returncode = os.waitstatus_to_exitcode(status)
        texts: list[str] = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
            file.close()
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return Sample(
            wall,
            usage.ru_utime + usage.ru_stime,
            usage.ru_maxrss / unit,
            self._process.returncode,
            *texts,
        )


@contextlib.contextmanager
def place() -> Iterator[Place]:
    """A `Place` that is gone afterwards, with whatever still runs in it."""
    folder = Path(tempfile.mkdtemp(prefix="mxm-bench-")).resolve()
    made = Place(folder)
    try:
        yield made
    finally:
        made.end_strays()
        shutil.rmtree(folder, ignore_errors=True)


def paired(rounds: int, **cases: Callable[[], Any]) -> dict[str, list[Any]]:
    """What each case returned, *rounds* times, taken in turn so that a busy spell hits all."""
    taken: dict[str, list[Any]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            taken[name].append(case())
    return taken


def middle(samples: Sequence[Any], what: str | None = None) -> float:
    """The median of *samples*, of an attribute or key of each if *what* names one."""
    if what is not None:
        samples = [s[what] if isinstance(s, dict) else getattr(s, what) for s in samples]
    return statistics.median(samples)
