"""Live progress: what a terminal shows, at its widths, whatever tasks write to it."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyte  # type: ignore[import-untyped]
import pytest
from command import SCRIPT, call, write

from mxm.pipeline import progress
from mxm.pipeline.api import compile_flow
from mxm.pipeline.cli.block import Block, cut
from mxm.pipeline.cli.lines import Lines
from mxm.pipeline.cli.live import Live
from mxm.pipeline.execution.events import (
    AttemptEnded,
    Event,
    ItemEnded,
    OutputLine,
    Progressed,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
)
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.taskruns import ItemRun, State, TaskRun

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")


class Terminal(io.StringIO):
    """A terminal in memory, and what it shows."""

    encoding: Any = "utf-8"

    def __init__(self, columns: int = 60, lines: int = 20) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, lines, history=500)
        self._stream = pyte.Stream(self.screen)

    def write(self, text: str, /) -> int:
        # pyte leaves the cursor's column, as a terminal does without its line discipline.
        self._stream.feed(text.replace("\n", "\r\n"))
        return super().write(text)

    @property
    def size(self) -> tuple[int, int]:
        return self.screen.columns, self.screen.lines

    def shown(self) -> list[str]:
        """All lines, those that have scrolled away included."""
        before = [
            "".join(row[x].data for x in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]
        lines = [*before, *(line.rstrip() for line in self.screen.display)]
        while lines and not lines[-1]:
            lines.pop()
        return lines


def block_on(terminal: Terminal, lines: list[str]) -> Block:
    """A block that is drawn when it is asked to, of *lines*, which may change."""
    block = Block(terminal, lambda: terminal.size)
    block._frame = lambda now, width, most: list(lines)
    return block


# --- the block -------------------------------------------------------------------------------


def test_lines_scroll_up_and_the_block_stays_below() -> None:
    terminal = Terminal(lines=6)
    lines = ["one", "two"]
    block = block_on(terminal, lines)
    for i in range(10):
        block.write(f"line {i}\n")
        lines[1] = f"two {i}"
        block.draw()
    assert terminal.shown() == [*(f"line {i}" for i in range(10)), "one", "two 9"]
    block.finish()
    assert terminal.shown() == [f"line {i}" for i in range(10)]


def test_a_line_waits_for_its_end_and_is_written_when_the_block_ends() -> None:
    terminal = Terminal()
    block = block_on(terminal, ["block"])
    block.write("half a ")
    block.draw()
    assert terminal.shown() == ["block"]
    block.write("line\nrest")
    block.draw()
    assert terminal.shown() == ["half a line", "block"]
    block.finish()
    assert terminal.shown() == ["half a line", "rest"]


def test_of_a_line_that_is_written_over_the_last_part_stays() -> None:
    terminal = Terminal()
    block = block_on(terminal, ["block"])
    for text in ("10 %\r", "50 %\r", "100 %", "\n", "\r a\r b\r\n"):
        block.write(text)
    block.draw()
    assert terminal.shown() == ["100 %", " b", "block"]


def test_no_sequence_but_colours_reaches_the_terminal() -> None:
    terminal = Terminal()
    block = block_on(terminal, ["block"])
    block.write("\x1b[2J\x1b[5Aup \x1b]0;title\x07\x1b[31mred\x1b[0m\x1bc\n")
    block.draw()
    assert terminal.shown() == ["up red", "block"]
    assert "\x1b[31mred" in terminal.getvalue()


def test_long_lines_wrap_and_those_of_the_block_are_cut() -> None:
    terminal = Terminal(columns=20)
    block = block_on(terminal, ["b" * 50, "\x1b[34m" + "c" * 50 + "\x1b[0m"])
    block.write("a" * 30 + "\n")
    block.draw()
    block.draw()
    assert terminal.shown() == ["a" * 20, "a" * 10, "b" * 18 + "…", "c" * 18 + "…"]


def test_a_terminal_that_becomes_narrower_leaves_no_rest_of_the_block() -> None:
    terminal = Terminal(columns=60)
    block = block_on(terminal, ["b" * 50])
    block.draw()
    # As terminals do: the line of 50 columns is now two of them.
    terminal.screen.resize(30, 20)
    terminal.screen.reset()
    terminal._stream.feed("b" * 20 + "\r\n" + "b" * 20 + "\r\n" + "b" * 10 + "\r\n")
    block.draw()
    assert terminal.shown() == ["b" * 18 + "…"]


def test_a_block_is_no_higher_than_the_terminal() -> None:
    terminal = Terminal(lines=5)
    block = block_on(terminal, [f"b{i}" for i in range(40)])
    for i in range(3):
        block.write(f"line {i}\n")
        block.draw()
    assert terminal.shown() == ["line 0", "line 1", "line 2", "b36", "b37", "b38", "b39"]


def test_nothing_is_drawn_while_something_is_asked() -> None:
    terminal = Terminal()
    block = block_on(terminal, ["block"])
    block.write("which one? ")
    with block.paused():
        block.draw()
        block.write("written at once")
        assert terminal.shown() == ["which one? written at once"]
    block.write("\n")
    block.draw()
    assert terminal.shown()[-1] == "block"


def test_a_terminal_that_is_gone_ends_the_block_and_raises_nothing() -> None:
    terminal = Terminal()
    block = block_on(terminal, ["block"])
    terminal.close()
    block.write("line\n")
    block.draw()
    block.finish()


def test_lines_are_cut_by_columns_and_colours_take_none() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("abcd", 3) == "ab…\x1b[0m"
    assert cut("\x1b[1mabc\x1b[0m", 3) == "\x1b[1mabc\x1b[0m"
    assert cut("\x1b[1mabcd", 3) == "\x1b[1mab…\x1b[0m"
    assert cut("東京都", 5) == "東京…\x1b[0m"


# --- what is shown of a run ------------------------------------------------------------------

AT = datetime(2026, 11, 27, 17, 30, tzinfo=UTC)


class Shown:
    """Live progress of made-up events, without colours."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, spec: FlowSpec, **options: Any) -> None:
        monkeypatch.setenv("NO_COLOR", "1")
        self.terminal = Terminal(columns=options.pop("columns", 100), lines=60)
        self.block = Block(self.terminal, lambda: self.terminal.size)
        self.block.show = lambda frame: setattr(self.block, "_frame", frame)  # type: ignore[method-assign]
        monkeypatch.setattr(sys, "stderr", self.block)
        self.clock = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.clock)
        self.live = Live(self.block, **options)
        self.spec = spec
        names = tuple(task.name for task in spec.tasks)
        self.live(RunStarted("run", AT, spec, {}, names, "inline", "threads", 2, ()))
        for thread in threading.enumerate():
            if thread.name == "mxm-usual":
                thread.join()

    def start(self, step: str, items: int | None = None) -> None:
        self.live(StepStarted("run", AT, step, 1, AT, items))

    def end(self, step: str, state: str = "succeeded", **fields: Any) -> None:
        fields = {"seconds": 1.5, "attempts": 1, "started": AT, **fields}
        self.live(StepEnded("run", AT, TaskRun(step, State(state), **fields)))

    def lines(self) -> list[str]:
        self.block.draw(self.clock)
        return self.terminal.shown()


