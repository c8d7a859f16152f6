"""Live progress of a run on a terminal: lines for what ended, a block for what runs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mxm.pipeline.cli.lines import (
    first_line,
    item_counts,
    output_text,
    print_failures,
    print_result_warnings,
    raised_at,
    why_skipped,
)
from mxm.pipeline.cli.output import print_error, tell
from mxm.pipeline.execution.events import (
    AttemptEnded,
    AttemptStarted,
    Event,
    ItemEnded,
    OutputLine,
    Progressed,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
    StepWaits,
    Warned,
)
from mxm.pipeline.execution.files.observing import unobserved
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.process.printable import in_one_line, printable, without_sequences
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.taskruns import State, TaskRun
from mxm.pipeline.views.bound import Span, bound_of, shown_steps
from mxm.pipeline.views.markup import columns, middle_out
from mxm.pipeline.views.states import count_states
from mxm.pipeline.views.times import clock, lasted

if TYPE_CHECKING:
    from mxm.pipeline.cli.block import Block

__all__ = ["Live"]

_EACH = 30  # above so many tasks, only failures, skips and retries have a line
_MOST_RUNNING = 8
_MOST_RETRIES = 3
_MOST_STEPS = 5  # tasks of the chain that bound the run
_GOOD = ("succeeded", "cached", "overridden")
_LONGEST_NAME = 28
_BAR, _SHORTEST_BAR, _WIDEST_BAR = 16, 6, 60
_RED, _GREEN, _YELLOW, _BLUE, _CYAN, _DIM, _BOLD = "31", "32", "33", "34", "36", "2", "1"
# For each kind of line: its mark, the mark in ASCII, its colour.
_MARKS: Mapping[str, tuple[str, str, str]] = {
    "succeeded": ("✓", "+", _GREEN),
    "failed": ("✗", "x", _RED),
    "running": ("●", ">", _BLUE),
    "cached": ("◆", "=", _CYAN),
    "overridden": ("■", "#", _DIM),
    "skipped": ("⊘", "-", _DIM),
    "cancelled": ("⊘", "-", _DIM),
    "retry": ("↻", "~", _YELLOW),
    "waiting": ("○", ".", _DIM),
}


class Live:
    """Shows the progress of one run below what is printed.

    Parameters
    ----------
    block
        Where it is drawn.
    strict_json
        Whether a result without a JSON form is an error.
    usual
        Returns the usual seconds of tasks, from earlier runs; called once, on another thread.
    hints
        What to name at the end of a run: a word and a command for each.
    """

    def __init__(
        self,
        block: Block,
        *,
        strict_json: bool = False,
        usual: Callable[[str], Mapping[str, float]] = lambda _: {},
        hints: Callable[[FlowRun], Iterable[tuple[str, str]]] = lambda _: (),
    ) -> None:
        self._block = block
        self._strict_json = strict_json
        self._ask_usual = usual
        self._hints = hints
        self._lock = block.lock
        self._look = _Look(block.encoding)
        self._flow = ""
        self._needs: Mapping[str, Sequence[str]] = {}
        self._workers = 1
        self._began = 0.0
        self._widest = 8  # columns of a name
        self._width = block.width
        self._usual: Mapping[str, float] = {}
        self._ended: dict[str, str] = {}
        self._failed = False
        self._waiting: dict[str, None] = {}
        self._running: dict[str, float] = {}  # the step, and when it started
        self._counts: dict[str, tuple[int, int | None]] = {}  # done, and of how many
        self._bars: dict[str, str] = {}  # the last part of a line that is written over
        self._retries: dict[str, tuple[float, str]] = {}  # until when, and what is shown
        self._limited: set[str] = set()
        self._skipped: list[TaskRun] = []  # consecutive skips with the same cause
        self._left: tuple[int, float | None] = (-1, None)  # the second it was made in
        self._over = False

    def __call__(self, event: Event, /) -> None:
        """Show *event*."""
        with self._lock:
            self._take(event)
        # Outside the lock: they run user code.
        if isinstance(event, StepEnded):
            print_result_warnings(event.task, strict=self._strict_json)
        elif isinstance(event, RunEnded):
            self.end(event.flow_run)

    def _take(self, event: Event) -> None:
        now = time.monotonic()
        match event:
            case RunStarted():
                self._start(event, now)
            case StepStarted():
                self._waiting.pop(event.step, None)
                self._running[event.step] = now
                if event.items is not None:
                    self._counts[event.step] = (0, event.items)
            case StepWaits():
                self._limited.add(event.step)
            case AttemptStarted():
                if event.item is None:
                    self._retries.pop(event.step, None)
            case AttemptEnded():
                self._retry(event, now)
            case ItemEnded():
                done, total = self._counts.get(event.step, (0, None))
                self._counts[event.step] = (done + 1, total)
            case Progressed():
                self._counts[event.step] = (event.done, event.total)
            case OutputLine():
                if event.is_bar:
                    self._bars[event.step] = printable(without_sequences(event.text))
                else:
                    self._bars.pop(event.step, None)
                    tell(output_text(self._flow, event))
            case Warned():
                print_error(event.problem)
            case StepEnded():
                self._end_step(event.task)
            case _:
                pass

    def end(self, run: FlowRun) -> None:
        """Print how *run* ended, unless that was printed."""
        with self._lock:
            if self._over:
                return
            self._over = True
            self._say_skipped()
            self._block.finish()
        if not self._flow:  # a backend without events
            for problem in run.warnings:
                print_error(problem)
            for task in run.tasks.values():
                print_result_warnings(task, strict=self._strict_json)
        print_failures(run)
        for line in self._summary(run):
            self._say(line)

    def _start(self, event: RunStarted, now: float) -> None:
        self._flow = event.flow.name
        upstreams = FlowGraph(event.flow).upstreams
        self._needs = {name: upstreams.get(name, ()) for name in event.steps}
        self._waiting = dict.fromkeys(event.steps)
        self._workers = event.workers
        self._began = now
        widest = max((columns(in_one_line(name)) for name in event.steps), default=8)
        self._widest = min(_LONGEST_NAME, widest)
        for warning in event.warnings:
            print_error(warning)
        threading.Thread(target=self._learn, name="mxm-usual", daemon=True).start()
        self._block.show(self.frame)

    def _learn(self) -> None:
        with unobserved():  # tasks run meanwhile: what is read here is no input of theirs
            usual = self._ask_usual(self._flow)
        with self._lock:
            self._usual = usual
            self._left = (-1, None)

    def _retry(self, event: AttemptEnded, now: float) -> None:
        if event.retry_in is None or event.error is None or event.item is not None:
            return
        error = self._look.paint(in_one_line(first_line(event.error)), _DIM)
        text = f"  to attempt {event.attempt + 1} of {event.attempts}  {error}"
        self._retries[event.step] = (now + event.retry_in, text)

    def _end_step(self, task: TaskRun) -> None:
        name = task.name
        for known in (self._running, self._waiting, self._retries, self._counts):
            known.pop(name, None)
        self._limited.discard(name)
        self._ended[name] = task.state
        bar = self._bars.pop(name, None)
        if bar:
            tell(f"{in_one_line(f'[{self._flow}/{name}]')} {bar}")
        self._failed = self._failed or (task.state is State.FAILED and not task.allowed)
        many = len(self._needs) > _EACH
        if task.state is State.SKIPPED and many:
            if self._skipped and why_skipped(self._skipped[0]) != why_skipped(task):
                self._say_skipped()
            self._skipped.append(task)
            return
        self._say_skipped()
        loud = task.error is not None or task.attempts > 1 or task.state is State.SKIPPED
        if task.state is not State.CANCELLED and (loud or not many):
            self._say(self._ended_line(task))

    def _ended_line(self, task: TaskRun) -> str:
        timed = task.state in (State.SUCCEEDED, State.FAILED)
        rest = lasted(task.seconds) if timed else str(task.state)
        rest = f"{rest:>8}"
        if task.attempts > 1:
            rest += self._look.paint(f"  {self._look.times}{task.attempts}", _YELLOW)
        if task.items is not None:
            rest += f"  {item_counts(task.items.count(), len(task.items), ' items')}"
        if task.error is not None:
            reason = task.reason if task.started is None else first_line(task.error)
            allowed = "  (allowed)" if task.allowed else ""
            place = raised_at(task.error).strip(" ()")
            error = in_one_line(f"{reason}{f'  {place}' if place else ''}{allowed}")
            rest += f"  {self._look.paint(error, _RED)}"
        elif task.state is State.SKIPPED and task.reason:
            rest += f"  {self._look.paint(in_one_line(why_skipped(task)), _DIM)}"
        return self._line(str(task.state), task.name, rest)

    def _say_skipped(self) -> None:
        skipped, self._skipped = self._skipped, []
        if len(skipped) == 1:
            self._say(self._ended_line(skipped[0]))
        elif skipped:
            mark = self._look.mark("skipped")
            self._say(f"{mark} {len(skipped):,} skipped  {in_one_line(why_skipped(skipped[0]))}")

    def _say(self, line: str) -> None:
        """Print one of our lines, with colours."""
        with contextlib.suppress(OSError):
            sys.stderr.write(f"{line}\n")

    def _line(self, kind: str, name: str, rest: str) -> str:
        pad = self._pad()
        shown = middle_out(in_one_line(name), pad)
        if self._look.is_ascii:
            shown = shown.replace("…", "~")
        return f"{self._look.mark(kind)} {shown}{' ' * (pad - columns(shown))}  {rest}"

    def _pad(self) -> int:
        """The columns of a name: fewer on a narrow terminal, so that its time has room."""
        return min(self._widest, self._width // 2 - 4)

    def frame(self, now: float, width: int, most: int) -> Sequence[str]:
        """The lines of the block."""
        with self._lock:
            if self._over:
                return ()
            self._width = width
            lines = ["", *self._running_lines(now), *self._retry_lines(now)]
            if self._waiting:
                lines.append(self._waiting_line())
            lines = lines[: most - 1]
            lines.append(self._total_line(now, width))
            return lines

    def _running_lines(self, now: float) -> Iterator[str]:
        running = [name for name in self._running if name not in self._retries]
        for name in running[:_MOST_RUNNING]:
            began = self._running[name]
            yield self._line("running", name, f"{lasted(now - began):>8}{self._how_far(name)}")
        if len(running) > _MOST_RUNNING:
            rest = len(running) - _MOST_RUNNING
            yield f"{self._look.mark('running')} and {rest:,} more"

    def _how_far(self, name: str) -> str:
        if name in self._bars:
            return f"  {self._bars[name]}"
        if name in self._counts:
            done, total = self._counts[name]
            if not total:
                return f"  {done:,} done" if done else ""
            count = f"{done:,}/{total:,}"
            room = self._width - self._pad() - len(count) - 17
            if room < _SHORTEST_BAR:
                return f"  {count}"
            return f"  {self._look.bar(done / total, min(_BAR, room))}  {count}"
        usual = self._usual.get(name)
        return "" if usual is None else self._look.paint(f"  usually {lasted(usual)}", _DIM)

    def _retry_lines(self, now: float) -> Iterator[str]:
        for name, (until, text) in list(self._retries.items())[:_MOST_RETRIES]:
            yield self._line("retry", name, f"{lasted(max(0.0, until - now)):>8}{text}")

    def _waiting_line(self) -> str:
        name = next(iter(self._waiting))
        missing = [other for other in self._needs[name] if other not in self._ended][:2]
        text = f"{self._look.plain('waiting')} {len(self._waiting):,} waiting"
        text += f"  next {in_one_line(name)}"
        text += f", for {' and '.join(map(in_one_line, missing))}" if missing else ""
        text += ", at a limit" if name in self._limited else ""
        return self._look.paint(text, _DIM)

    def _total_line(self, now: float, width: int) -> str:
        if self._left[0] != int(now):
            self._left = int(now), self._seconds_left(now)
        left = self._left[1]
        tail = f"  {len(self._ended):,}/{len(self._needs):,}  {clock(now - self._began)}"
        tail += f"  about {clock(left)} left" if left else ""
        share = len(self._ended) / max(1, len(self._needs))
        wide = max(8, min(_WIDEST_BAR, width - len(tail) - 2))
        return self._look.bar(share, wide, _RED if self._failed else _BLUE) + tail

    def _seconds_left(self, now: float) -> float | None:
        """From earlier runs: the longest chain, or all work divided among the workers."""
        usual = self._usual
        if not usual:
            return None
        chains: dict[str, float] = {}
        work = 0.0
        for name, needs in self._needs.items():
            rest = 0.0
            if name not in self._ended:
                rest = whole = usual.get(name, 0.0)
                if name in self._running:
                    rest = max(0.1 * whole, whole - (now - self._running[name]))
            work += rest
            chains[name] = rest + max((chains[n] for n in needs if n in chains), default=0.0)
        return max(max(chains.values(), default=0.0), work / self._workers)

    def _summary(self, run: FlowRun) -> Iterator[str]:
        counts = count_states(task.state for task in run.tasks.values())
        allowed = sum(task.allowed for task in run.tasks.values())
        ordered = sorted(counts, key=lambda state: state not in _GOOD)  # successes come first
        said = "  ".join(f"{counts[state]:,} {state}" for state in ordered)
        said += f" ({allowed:,} allowed)" if allowed else ""
        colour = _MARKS[run.state][2]
        name = self._look.paint(in_one_line(run.flow.name), _BOLD)
        state = self._look.paint(run.state, colour)
        yield ""
        yield f"{self._look.mark(run.state)} {name} {state} in {lasted(run.seconds)}  {said}"
        bound = self._bound(run)
        if bound:
            yield f"  {bound}"
        for what, command in self._hints(run):
            yield f"  {what:<19}  {self._look.paint(command, _BOLD)}"

    def _bound(self, run: FlowRun) -> str:
        cut_short = run.state is State.CANCELLED
        if run.started is None or run.seconds is None or len(run.tasks) < 2 or cut_short:
            return ""
        start = run.started
        spans: dict[str, Span] = {}
        for name, task in run.tasks.items():
            times = [
                None if time is None else (time - start).total_seconds()
                for time in (task.ready, task.started, task.ended)
            ]
            if task.started is None:
                times[2] = None
            needs = self._needs.get(name, ())
            spans[name] = Span(needs, times[0], times[1], times[2], task.waited or 0.0)
        bound = bound_of(spans, run.seconds, self._workers)
        if bound is None:
            return ""
        if bound.by == "workers":
            return (
                f"bound by {self._workers} workers: ready tasks waited {lasted(bound.waited)} "
                f"in all; the longest chain is {bound.share}"
            )
        if bound.by == "one":
            return f"ran one task at a time: the longest chain is {bound.share}"
        before, after = shown_steps(bound, _MOST_STEPS)
        steps = [*before, *([self._look.dots, *after] if after else [])]
        chain = f" {self._look.arrow} ".join(in_one_line(step) for step in steps)
        return f"bound by {chain}: {bound.share}"


class _Look:
    """Marks, bars and colours, as the terminal can show them."""

    def __init__(self, encoding: str) -> None:
        self._colours = not os.environ.get("NO_COLOR")
        try:
            "✓━╸─↻→\N{MULTIPLICATION SIGN}".encode(encoding)
            self.is_ascii = False
        except (UnicodeEncodeError, LookupError):
            self.is_ascii = True
        self.arrow = "->" if self.is_ascii else "→"
        self.dots = "..." if self.is_ascii else "…"
        self.times = "x" if self.is_ascii else "\N{MULTIPLICATION SIGN}"

    def paint(self, text: str, colour: str) -> str:
        """*text* in a colour, if there are colours."""
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def plain(self, kind: str) -> str:
        """The mark of a line, without its colour."""
        return _MARKS[kind][self.is_ascii]

    def mark(self, kind: str) -> str:
        """The mark of a line."""
        return self.paint(self.plain(kind), _MARKS[kind][2])

    def bar(self, share: float, width: int, colour: str = _BLUE) -> str:
        """A bar of *width* columns, filled to a *share*."""
        if self.is_ascii:
            full = round(max(0.0, min(1.0, share)) * width)
            return self.paint("=" * full, colour) + self.paint("-" * (width - full), _DIM)
        full, odd = divmod(round(max(0.0, min(1.0, share)) * width * 2), 2)
        filled = "━" * full + "╸" * odd
        return self.paint(filled, colour) + self.paint("─" * (width - full - odd), _DIM)
