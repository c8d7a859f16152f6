"""`run`: takes parameters from the command line, runs a flow, and prints its results."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from mxm.pipeline.cli.command import AsJson, Modules, RunVerb, at_least, verb_app
from mxm.pipeline.cli.describe import parameter_rows, resource_rows
from mxm.pipeline.cli.ending import engine_loaded, set_aside, user_code_begins
from mxm.pipeline.cli.lines import Lines
from mxm.pipeline.cli.notice import notify_of
from mxm.pipeline.cli.output import (
    ExitCode,
    print_error,
    print_json,
    print_table,
    print_warning,
    say,
)
from mxm.pipeline.cli.parameters import given_limits, given_params, given_settings
from mxm.pipeline.cli.progress import logged, printed
from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.discovery.settings import Settings, read_settings, working_directory
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.execution.options import BACKENDS, RUNNERS
from mxm.pipeline.execution.output import pass_on_open_lines
from mxm.pipeline.process.interrupts import note_signal
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.runs import FlowRun, State
from mxm.pipeline.spec import FlowSpec

if TYPE_CHECKING:
    from mxm.pipeline.api import MXMFlow
    from mxm.pipeline.cli.backfill import Backfill, Wanted
    from mxm.pipeline.cli.block import Block
    from mxm.pipeline.cli.live import Live

__all__ = ["Adjust", "app", "run_flow"]

app: typer.Typer = verb_app()


Adjust: TypeAlias = Callable[
    [FlowSpec, dict[str, Any], dict[str, Any]], tuple[dict[str, Any], dict[str, Any]]
]
"""A function of a flow, the parameters and the options of a run; returns adjusted ones."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM as an exception in the main thread; code that lets Ctrl-C pass lets it pass."""


def run_flow(
    name: str,
    modules: Sequence[str],
    params: Sequence[str],
    *,
    params_file: str | None,
    settings: Sequence[str],
    limits: Sequence[str],
    options: Mapping[str, Any],
    explain: bool,
    verbosity: int,
    document: str,
    report_file: str | None,
    adjust: Adjust | None = None,
    wanted: Wanted | None = None,
) -> ExitCode:
    """Run the flow *name* and print its JSON document.

    Parameters
    ----------
    name, modules
        As in `find_flow`.
    params, params_file
        As in `given_params`.
    settings
        As in `given_settings`.
    limits
        As in `given_limits`.
    options
        Options of `compile_flow`; None means the project's setting.
    explain
        As in `Lines`.
    verbosity
        As in `logged`.
    document
        What to print on stdout: ``results`` by task, the flow's ``value``, or the whole ``run``.
    report_file
        Where to write the run's report; None for nowhere.
    adjust
        Changes the parameters and the options before the run.
    wanted
        The partitions, each of which is a run; None for one run.

    Raises
    ------
    PipelineError
        Anything that keeps the flow from running.
    """
    run: FlowRun | None = None
    backfill: Backfill | None = None
    lines: Lines | Live | None = None
    project: Settings | None = None
    report = None
    if report_file is not None:
        from mxm.pipeline.cli.run_report import RunReport

        report = RunReport(report_file)
    with _Signals() as signals:
        with _terminal(-1 if wanted else verbosity) as block, logged(verbosity), printed(verbosity):
            user_code_begins()
            try:
                from mxm.pipeline.execution.files.observing import loading

                with loading():  # what modules read at import counts for cached tasks
                    spec = find_flow(name, modules, warn=print_warning).spec()
                if wanted is not None:
                    from mxm.pipeline.cli.backfill import Backfill

                    partition = functools.partial(_given_partition, params, params_file, spec)
                    backfill = Backfill(spec, wanted, partition, quiet=verbosity < 0)
                    if wanted.jobs > 1 and len(backfill.chosen) > 1:
                        if backfill.run_in_processes():
                            signals.code = signals.code or ExitCode.SIGINT
                        signals.raises = False
                        code = _end_backfill(backfill)
                        return signals.code or code
                parameters = {} if backfill else given_params(params, params_file, spec)
                of_resources = given_settings(settings, spec)
                from mxm.pipeline.api import compile_flow

                typed = {key: value for key, value in options.items() if value is not None}
                project = read_settings(working_directory())
                asked: dict[str, Any] = {"record": True, **project.options, **typed}
                if "runner" in typed and "address" not in typed:
                    asked.pop("address", None)  # for the project's own runner
                asked["resource_settings"] = of_resources
                asked["limits"] = given_limits(limits)
                if adjust is not None:
                    parameters, asked = adjust(spec, parameters, asked)
                if report is not None:
                    report.prepare(spec, asked)
                set_aside()
                strict_json = bool(asked.get("strict_json"))
                if block is None:
                    lines = Lines(
                        verbosity if backfill is None else verbosity - 1,
                        strict_json=strict_json,
                        resume=functools.partial(_resume, asked=asked),
                        explain=explain,
                    )
                else:
                    lines = _live(block, spec, asked, strict_json=strict_json)
                shown: dict[str, Any] = {**asked, "fetches": False}
                compiled = compile_flow(spec, **shown, observers=[lines])
                engine_loaded()  # objects from its modules stay: none of them is garbage
                gc.enable()
                if backfill is None:
                    run = compiled.run(parameters)
                else:
                    backfill.run(functools.partial(_run_one, compiled, project, backfill))
                signals.raises = False
            except KeyboardInterrupt as error:
                signals.raises = False
                if not isinstance(error, _Terminated):  # a task may raise it without a signal
                    signals.code = ExitCode.SIGINT
                what = "run" if backfill is None else "backfill"
                print_error(f"the {what} was cancelled")
                run = None if backfill else getattr(error, "mxm_run", run)
            if run is not None and lines is not None:
                lines.end(run)
                if project is not None:
                    notify_of(run, project)
        if backfill is not None:
            code = _end_backfill(backfill)
            return signals.code or code
        code = ExitCode.OK if run is None else _print_run(run, document)
        if report is not None and not report.write(run):
            code = code or ExitCode.USAGE
        return signals.code or code