def one(*_: object) -> int:
    return 1


def spec_of(*tasks: str | tuple[str, list[str]]) -> FlowSpec:
    pairs = [(task, list[str]()) if isinstance(task, str) else task for task in tasks]
    return FlowSpec("risk", [TaskSpec(name, one, upstream=ups) for name, ups in pairs])


def test_a_block_says_what_runs_what_waits_and_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = spec_of("load", "garch", "gain", "shrink", ("pnl", ["gain"]))
    shown = Shown(monkeypatch, spec, usual=lambda flow: {"garch": 19.0, "pnl": 3.0})
    shown.start("load")
    shown.end("load", seconds=14.6, attempts=2)
    shown.start("garch")
    shown.start("gain", items=500)
    for i in range(250):
        shown.live(ItemEnded("run", AT, "gain", i, ItemRun(str(i), State.SUCCEEDED)))
    shown.start("shrink")
    error = ConnectionError("factor model server is away")
    shown.live(AttemptEnded("run", AT, "shrink", 1, State.FAILED, error, 3, 2.0))
    shown.clock += 1.5
    assert shown.lines() == [
        "✓ load      14.6 s  ×2",
        "",
        "● garch      1.5 s  usually 19.0 s",
        "● gain       1.5 s  ━━━━━━━━────────  250/500",
        "↻ shrink     0.5 s  to attempt 2 of 3  ConnectionError: factor model server is away",
        "○ 1 waiting  next pnl, for gain",
        "━━━━━━━━━━━━────────────────────────────────────────────────  1/5  0:01  about 0:17 left",
    ]


