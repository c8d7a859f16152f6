"""The lines of a run on stderr, one per event; an observer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime

from mxm.pipeline.cli.output import print_error, print_warning, tell
from mxm.pipeline.cli.progress import is_warning
from mxm.pipeline.errors import PipelineError, described
from mxm.pipeline.execution.events import (
    AssetWritten,
    AttemptEnded,
    AttemptStarted,
    Event,
    ItemEnded,
    OutputLine,
    Progressed,
    RunEnded,
    RunStarted,
    StepEnded,
    StepLooked,
    StepStarted,
    StepWaits,
    Warned,
)
from mxm.pipeline.execution.tracebacks import users_place, users_traceback
from mxm.pipeline.process.printable import in_one_line, printable, without_sequences
from mxm.pipeline.runs import NOT_SELECTED, FlowRun
from mxm.pipeline.taskruns import State, TaskRun

__all__ = [
    "Lines",
    "duration",
    "first_line",
    "item_counts",
    "output_text",
    "print_failures",
    "print_result_warnings",
    "raised_at",
    "why_skipped",
]


class Lines:
    """Prints one line for each event that a user of the command wants to see.

    Parameters
    ----------
    verbosity
        Below 0: warnings and failures; 0: also the progress of the run and its tasks; above: each
        step.
    strict_json
        Whether a result without a JSON form is an error.
    resume
        Returns the command that resumes a run; empty for none.
    explain
        Whether to say why each cached task runs, or whose result is reused.
    """

    def __init__(
        self,
        verbosity: int,
        *,
        strict_json: bool = False,
        resume: Callable[[FlowRun], str] = lambda _: "",
        explain: bool = False,
    ) -> None:
        self._explain = explain
        self._verbosity = verbosity
        self._strict_json = strict_json
        self._resume = resume
        self._flow = ""
        self._skipped: list[TaskRun] = []  # consecutive skips with the same cause
        self._left_out = 0  # tasks that are not selected
        self._ended = False
        # For mapped steps: the number of items, the count per state, and the time of the last line.
        self._of: dict[str, int] = {}
        self._items: dict[str, dict[str, int]] = {}
        self._shown: dict[str, float] = {}
        self._limits: set[str] = set()  # limits for which a line about waiting was printed
        # By step and item: the last part of a line that is written over, and when one was printed.
        self._bars: dict[tuple[str, str | None], str] = {}
        self._bars_shown: dict[tuple[str, str | None], float] = {}

    def __call__(self, event: Event, /) -> None:
        """Print a line for *event*."""
        match event:
            case RunStarted():
                self._start(event)
            case StepStarted():
                self._line(event.at, f"started {event.step}", 1)
                if event.items is not None:
                    self._of[event.step] = event.items
                    self._shown[event.step] = time.monotonic()
            case StepLooked():
                self._look(event)
            case StepWaits():
                self._wait(event)
            case AttemptEnded():
                self._retry(event)
            case OutputLine():
                self._output(event)
            case AssetWritten():
                where = f" partition={event.asset.partition}" if event.asset.partition else ""
                self._line(event.at, f"ASSET write {event.asset.id}{where}")
            case Warned():
                print_error(event.problem)
            case StepEnded():
                self._step(event.at, event.task)
            case RunEnded():
                self.end(event.flow_run)
            case ItemEnded():
                self._item(event)
            case AttemptStarted() | Progressed():
                pass

    def end(self, run: FlowRun) -> None:
        """Print the outcome of *run*, unless it is already printed."""
        if self._ended:
            return
        self._ended = True
        for step, item in list(self._bars):
            self._print_bar(step, item)
        self._print_skipped(run.ended)
        if self._left_out:
            self._line(run.ended, f"skipped {self._left_out:,}: {NOT_SELECTED}")
        if not self._flow:  # a backend without events
            for problem in run.warnings:
                print_error(problem)
            for task in run.tasks.values():
                print_result_warnings(task, strict=self._strict_json)
        print_failures(run)
        counts: dict[str, int] = {}
        for task in run.tasks.values():
            counts[task.outcome] = counts.get(task.outcome, 0) + 1
        parts = ", ".join(f"{count:,} {state}" for state, count in counts.items())
        took = "" if run.seconds is None else f" in {duration(run.seconds)}"
        self._line(run.ended, f"{run.state} {run.flow.name}{took}: {parts}")
        if command := self._resume(run):
            tell(f"resume after a fix: {command}")

    def _line(self, at: datetime | None, text: str, least: int = 0) -> None:
        if self._verbosity >= least:
            clock = at.astimezone().strftime("%H:%M:%S ") if at else ""
            tell(f"{clock}{in_one_line(without_sequences(text))}")

    def _start(self, event: RunStarted) -> None:
        self._flow = event.flow.name
        for warning in event.warnings:
            print_error(warning)
        count = len(event.steps)
        tasks = f"{count:,} task{'s' * (count != 1)}"
        self._line(event.at, f"started {self._flow}, {tasks}, run {event.run}")

    def _wait(self, event: StepWaits) -> None:
        """Print that a task waits, once per limit; at its end each task says how long."""
        least = 1 if event.limit in self._limits else 0
        self._limits.add(event.limit)
        self._line(
            event.at, f"waiting {event.step}: limit {event.limit} is reached ({event.most})", least
        )

    def _look(self, event: StepLooked) -> None:
        """Print why a cached task runs, or whose result is reused."""
        if not self._explain:
            return
        name = event.step if event.item is None else f"{event.step}[{event.item}]"
        if event.used is not None:
            self._line(event.at, f"cached {name}: kept by run {event.used}", -1)
            return
        self._line(event.at, f"run {name}: " + "; ".join(event.reasons()), -1)

    def _item(self, event: ItemEnded) -> None:
        """Count the items of a mapped step, and print a line now and then."""
        self._print_bar(event.step, event.item.key)
        counts = self._items.setdefault(event.step, {})
        counts[event.item.state] = counts.get(event.item.state, 0) + 1
        now = time.monotonic()
        if now - self._shown.setdefault(event.step, now) >= _SECONDS_BETWEEN:
            self._shown[event.step] = now
            self._line(event.at, f"{event.step} {item_counts(counts, self._of.get(event.step))}")

    def _retry(self, event: AttemptEnded) -> None:
        if event.retry_in is None or event.error is None:
            return
        then = f"next in {event.retry_in:g} s" if event.retry_in else "next now"
        which = f"attempt {event.attempt} of {event.attempts}"
        step = event.step if event.item is None else f"{event.step}[{event.item}]"
        self._line(event.at, f"retry {step} {which}: {first_line(event.error)}; {then}")

    def _output(self, event: OutputLine) -> None:
        text = output_text(self._flow, event)
        if event.is_bar:  # a line now and then, and the last part of it
            key = event.step, event.item
            self._bars[key] = text
            now = time.monotonic()
            if now - self._bars_shown.setdefault(key, now) >= _SECONDS_BETWEEN:
                self._bars_shown[key] = now
                self._print_bar(*key)
            return
        self._print_bar(event.step, event.item)
        if event.level is None:
            if self._verbosity >= 0 or is_warning(event.text):
                tell(text)
        else:
            self._line(event.at, text, -1 if event.level >= logging.WARNING else 0)

    def _print_bar(self, step: str, item: str | None) -> None:
        bar = self._bars.pop((step, item), None)
        if bar is not None and self._verbosity >= 0:
            tell(bar)

    def _step(self, at: datetime, task: TaskRun) -> None:
        self._print_bar(task.name, None)
        if task.reason == NOT_SELECTED and self._verbosity <= 0:
            self._left_out += 1
            return
        if task.state is State.SKIPPED and task.cause and self._verbosity <= 0:
            if self._skipped and why_skipped(self._skipped[0]) != why_skipped(task):
                self._print_skipped(at)
            self._skipped.append(task)
            return
        self._print_skipped(at)
        took = "" if task.seconds is None else f" {duration(task.seconds)}"
        if task.waited and task.waited >= _LEAST_WAIT_S:
            took += f", waited {duration(task.waited)}"
        tries = f", {task.attempts} attempts" if task.attempts > 1 else ""
        if task.items is not None:
            tries += f", {item_counts(task.items.count(), len(task.items))}"
        if task.error is not None:
            reason = task.reason if task.started is None else first_line(task.error)
            self._line(
                at, f"{task.outcome} {task.name}{took}{tries}: {reason}{raised_at(task.error)}", -1
            )
        elif task.state is State.SKIPPED:
            self._line(
                at, f"skipped {task.name}" + (f": {why_skipped(task)}" if task.reason else "")
            )
        elif task.state is not State.CANCELLED:  # the run is over: the summary counts them
            self._line(at, f"{task.state} {task.name}{took}{tries}")
        print_result_warnings(task, strict=self._strict_json)

    def _print_skipped(self, at: datetime | None) -> None:
        skipped, self._skipped = self._skipped, []
        if skipped:
            what = skipped[0].name if len(skipped) == 1 else f"{len(skipped):,}"
            self._line(at, f"skipped {what}: {why_skipped(skipped[0])}")


def print_failures(run: FlowRun) -> None:
    """Print the traceback of each failed task of *run*."""
    for task in run.tasks.values():
        if task.error is not None:
            tries = f" after {task.attempts} attempts" if task.attempts > 1 else ""
            what = f"task {task.name!r} of flow {run.flow.name!r} failed{tries}"
            if task.allowed:
                print_warning(f"{what}; allow_failure lets the run succeed")
            else:
                print_error(what)
            tell(users_traceback(task.error))


def print_result_warnings(task: TaskRun, *, strict: bool) -> None:
    """Make the JSON of *task*'s result now, before it changes; print what JSON cannot hold."""
    if task.has_value:
        try:
            for warning in task.to_json(strict=strict)[1]:
                print_error(warning)
        except PipelineError as error:
            print_error(error)