def _given_partition(
    params: Sequence[str], file: str | None, spec: FlowSpec, key: str, value: str
) -> dict[str, Any]:
    """The parameters of the run of the partition *value* of *key*."""
    text = f"@{value}" if value.startswith("@") else value
    return given_params([*params, f"{key}={text}"], file, spec)


def _run_one(compiled: MXMFlow, project: Settings, backfill: Backfill, value: str) -> FlowRun:
    """Run the flow for the partition *value*."""
    ended = compiled.run(backfill.params_of(value))
    notify_of(ended, project)
    return ended


def _end_backfill(backfill: Backfill) -> ExitCode:
    backfill.summarise()
    print_json(backfill.document())
    return ExitCode.FAILED if backfill.failed or backfill.open else ExitCode.OK


def _print_run(run: FlowRun, document: str) -> ExitCode:
    results, complete = _json_results(run)
    if document == "results":
        print_json(results)
    else:
        value, warnings = run.value_json()
        for warning in warnings:
            print_error(warning)
            complete = complete and warning.severity != "error"
        print_json(value if document == "value" else run.to_dict())
    return ExitCode.FAILED if run.state is State.FAILED or not complete else ExitCode.OK


@contextlib.contextmanager
def _terminal(verbosity: int) -> Generator[Block | None]:
    """The block for live progress, if stderr is a terminal and no option turns it off."""
    stderr = sys.stderr
    if verbosity != 0 or stderr is None or not stderr.isatty():
        yield None
        return
    from mxm.pipeline.cli.asking import shown_below
    from mxm.pipeline.cli.block import can_show

    if not can_show(stderr):
        yield None
        return
    with shown_below(stderr, pass_on_open_lines) as block:
        yield block


def _live(block: Block, spec: FlowSpec, asked: Mapping[str, Any], *, strict_json: bool) -> Live:
    """Live progress of a run of *spec* with the options *asked* for."""
    from mxm.pipeline.cli.live import Live
    from mxm.pipeline.store.history import usual_seconds
    from mxm.pipeline.store.places import store_of

    store = store_of(spec)

    def usual(flow: str) -> Mapping[str, float]:
        try:
            return usual_seconds(store, flow)
        except PipelineError:  # a store that cannot be read is reported by what records the run
            return {}

    def hints(run: FlowRun) -> Iterable[tuple[str, str]]:
        if command := _resume(run, asked):
            yield "resume after a fix", command
        if asked.get("record"):
            yield "see it", "mxm-pipeline report --open"

    return Live(block, strict_json=strict_json, usual=usual, hints=hints)