def test_a_task_that_ends_has_a_line_by_its_state(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, spec_of("old", "fit", "stress", "lucky"))
    shown.end("old", "cached", started=None, seconds=None)
    shown.end("fit", "failed", error=ValueError("not\npositive"))
    shown.end("stress", "skipped", reason="upstream 'fit' failed", cause="fit", started=None)
    shown.end("lucky", "failed", error=KeyError("x"), allowed=True)
    assert shown.lines()[:4] == [
        "◆ old       cached",
        "✗ fit        1.5 s  ValueError: not",
        "⊘ stress   skipped  fit failed",
        "✗ lucky      1.5 s  KeyError: 'x'  (allowed)",
    ]


def test_of_many_tasks_only_what_is_not_ordinary_has_a_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [f"t{i}" for i in range(40)]
    shown = Shown(monkeypatch, spec_of(*names))
    for name in names[:3]:
        shown.end(name)
    shown.end("t3", attempts=2)
    shown.end("t4", "failed", error=ValueError("away"))
    for name in names[5:30]:
        shown.end(name, "skipped", reason="upstream 't4' failed", cause="t4", started=None)
    shown.end("t30", "failed", error=ValueError("away, too"))
    for name in names[31:]:
        shown.start(name)
    lines = shown.lines()
    assert lines[:4] == [
        "✓ t3      1.5 s  ×2",
        "✗ t4      1.5 s  ValueError: away",
        "⊘ 25 skipped  t4 failed",
        "✗ t30     1.5 s  ValueError: away, too",
    ]
    assert [line for line in lines if line.startswith("●")][-1] == "● and 1 more"
    assert lines[-1].endswith("31/40  0:00")


def test_bars_of_a_task_stay_in_its_line_and_the_last_part_stays_at_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Shown(monkeypatch, spec_of("fit", "other"))
    shown.start("fit")
    for part in ("10 %", "50 %\x1b[A"):
        shown.live(OutputLine("run", AT, "fit", part, "stderr", is_bar=True))
    assert shown.lines()[1] == "● fit        0 ms  50 %"
    shown.live(OutputLine("run", AT, "fit", "100 %", "stderr", is_bar=True))
    shown.end("fit")
    assert shown.lines()[:2] == ["[risk/fit] 100 %", "✓ fit       1.5 s"]


def test_what_a_task_says_of_itself_is_a_bar_or_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(monkeypatch, spec_of("fit", "read"))
    shown.start("fit")
    shown.start("read")
    shown.live(Progressed("run", AT, "fit", 3, 4))
    shown.live(Progressed("run", AT, "read", 1_200, None))
    assert shown.lines()[1:3] == [
        "● fit       0 ms  ━━━━━━━━━━━━────  3/4",
        "● read      0 ms  1,200 done",
    ]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        (40, "● a_long_na…_words     1.5 s  250/500"),
        (52, "● a_long_name_…any_words     1.5 s  ━━━───  250/500"),
        (60, "● a_long_name_of_many_words     1.5 s  ━━━━━╸─────  250/500"),
        (90, "● a_long_name_of_many_words     1.5 s  ━━━━━━━━────────  250/500"),
    ],
)
def test_on_a_narrow_terminal_times_and_counts_have_room(
    monkeypatch: pytest.MonkeyPatch, columns: int, line: str
) -> None:
    name = "a_long_name_of_many_words"
    shown = Shown(monkeypatch, spec_of(name, "b"), columns=columns)
    shown.start(name, items=500)
    shown.start("b")
    for i in range(250):
        shown.live(ItemEnded("run", AT, name, i, ItemRun(str(i), State.SUCCEEDED)))
    shown.clock += 1.5
    assert shown.lines()[1] == line
    assert shown.lines()[2].endswith("1.5 s")


