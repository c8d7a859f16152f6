"""The same ten tasks and twenty edits under six caches: what is stale, what runs needlessly.

`python benchmarks/caches.py` installs the other tools into an environment of its own (``--peers``
names one that is there), edits a small project twenty times, and prints the table of
docs/comparison.md. An answer is stale where it differs from that of an empty cache; a run is
needless where a task ran although no result could differ.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PEERS = {
    "joblib.Memory": "joblib",
    "Hamilton": "sf-hamilton",
    "redun": "redun",
    "pytask": "pytask",
    "Prefect": "prefect",
}
WANTED = ["joblib", "sf-hamilton", "redun", "pytask", "prefect>=3.8.7,<3.10",
          "fastapi>=0.139,<0.151"]  # fmt: skip
HERE = Path(__file__).resolve().parent
OURS = "mxm-pipeline"
TOOLS = {OURS: "mxm", "joblib.Memory": "joblib", "Hamilton": "hamilton", "redun": "redun",
         "pytask": "pytask", "Prefect": "prefect"}  # fmt: skip

Edit = Callable[[Path], object]


def replace(before: str, after: str, file: str = "lib.py") -> Edit:
    """An edit of *file*, which has *before* once."""

    def edit(project: Path) -> None:
        path = project / file
        text = path.read_text("utf-8")
        assert text.count(before) == 1, (file, before)
        path.write_text(text.replace(before, after), "utf-8")

    return edit


def put(file: str, text: str) -> Edit:
    """An edit that writes *file*."""
    return lambda project: (project / file).write_text(text, "utf-8")


def upgrade(project: Path) -> None:
    """Another version of an installed package."""
    site = project / "site-packages"
    (site / "ratelib.py").write_text("def adjust(x):\n    return x * 5\n", "utf-8")
    shutil.rmtree(site / "ratelib-1.0.dist-info")
    distribution(site, "2.0")


def distribution(site: Path, version: str) -> None:
    """What an installer writes of ``ratelib``."""
    about = site / f"ratelib-{version}.dist-info"
    about.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: ratelib\nVersion: {version}\n"
    (about / "METADATA").write_text(text, "utf-8")
    (about / "RECORD").write_text(f"ratelib.py,sha256={version},30\n", "utf-8")
    (about / "top_level.txt").write_text("ratelib\n", "utf-8")


EDITS: dict[str, Edit] = {
    "the task itself": replace("return sum(values)", "return sum(values) + 1", "work.py"),
    "a helper": replace("return scale(x) + 1", "return scale(x) + 2"),
    "a helper of a helper": replace("return x * FACTOR", "return x * FACTOR + 1"),
    "a constant": replace("LIMIT = 90", "LIMIT = 15"),
    "a constant that a helper reads": replace("FACTOR = 2", "FACTOR = 3"),
    "a dict that a helper reads": replace('{"eur": 2}', '{"eur": 4}'),
    "a method of a class": replace("return self.level * 2", "return self.level * 3"),
    "a base class": replace("return x + 10", "return x + 11"),
    "an attribute of a class": replace("level = 7", "level = 8"),
    "a decorator": replace("return fn(*args) + 0", "return fn(*args) + 1"),
    "a default of a helper": replace("def shift(x, by=3)", "def shift(x, by=4)"),
    "a value bound by `partial`": replace("partial(power, 2)", "partial(power, 3)"),
    "a file that is read": put("data/prices.csv", "10\n20\n40\n"),
    "a new file in a folder": put("data/rates/c.csv", "9\n"),
    "a variable of the environment": put("desk.txt", "5"),
    "a package": upgrade,
    "a comment": replace("# a comment", "# another one, longer"),
    "white space and lines": replace("FACTOR = 2\n", "\n\n\nFACTOR   =   2\n\n"),
    "a docstring": replace('"""Makes it larger."""', '"""Makes it a little larger."""'),
    "a function that nothing uses": replace("LIMIT = 90\n", "LIMIT = 90\ndef unused(): ...\n"),
}
HARMLESS = list(EDITS)[-4:]
# Where a tool has its tasks in a file of its own, the edit of the task itself is there.
OWN = {
    "Hamilton": replace("return sum(limited)", "return sum(limited) + 1", "hamilton_flow.py"),
    "pytask": replace("work.total(_read(x)))", "work.total(_read(x)) + 1)", "task_book.py"),
}


def make_project(folder: Path) -> None:
    """The project before any edit."""
    shutil.copytree(HERE / "caches", folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data" / "rates").mkdir(parents=True)
    put("data/prices.csv", "10\n20\n30\n")(folder)
    put("data/rates/a.csv", "1\n")(folder)
    put("data/rates/b.csv", "2\n")(folder)
    put("pyproject.toml", "")(folder)
    site = folder / "site-packages"
    site.mkdir()
    put("ratelib.py", "def adjust(x):\n    return x * 4\n")(site)
    distribution(site, "1.0")
    # What was written within two seconds is read again: not what is compared here.
    past = time.time() - 60
    for path in folder.rglob("*"):
        os.utime(path, (past, past))


def run(tool: str, python: str, folder: Path) -> tuple[object, list[str], float]:
    """The value, the tasks that ran, and the seconds of one run in a process of its own."""
    desk = folder / "desk.txt"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MXM_")},
        "PYTHONPATH": str(folder / "site-packages"),
        "PYTHONHASHSEED": "0",
        "DESK": desk.read_text("utf-8") if desk.exists() else "3",
        "HOME": str(folder / "home"),
        "PREFECT_HOME": str(folder / "home" / "prefect"),
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "HAMILTON_TELEMETRY_ENABLED": "false",
    }
    began = time.perf_counter()
    ran = subprocess.run(
        [python, f"with_{TOOLS[tool]}.py" if tool else "plain.py"], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    took = time.perf_counter() - began
    values = [line for line in ran.stdout.splitlines() if line.startswith("VALUE ")]
    if ran.returncode or not values:
        raise RuntimeError(f"{tool}: {ran.stdout[-2000:]}\n{ran.stderr[-4000:]}")
    called = [line.split()[1] for line in ran.stderr.splitlines() if line.startswith("CALLED ")]
    return json.loads(values[-1][6:]), called, took


def answer(project: Path, edit: str) -> object:
    """The value after one edit, without any cache."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "project"
        shutil.copytree(project, folder)
        EDITS[edit](folder)
        return run("", sys.executable, folder)[0]