def _resume(run: FlowRun, asked: Mapping[str, Any]) -> str:
    """The command that resumes *run*, if it failed and is recorded."""
    if run.state is State.SUCCEEDED or not asked.get("record"):
        return ""
    try:
        from mxm.pipeline.cli.recorded import resume_command
    except OSError:  # too many open files: the run has reported that
        return ""
    return resume_command(run.id, run.state)


class _Signals:
    """The first SIGINT or SIGTERM ends the run cleanly, a second one ends the process at once.

    Attributes
    ----------
    raises
        Whether to raise the first one: only during the run, not while its results are printed.
    code
        The exit code after a signal.
    """

    def __init__(self) -> None:
        self.raises = True
        self.code = ExitCode.OK
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if handler is not signal.SIG_IGN:  # as set by `nohup` or a shell's `&`
                    self._before[number] = handler
                    signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: object) -> None:
        if self.code:
            os._exit(self.code)  # workers end with their parent process
        self.code = ExitCode(128 + number)
        if self.raises:
            error = KeyboardInterrupt() if number == signal.SIGINT else _Terminated()
            note_signal(error)
            raise error


def _json_results(run: FlowRun) -> tuple[Mapping[str, Any], bool]:
    """The results as JSON, and whether all have a JSON form; others are already reported."""
    written: dict[str, Any] = {}
    complete = True
    for task in run.tasks.values():
        if task.has_value:
            try:
                written[task.name], _ = task.to_json(strict=run.strict_json)
            except PipelineError:
                complete = False
    return written, complete


def _print_help(name: str, modules: Sequence[str], usage: str) -> None:
    """The parameters of the flow *name*, then the options of `run`."""
    spec = find_flow(name, modules, warn=print_warning).spec()
    name = in_one_line(spec.name)
    say(f"{name}: {spec.doc}" if spec.doc else name)
    say()
    rows = [(row[0] and f"-p {row[0]}=", *row[1:]) for row in parameter_rows(spec)]
    if rows:
        print_table(("PARAMETER", "TYPE", "DEFAULT", "FROM"), rows)
    else:
        say("no parameters")
    settings = [row for row in resource_rows(spec) if "." in row[0]]
    if settings:
        say()
        named = [(f"--resource {row[0]}=", *row[1:]) for row in settings]
        print_table(("SETTING", "TYPE", "DEFAULT", "RESOURCE AT"), named)
    say()
    say(usage)


_SETTING = "default: [tool.mxm.pipeline]"


def _either(names: Iterable[str]) -> str:
    """``a, b or c``."""
    *others, last = names
    return f"{', '.join(others)} or {last}"