def test_names_wider_than_the_terminal_and_hostile_ones_take_one_line_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ["x" * 300, "日本語の株価" * 9, "a\nb\x1b[2Jc", "\u202eevil"]
    shown = Shown(monkeypatch, spec_of(*names), columns=60)
    for name in names:
        shown.start(name)
    lines = shown.lines()
    assert len(lines) == 6  # an empty one, four tasks, and the total
    assert all("\x1b" not in line and "\u202e" not in line for line in lines)


def test_the_end_names_what_bound_the_run_and_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Shown(
        monkeypatch,
        spec_of("load", ("fit", ["load"])),
        hints=lambda run: [("see it", "mxm-pipeline report --open")],
    )
    tasks = {}
    for i, name in enumerate(("load", "fit")):
        start, end = AT.replace(second=4 * i), AT.replace(second=4 * i + 4)
        tasks[name] = TaskRun(name, State.SUCCEEDED, 1, None, None, 1, start, end, 4.0, ready=start)
        shown.live(StepEnded("run", AT, tasks[name]))
    run = FlowRun(shown.spec, {}, tasks, State.SUCCEEDED, started=AT, seconds=8.0)
    shown.live(RunEnded("run", AT, run))
    assert shown.terminal.shown()[2:] == [
        "",
        "✓ risk succeeded in 8.0 s  2 succeeded",
        "  bound by load → fit: 8.0 s of 8.0 s",
        "  see it               mxm-pipeline report --open",
    ]
    shown.live.end(run)  # it was printed
    assert len(shown.terminal.shown()) == 6


def test_a_terminal_without_the_characters_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Terminal, "encoding", "latin-1")
    shown = Shown(monkeypatch, spec_of("load", "fit"))
    shown.end("load", attempts=2)
    shown.start("fit")
    assert shown.lines() == [
        "+ load     1.5 s  x2",
        "",
        "> fit       0 ms",
        f"{'=' * 30}{'-' * 30}  1/2  0:00",
    ]


def test_what_a_terminal_has_no_characters_for_is_cut_as_it_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    names = ["load_prices_of_every_member_of_the_index", "日本語の株価データを読み込む", "é" * 20]
    shown = Shown(monkeypatch, spec_of(*names), columns=60)
    for name in names:
        shown.start(name)
    shown.live(OutputLine("run", AT, names[0], "é" * 60, "stderr", is_bar=True))
    lines = shown.lines()
    assert len(lines) == 5  # an empty one, three tasks, and the total
    assert all(line.isascii() and len(line) < 60 for line in lines)
    assert lines[1].startswith("> load_prices_of")
    assert lines[1].endswith("~")


def test_plain_lines_have_a_bar_now_and_then_and_its_last_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    lines = Lines(0)
    for i in range(101):
        clock[0] += 1 / 16
        lines(OutputLine("run", AT, "fit", f"{i} %", "stderr", is_bar=True))
    lines(OutputLine("run", AT, "fit", "done", "stdout"))
    lines(OutputLine("run", AT, "fit", "half", "stderr", item="SAP", is_bar=True))
    lines(StepEnded("run", AT, TaskRun("fit", State.SUCCEEDED, seconds=1.0)))
    lines.end(FlowRun(spec_of("fit"), {}, {}, State.SUCCEEDED, started=AT, seconds=8.0))
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if line.startswith("[")] == [
        "[/fit] 32 %", "[/fit] 64 %", "[/fit] 96 %", "[/fit] 100 %", "[/fit] done", "[/fit[SAP]] half",
    ]  # fmt: skip


# --- the command in a terminal ---------------------------------------------------------------

SLOW = """
import os, sys, time
from getpass import getpass
import mxm


def gate(name):
    while not os.path.exists(name):
        time.sleep(0.02)


@mxm.task
def load() -> int:
    print("three rows")
    sys.stderr.write("no end")
    return 3


@mxm.task
def fit(rows: int, window: int) -> int:
    gate("fit")
    if window == 13:
        raise ValueError("no window of 13")
    return rows


@mxm.task
def ask(rows: int) -> str:
    return input("which one? ")


@mxm.task
def unlock(rows: int) -> int:
    time.sleep(0.3)  # so that there is a block
    return len(getpass("the word? "))


@mxm.task
def by_bytes(rows: int) -> str:
    time.sleep(0.3)  # so that there is a block
    sys.stdout.write("which bytes? ")
    return sys.stdin.buffer.readline().decode().strip()


@mxm.task
def by_name(answer: str) -> str:
    with open("/dev/tty", "r+b", buffering=0) as terminal:
        terminal.write(b"which word? ")
        return answer + terminal.readline().decode().strip()


@mxm.flow
def reading():
    return by_name(by_bytes(load()))


@mxm.flow
def unlocking():
    return unlock(load())


@mxm.flow
def slow(window: int = 20):
    return fit(load(), window)


@mxm.flow
def asking():
    return ask(load())
"""


