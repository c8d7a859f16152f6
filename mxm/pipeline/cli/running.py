"""`run`: parameters from the command line, one run, its results on stdout."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from mxm.pipeline.cli.describe import parameter_rows
from mxm.pipeline.cli.given import given_params
from mxm.pipeline.cli.output import (
    ExitCode,
    json_results,
    logged,
    print_error,
    print_failures,
    print_json,
    print_table,
    stdout_kept,
)
from mxm.pipeline.discovery import find_flow
from mxm.pipeline.runs import FlowRun, State

__all__ = ["print_help", "run_flow"]


class _Terminated(BaseException):
    """SIGTERM, as an exception in the main thread."""


def run_flow(
    name: str,
    modules: Sequence[str],
    params: Sequence[str],
    *,
    params_file: str | None,
    backend: str,
    options: Mapping[str, Any],
    verbosity: int,
    as_json: bool,
) -> ExitCode:
    """Run the flow *name* and print its JSON document.

    Raises
    ------
    PipelineError
        Anything that keeps the flow from running.
    """
    given = given_params(params, params_file)
    run: FlowRun | None = None
    with _Signals() as signals:
        with stdout_kept(), logged(verbosity):
            try:
                entry = find_flow(name, modules)
                from mxm.pipeline.api import compile_flow

                compiled = compile_flow(entry.spec(), backend=backend, **options)
                gc.freeze()  # what the engine's modules made stays: no garbage is among it
                gc.enable()
                run = compiled.run(given)
                signals.raises = False
            except (KeyboardInterrupt, _Terminated) as error:
                signals.raises = False
                if isinstance(error, KeyboardInterrupt):  # a task may raise it, without a signal
                    signals.code = ExitCode.SIGINT
                print_error("the run was cancelled")
                run = getattr(error, "mxm_run", run)
        code = ExitCode.OK if run is None else _print_run(run, as_json=as_json)
        return signals.code or code


def _print_run(run: FlowRun, *, as_json: bool) -> ExitCode:
    for warning in run.warnings:
        print_error(warning)
    print_failures(run)
    results, complete = json_results(run)
    print_json(run.to_dict() if as_json else results)
    return ExitCode.TASK_FAILED if run.state is State.FAILED or not complete else ExitCode.OK


class _Signals:
    """The first SIGINT or SIGTERM ends the run in order, a second one the process at once.

    Attributes
    ----------
    raises
        Whether the first is raised: while there is a run, and not once its results are printed.
    code
        How the command then ends.
    """

    def __init__(self) -> None:
        self.raises = True
        self.code = ExitCode.OK
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                handler = signal.getsignal(number)
                if handler is not signal.SIG_IGN:  # as `nohup`, or a shell's `&`, would have it
                    self._before[number] = handler
                    signal.signal(number, self._came)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: object) -> None:
        if self.code:
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(self.code)
        self.code = ExitCode(128 + number)
        if self.raises:
            raise KeyboardInterrupt if number == signal.SIGINT else _Terminated


def print_help(name: str, modules: Sequence[str], usage: str) -> None:
    """The parameters of the flow *name*, then the options of `run`."""
    spec = find_flow(name, modules).spec()
    print(f"{spec.name}: {spec.doc}" if spec.doc else spec.name)
    print()
    rows = [(f"-p {row[0]}=", *row[1:]) for row in parameter_rows(spec)]
    if rows:
        print_table(("PARAMETER", "TYPE", "DEFAULT", "FROM"), rows)
    else:
        print("no parameters")
    print()
    print(usage)
    sys.stdout.flush()