@app.command(cls=RunVerb, context_settings={"help_option_names": []})
def run(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="A flow: its name, pkg.module:flow, path/file.py:flow, or a file.",
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p",
            "--param",
            metavar="NAME=VALUE",
            help="A parameter, or one field of it: NAME.FIELD=VALUE. Repeat it for the "
            "members of a list. VALUE may be @FILE, @- or @env:VARIABLE.",
        ),
    ] = None,
    params_file: Annotated[
        str | None,
        typer.Option(
            "--params-file", metavar="FILE", help="Parameters from a .toml, .json or .yaml file."
        ),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(
            "--resource",
            metavar="RESOURCE.KEY=VALUE",
            help="A setting of a resource, read like -p; "
            "default: [tool.mxm.pipeline.resources.RESOURCE].",
        ),
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="NAME=N",
            help="How many attempts of the tasks with this limit may run at once; "
            "default: [tool.mxm.pipeline.limits].",
        ),
    ] = None,
    strict_params: Annotated[
        bool | None,
        typer.Option(
            "--strict-params/--no-strict-params",
            help=f"Fail on a parameter that no task takes; {_SETTING}.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option("--backend", metavar="NAME", help=f"{_either(BACKENDS)}; {_SETTING}."),
    ] = None,
    runner: Annotated[
        str | None,
        typer.Option("--runner", metavar="NAME", help=f"{_either(RUNNERS)}; {_SETTING}."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            help=f"How many tasks run at once, for {_either(RUNNERS[1:])}; {_SETTING}.",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address", metavar="URL", help=f"The cluster that dask or ray joins; {_SETTING}."
        ),
    ] = None,
    select: Annotated[
        list[str] | None,
        typer.Option(
            "--select",
            metavar="TASKS",
            help="Run only these tasks: 'load+ +report tag:eod', 'state:failed+'.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option("--exclude", metavar="TASKS", help="Do not run these tasks."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Run every task, even if its result was kept.")
    ] = False,
    force_task: Annotated[
        list[str] | None,
        typer.Option("--force-task", metavar="TASKS", help="Like --force, for these tasks."),
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start no more tasks after a failure.")
    ] = False,
    guard: Annotated[
        bool,
        typer.Option("--guard", help="Also check large inputs for changes in place."),
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option(
            "--grace",
            metavar="SECONDS",
            help='How long tasks with run_if="always" may run after a cancellation; default: 10.',
        ),
    ] = None,
    strict_json: Annotated[
        bool,
        typer.Option("--strict-json", help="Fail if a result cannot be written as JSON."),
    ] = False,
    no_record: Annotated[
        bool, typer.Option("--no-record", help="Do not record the run in the project's .mxm.")
    ] = False,
    report: Annotated[
        str | None,
        typer.Option(
            "--report",
            metavar="FILE",
            help="Write the run's report to this file: .html, .svg, or .json for a trace.",
        ),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option("--no-cache", help="Run every task, and keep no result for later runs."),
    ] = False,
    strict_cache: Annotated[
        bool,
        typer.Option(
            "--strict-cache",
            help="Keep the result of a cached task only if its inputs= name every file it read.",
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Say why each cached task runs, or whose result is reused."),
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose",
            "-v",
            count=True,
            show_default=False,
            help="Print more; -vv adds the engine's log.",
        ),
    ] = 0,
    partitions: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="NAME=VALUES",
            help="One run for each value: day=2026-01-02..2026-03-31, a,b,c or @FILE.",
        ),
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(
            "--every",
            metavar="STEP",
            help="The step of a range: day, weekday, week, month, hour, or module:function.",
        ),
    ] = None,
    missing_only: Annotated[
        bool, typer.Option("--missing-only", help="Only partitions that were not written.")
    ] = False,
    stale_only: Annotated[
        bool, typer.Option("--stale-only", help="Only partitions that are stale or not written.")
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            metavar="N",
            show_default=False,
            callback=at_least(1),
            help="Processes that run partitions; default: 1.",
        ),
    ] = 1,
    module: Modules = None,
    as_json: AsJson = False,
    value: Annotated[
        bool, typer.Option("--value", help="Print only the flow's value: what its body returned.")
    ] = False,
    help: Annotated[  # noqa: A002 - the option's name
        bool, typer.Option("--help", help="Show this message; with NAME, the flow's parameters.")
    ] = False,
) -> None:
    """Run one flow and print its results as JSON."""
    if name is None and help:
        say(context.get_help())
        return
    if name is None:
        context.fail("which flow? give its NAME; `mxm-pipeline list` shows them")
    if value and as_json:
        context.fail("--value and --json cannot be used together: --json includes the value")
    if help:
        _print_help(name, module or [], context.get_help())
        return
    wanted: Wanted | None = None
    if partitions is not None:
        if value or report:
            context.fail("--for runs the flow many times: no --value and no --report with it")
        from mxm.pipeline.cli.backfill import Wanted

        words = tuple(context.meta.get("mxm.words", ()))
        wanted = Wanted(partitions, every, missing_only, stale_only, jobs, words)
    elif every or missing_only or stale_only or jobs > 1:
        context.fail("--every, --missing-only, --stale-only and --jobs need --for")
    code = run_flow(
        name,
        module or [],
        param or [],
        params_file=params_file,
        settings=resource or [],
        limits=limit or [],
        options={
            "backend": backend,
            "runner": runner,
            "workers": workers,
            "address": address,
            "fail_fast": fail_fast,
            "select": select,
            "exclude": exclude,
            "force": force or force_task,
            "strict_params": strict_params,
            "strict_json": strict_json,
            "engine_logs": verbose > 1,
            "guard": guard,
            "grace_s": grace,
            "record": False if no_record else None,
            "cache": False if no_cache else None,
            "strict_cache": strict_cache,
        },
        explain=explain,
        verbosity=-1 if quiet else verbose,
        document="value" if value else "run" if as_json else "results",
        report_file=report,
        wanted=wanted,
    )
    raise typer.Exit(code)