class Pty:
    """The command in a pseudo-terminal of its own."""

    def __init__(self, folder: Path, *args: str, columns: int = 80, **env: str) -> None:
        self.screen = pyte.HistoryScreen(columns, 30, history=500)
        self._stream = pyte.ByteStream(self.screen)
        self.raw = b""
        variables = {**os.environ, "TERM": "xterm-256color", **env}
        variables.pop("CI", None)
        variables.pop("MXM_HOME", None)
        variables.update({key: value for key, value in env.items()})
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(folder)
            os.execve(sys.executable, [sys.executable, SCRIPT, *args], variables)
        size = struct.pack("HHHH", 30, columns, 0, 0)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, size)

    def read_until(self, done: Callable[[str], bool]) -> str:
        """Read until *done* with what the screen shows; what it shows then."""
        end = time.monotonic() + 60
        while not done(self.text()):
            assert time.monotonic() < end, self.text()
            if not self._read():
                break
        return self.text()

    def _read(self) -> bool:
        ready, _, _ = select.select([self.fd], [], [], 0.1)
        if ready:
            with contextlib.suppress(OSError):  # it has ended
                data = os.read(self.fd, 65_536)
                self.raw += data
                self._stream.feed(data)
                return bool(data)
            return False
        return True

    def text(self) -> str:
        rows = [
            "".join(row[x].data for x in range(self.screen.columns))
            for row in self.screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*rows, *self.screen.display]).rstrip()

    def end(self) -> tuple[int, str]:
        """Read to its end; its exit code, and what the screen shows then."""
        text = self.read_until(lambda _: False)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        return os.waitstatus_to_exitcode(status), text


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    write(tmp_path, {"pyproject.toml": "", "flows.py": SLOW})
    yield tmp_path


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_a_run_in_a_terminal_shows_its_block_and_leaves_its_lines(
    folder: Path, columns: int
) -> None:
    ran = Pty(folder, "run", "slow", "--backend", "inline", columns=columns)
    text = ran.read_until(lambda shown: "● fit" in shown and "1/2" in shown)
    lines = text.splitlines()
    assert "[slow/load] three rows" in lines
    assert "[slow/load] no end" in lines
    assert re.fullmatch("━+╸?─+  1/2  [0-9:]+", lines[-1])
    assert max(map(len, lines)) <= columns
    (folder / "fit").touch()
    code, text = ran.end()
    assert code == 0
    assert "●" not in text
    assert "━" not in text
    assert re.search(r"✓ fit +[\d.]+ m?s", text)
    assert "mxm-pipeline report --open" in text.replace("\n", "")
    assert '"fit": 3' in text
    assert b"\x1b[?25l" not in ran.raw  # the cursor is never hidden


def test_ctrl_c_leaves_the_summary_and_no_block(folder: Path) -> None:
    ran = Pty(folder, "run", "slow", "--backend", "inline")
    ran.read_until(lambda shown: "● fit" in shown)
    os.kill(ran.pid, signal.SIGINT)
    code, text = ran.end()
    assert code == 130
    assert "slow cancelled in" in text
    assert "━" not in text


def test_a_question_is_asked_below_what_was_printed_and_without_a_block(folder: Path) -> None:
    ran = Pty(folder, "run", "asking", "--backend", "inline")
    text = ran.read_until(lambda shown: "which one?" in shown and "━" not in shown)
    assert text.splitlines()[-1] == "[asking/ask] which one?"
    os.write(ran.fd, b"seven\n")
    code, text = ran.end()
    assert code == 0
    assert '"ask": "seven"' in text