def output_text(flow: str, event: OutputLine) -> str:
    """A line that a task of *flow* wrote, after the task's name."""
    item = "" if event.item is None else f"[{event.item}]"
    place = in_one_line(f"[{flow}/{event.step}{item}]")
    return f"{place} {printable(without_sequences(event.text))}"


_LEAST_WAIT_S = 0.05
_SECONDS_BETWEEN = 2.0  # lines of one mapped step, or of one bar


def item_counts(counts: Mapping[str, int], total: int | None, noun: str = "") -> str:
    """``312 of 500, 2 failed``: how many items have ended, and how many of them not successfully.

    Parameters
    ----------
    counts, total
        How many ended in each state, and how many there are.
    noun
        What follows the total: ``" items"`` gives ``312 of 500 items, 2 failed``.
    """
    done = sum(counts.values())
    rest = [f"{n:,} {state}" for state, n in counts.items() if state != State.SUCCEEDED]
    head = f"{done:,}" if total is None else f"{done:,} of {total:,}"
    return ", ".join([head + noun, *rest])


def duration(seconds: float) -> str:
    """*seconds* in readable form: ``0.03 s``, ``14.6 s``, ``6:12 min``, ``2:05:09 h``."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


def first_line(error: BaseException) -> str:
    """The first line of the text of *error*."""
    return described(error).partition("\n")[0]


def raised_at(error: BaseException) -> str:
    """The place where the user's code raised *error*, in brackets."""
    place = users_place(error)
    return f" ({place})" if place else ""


def why_skipped(task: TaskRun) -> str:
    """Why *task* was skipped, with the full name of its cause."""
    reason = task.reason or ""
    for kind in ("upstream", "task"):
        reason = reason.replace(f"{kind} {task.cause!r}", str(task.cause), 1)
    return reason