def verdict(tool: str, python: str, start: Path, edit: str, right: object) -> str:
    """What *tool* makes of one edit of the project in *start*, which it has run."""
    with tempfile.TemporaryDirectory() as temporary:
        # The same path: some keep absolute ones.
        kept = Path(temporary) / "kept"
        shutil.copytree(start, kept, symlinks=True)
        try:
            itself = edit == next(iter(EDITS))
            (OWN.get(tool, EDITS[edit]) if itself else EDITS[edit])(start)
            value, called, _ = run(tool, python, start)
        finally:
            shutil.rmtree(start)
            shutil.copytree(kept, start, symlinks=True)
    if value != right:
        return "**stale**"
    return "needless" if edit in HARMLESS and called else "right"


def measured(tool: str, python: str, folder: Path, answers: dict[str, object]) -> dict[str, str]:
    """The column of *tool*."""
    project = folder / TOOLS[tool]
    make_project(project)
    _, called, first = run(tool, python, project)
    assert len(called) == 10, (tool, called)
    times = [run(tool, python, project) for _ in range(2)]
    hit = min(seconds for _, _, seconds in times)
    column = {
        "first run, s": f"{first:.1f}",
        "full hit, s": f"{hit:.1f}",
        "tasks that a full hit runs": str(len(times[-1][1])),
    }
    for edit in EDITS:
        column[edit] = verdict(tool, python, project, edit, answers[edit])
        print(f"{tool}: {edit}: {column[edit]}", file=sys.stderr)
    return column


def peers(given: str | None, folder: Path) -> str:
    """The Python of an environment that has the other tools."""
    if given:
        return given
    subprocess.run([sys.executable, "-m", "venv", str(folder / "peers")], check=True)
    python = str(folder / "peers" / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "-q", *WANTED], check=True)
    return python


def versions(python: str) -> dict[str, str]:
    """The version of each tool."""
    code = "import importlib.metadata as m, sys; print(*[m.version(n) for n in sys.argv[1:]])"
    said = subprocess.check_output([python, "-c", code, *PEERS.values()], text=True).split()
    return {OURS: importlib.metadata.version("mxm-pipeline"),
            **dict(zip(PEERS, said, strict=True))}  # fmt: skip


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment that has the tools")
    parser.add_argument("--only", nargs="*", choices=list(TOOLS), default=list(TOOLS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary).resolve()
        python = peers(given.peers, folder)
        make_project(folder / "plain")
        answers = {edit: answer(folder / "plain", edit) for edit in EDITS}
        columns = {
            tool: measured(tool, sys.executable if tool == OURS else python, folder, answers)
            for tool in given.only
        }
        found = versions(python)
    print(f"Python {sys.version.split()[0]}, {time.strftime('%Y-%m-%d')}.\n")
    print("| | " + " | ".join(f"{tool} {found[tool]}" for tool in columns) + " |")
    print("|---|" + "---|" * len(columns))
    for row in next(iter(columns.values())):
        print(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