def test_a_password_is_asked_without_a_block_too(folder: Path) -> None:
    ran = Pty(folder, "run", "unlocking", "--backend", "inline")
    text = ran.read_until(lambda shown: "the word? " in f"{shown} " and "━" not in shown)
    assert text.splitlines()[-1] == "the word?"
    os.write(ran.fd, b"seven\n")
    code, text = ran.end()
    assert code == 0
    assert '"unlock": 5' in text
    assert "seven" not in text


def test_what_reads_past_the_standard_input_removes_the_block_too(folder: Path) -> None:
    ran = Pty(folder, "run", "reading", "--backend", "inline")
    for question, answer in ((b"which bytes?", b"seven\n"), (b"which word?", b"eight\n")):
        ran.read_until(lambda shown, end=question.decode(): shown.endswith(end))
        os.write(ran.fd, answer)
    code, text = ran.end()
    assert code == 0
    assert '"by_name": "seveneight"' in text
    assert "\nwhich word? eight\n" in text


def test_a_failure_is_shown_with_its_traceback(folder: Path) -> None:
    (folder / "fit").touch()
    ran = Pty(folder, "run", "slow", "--backend", "inline", "-p", "window=13", NO_COLOR="1")
    code, text = ran.end()
    assert code == 1
    assert re.search(r"✗ fit +[\d.]+ m?s  ValueError: no window of 13  flows.py:\d+", text)
    assert 'raise ValueError("no window of 13")' in text
    assert re.search(r"✗ slow failed in .*1 succeeded  1 failed", text)
    assert not re.search(rb"\x1b\[[\d;]*3\d[\d;]*m", ran.raw)  # a colour; the cursor may go up 3


@pytest.mark.parametrize(
    ("args", "env"),
    [(["-v"], {}), (["--quiet"], {}), ([], {"CI": "1"}), ([], {"TERM": "dumb"})],
)
def test_where_lines_are_asked_for_there_is_no_block(
    folder: Path, args: list[str], env: dict[str, str]
) -> None:
    (folder / "fit").touch()
    code, text = Pty(folder, "run", "slow", "--backend", "inline", *args, **env).end()
    assert code == 0
    assert "━" not in text
    assert "✓" not in text


def test_without_a_terminal_the_modules_of_progress_are_not_even_loaded(folder: Path) -> None:
    (folder / "fit").touch()
    write(folder, {"flows.py": SLOW + "\n\nimport atexit\n"
                   "atexit.register(lambda: print('LOADED', 'mxm.pipeline.cli.live' in "
                   "sys.modules, file=sys.stderr))\n"})  # fmt: skip
    ran = call("run", "slow", "--backend", "inline", cwd=folder)
    assert "LOADED False" in ran.err
    assert "succeeded fit" in ran.err


# --- progress --------------------------------------------------------------------------------


def counted(count: int) -> int:
    return sum(1 for _ in progress(range(count)))


def test_progress_outside_a_run_is_a_plain_iterator() -> None:
    assert list(progress([1, 2, 3])) == [1, 2, 3]
    assert list(progress(iter("ab"), total=2)) == ["a", "b"]
    assert next(progress(iter(())), None) is None


@pytest.mark.parametrize("runner", ["sequential", "threads", "processes"])
def test_progress_of_a_task_reaches_observers(runner: str) -> None:
    seen: list[Event] = []
    spec = FlowSpec("f", [TaskSpec("counted", counted, params={"count": 4})])
    run = compile_flow(
        spec, backend="inline", runner=runner, observers=[seen.append], record=False
    ).run()
    assert run.value() == 4
    told = [(e.step, e.done, e.total) for e in seen if isinstance(e, Progressed)]
    assert told[0] == ("counted", 0, 4)
    assert told[-1] == ("counted", 4, 4)


def test_a_line_that_is_written_over_is_marked() -> None:
    def bars() -> None:
        sys.stderr.write("\r10 %")
        sys.stderr.write("\r100 %\n")
        print("done")

    seen: list[Event] = []
    spec = FlowSpec("f", [TaskSpec("bars", bars)])
    compile_flow(spec, backend="inline", observers=[seen.append], record=False).run()
    lines = [(e.text, e.is_bar) for e in seen if isinstance(e, OutputLine)]
    assert lines == [("10 %", True), ("100 %", True), ("done", False)]
