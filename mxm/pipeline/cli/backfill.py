"""A backfill: one run of a flow for each partition, in this process or in several."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mxm.pipeline.assets.templates import fields_of
from mxm.pipeline.cli.lines import duration
from mxm.pipeline.cli.output import print_error, print_warning, tell
from mxm.pipeline.cli.partitions import partitions_of
from mxm.pipeline.errors import PipelineError, described
from mxm.pipeline.params.declared import parameters_of, secret_names
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.taskruns import State, rounded

__all__ = ["Backfill", "Wanted"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks of a backfill.

    Parameters
    ----------
    text, every
        As in `partitions_of`.
    missing, stale
        Whether to run only missing partitions, or only stale and missing ones.
    jobs
        How many processes run them.
    words
        The words of the command line after ``run``.
    """

    text: str
    every: str | None
    missing: bool
    stale: bool
    jobs: int
    words: tuple[str, ...]


class Backfill:
    """The runs of a flow for its partitions.

    Parameters
    ----------
    spec
        The flow.
    wanted
        What was asked for.
    params_of
        The parameters of the run of a partition, by its key and value.
    quiet
        Whether to show only failures.

    Raises
    ------
    PipelineError
        The partitions cannot be read or are given twice, or the flow takes no such parameter.
    """

    def __init__(
        self,
        spec: FlowSpec,
        wanted: Wanted,
        params_of: Callable[[str, str], Mapping[str, Any]],
        *,
        quiet: bool,
    ) -> None:
        self._spec = spec
        self._params_of = params_of
        self._wanted = wanted
        self._quiet = quiet
        if sum(word.partition("=")[0] == "--for" for word in wanted.words) > 1:
            raise PipelineError("--for is given more than once", hint="give all values in one list")
        key, values = partitions_of(wanted.text, wanted.every)
        self.key: str = key
        self.all: list[str] = values
        keys = [p.name for p in parameters_of(spec)]
        keys += [t.produces.partition_key or "" for t in spec.tasks if t.produces]
        if self.key not in keys:
            raise PipelineError(
                f"--for: flow {spec.name!r} has no parameter {self.key!r}, and none of its assets "
                "is partitioned by it",
                hint=did_you_mean(self.key, list(filter(None, keys))),
            )
        for task in spec.tasks:
            made = task.produces
            path = None if made is None else made.path_template
            if made is not None and path is not None and not fields_of(path):
                print_warning(
                    f"--for: each run writes asset {made.id!r} to the same file, {path}: "
                    "only the file of the last run would remain"
                )
        self.chosen: list[str] = self._chosen()
        self.rows: list[dict[str, Any]] = []

    def _chosen(self) -> list[str]:
        """The partitions to run."""
        if not self._wanted.missing and not self._wanted.stale:
            return self.all
        from mxm.pipeline.store.catalogue import history
        from mxm.pipeline.store.database import Database
        from mxm.pipeline.store.places import has_store, store_of
        from mxm.pipeline.store.staleness import (
            current,
            declared_in,
            lacking_in,
            same_value,
            stale_in,
        )

        declared = declared_in([self._spec])
        keyed = {
            name: each
            for name, each in declared.items()
            if each.task.produces and each.task.produces.partition_key == self.key
        }
        if not keyed:
            raise PipelineError(
                f"no asset of flow {self._spec.name!r} is partitioned by {self.key!r}: "
                "it is not known which partitions exist",
                hint=f"AssetDecl(..., partition_key={self.key!r})",
            )
        store = store_of(self._spec)
        if not has_store(store):
            return self.all
        wanted: set[str] = set()
        with Database(store) as database:
            for name, each in keyed.items():
                made = current(history(database, name), each.task.produces)
                shape = self._shape(each.task)
                wanted.update(map(same_value, lacking_in(made, self.all, shape)))
                if self._wanted.stale:
                    wanted.update(
                        same_value(str(one.partition).partition(":")[2])
                        for one in stale_in(database, declared, only=name)
                        if one.partition is not None
                    )
        return [value for value in self.all if same_value(value) in wanted]

    def _shape(self, task: TaskSpec) -> re.Pattern[str] | None:
        """A pattern for the files of *task* in this backfill, as far as its parameters decide."""
        from mxm.pipeline.execution.plans.plan import make_plan

        if task.produces is None or task.produces.path_template is None:
            return None
        try:
            plan = make_plan(self._spec, self.params_of(self.all[0]))
        except PipelineError:  # its run reports that
            return None
        step = next(step for step in plan.steps if step.name == task.name)
        if step.target is None or step.target.template is None:
            return None
        known = step.target.known(step.args, step.kwargs, plan.params)
        return step.target.template.pattern({k: v for k, v in known.items() if k != self.key})

    def params_of(self, value: str) -> Mapping[str, Any]:
        """The parameters of the run of the partition *value*."""
        return self._params_of(self.key, value)

    def run(self, one: Callable[[str], FlowRun]) -> None:
        """Run every chosen partition with *one*, which takes its value.

        Raises
        ------
        KeyboardInterrupt
            The backfill was cancelled; `rows` has what ended until then.
        """
        for value in self.chosen:
            try:
                run = one(value)
            except PipelineError as error:  # its parameters do not fit
                print_error(error)
                self._add(value, None, "failed", None, error.message.partition("\n")[0])
                continue
            except KeyboardInterrupt as error:
                cut: FlowRun | None = getattr(error, "mxm_run", None)
                if cut is not None:
                    self._add_run(value, cut)
                raise
            self._add_run(value, run)

    def _add_run(self, value: str, run: FlowRun) -> None:
        failed = next((t for t in run.tasks.values() if t.state is State.FAILED), None)
        error = None
        if run.state is State.FAILED and failed is not None and failed.error is not None:
            error = f"{failed.name}: {described(failed.error)}"
        state, reason = run.state.value, None
        if run.state is State.SUCCEEDED:
            reason = self._why_nothing(run)
            state = state if reason is None else State.SKIPPED.value
        self._add(value, run.id, state, rounded(run.seconds), error, reason)

    def _why_nothing(self, run: FlowRun) -> str | None:
        """Why *run* made nothing for its partition; None if it made something.

        What counts is the tasks that write an asset with this partition key; where there is none,
        all tasks.
        """
        keyed = [
            task.name
            for task in self._spec.tasks
            if task.produces is not None
            and task.produces.partition_key == self.key
            and task.name in run.tasks  # not left out by --select
        ]
        tasks = [run.tasks[name] for name in keyed or run.tasks]
        nothing = (State.SKIPPED, State.FAILED)  # a failure that is allowed
        if not tasks or any(task.state not in nothing for task in tasks):
            return None
        return f"{tasks[0].name}: {tasks[0].reason}" if tasks[0].reason else tasks[0].name

    def _add(
        self,
        value: str,
        run: str | None,
        state: str,
        seconds: float | None,
        error: str | None,
        reason: str | None = None,
    ) -> None:
        row = {"partition": value, "id": run, "state": state, "seconds": seconds,
               "error": error, "reason": reason}  # fmt: skip
        self.rows.append(row)
        if not self._quiet or state not in ("succeeded", "skipped"):
            took = "" if seconds is None else duration(seconds)
            said = (error or reason or "").partition("\n")[0]
            # A process of --jobs knows only its own share.
            count = "" if os.environ.get(_PART) else f"{len(self.rows)}/{len(self.chosen)}"
            tell(f"{count:>9}  {self.key}={value}  {state}  {took}  {said}".rstrip())

    def run_in_processes(self) -> bool:
        """Run the chosen partitions in separate processes; return whether a signal ended them."""
        jobs = min(self._wanted.jobs, len(self.chosen))
        interrupted = False
        documents: list[Any] = []
        with tempfile.TemporaryDirectory(prefix="mxm-backfill-") as folder:
            places = [os.path.join(folder, str(job)) for job in range(jobs)]
            processes = [
                self._start(place, self.chosen[job::jobs]) for job, place in enumerate(places)
            ]
            while any(process.poll() is None for process in processes):
                try:
                    for process in processes:
                        process.wait()
                except KeyboardInterrupt:
                    interrupted = True
                    for process in processes:
                        with contextlib.suppress(OSError):
                            process.send_signal(signal.SIGINT)
            for place in places:
                with contextlib.suppress(ValueError):  # it ended before it printed one
                    documents.append(_read_json(f"{place}.json"))
        by_partition = {row["partition"]: row for each in documents for row in each["runs"]}
        self.rows = [by_partition[value] for value in self.chosen if value in by_partition]
        return interrupted

    def _start(self, place: str, values: list[str]) -> subprocess.Popen[bytes]:
        """A process that runs *values*, and prints its document into a file next to *place*."""
        with open(f"{place}.txt", "w", encoding="utf-8") as file:
            file.writelines(f"{value}\n" for value in values)
        words = [*self._others(), "--for", f"{self.key}=@{place}.txt"]
        with open(f"{place}.json", "wb") as out:
            return subprocess.Popen(  # noqa: S603 - this very command
                [sys.executable, "-c", _START, "run", *words],
                stdout=out,
                env={**os.environ, _PART: "1"},
                # Ctrl-C reaches this process, which passes it on once.
                start_new_session=os.name == "posix",
            )

    def _others(self) -> list[str]:
        """The words of the command line except those that choose partitions."""
        kept: list[str] = []
        words = iter(self._wanted.words)
        for word in words:
            name, equals, _ = word.partition("=")
            if name in ("--for", "--every", "--jobs"):
                if not equals:
                    next(words, None)
            elif word not in ("--missing-only", "--stale-only"):
                kept.append(word)
        return kept

    def document(self) -> dict[str, Any]:
        """The document on stdout."""
        return {"schema": "mxm.backfill/1", "flow": self._spec.name, "key": self.key,
                "runs": self.rows}  # fmt: skip

    @property
    def failed(self) -> list[str]:
        """The partitions that failed, of those that ran to an end."""
        return [row["partition"] for row in self.rows if row["state"] == "failed"]

    @property
    def open(self) -> list[str]:
        """The partitions that did not run, or not to an end."""
        done = {r["partition"] for r in self.rows if r["state"] != "cancelled"}
        return [value for value in self.chosen if value not in done]

    def summarise(self) -> None:
        """Print how many succeeded, and the command that runs the others."""
        if os.environ.get(_PART):  # the parent process prints it for all
            return
        done = sum(row["state"] == "succeeded" for row in self.rows)
        skipped = sum(row["state"] == "skipped" for row in self.rows)
        passed = len(self.all) - len(self.chosen)
        more = f", {skipped:,} skipped" if skipped else ""
        more += f", {passed:,} passed over" if passed else ""
        if not self._quiet or self.failed or self.open:
            tell(f"{done:,} of {len(self.chosen):,} partitions succeeded{more}")
        for what, values in (("failed", self.failed), ("not done", self.open)):
            if values:
                tell(f"{what}: {self._command(values)}")

    def _command(self, values: Iterable[str]) -> str:
        secrets = secret_names(self._spec)
        words = [_masked(word, secrets) for word in self._others()]
        return shlex.join(
            ["mxm-pipeline", "run", *words, "--for", f"{self.key}={','.join(values)}"]
        )


def _read_json(path: str) -> Any:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _masked(word: str, secrets: Iterable[str]) -> str:
    name, equals, value = word.partition("=")
    is_secret = equals and name.partition(".")[0] in secrets and not value.startswith("@")
    return f"{name}=..." if is_secret else word


_PART = "MXM_PART_OF_BACKFILL"  # set in the processes of --jobs
_START = "from mxm.pipeline.cli.start import main; main()"
