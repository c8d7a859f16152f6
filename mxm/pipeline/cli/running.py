"""`run`: parameters from the command line, one run, its results on stdout."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from mxm.pipeline.cli.describe import parameter_rows
from mxm.pipeline.cli.given import given_params
from mxm.pipeline.cli.output import (
    ExitCode,
    Outcome,
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
    code = ExitCode.OK
    with stdout_kept(), logged(verbosity):
        try:
            with _sigterm_raises():
                entry = find_flow(name, modules)
                from mxm.pipeline.api import compile_flow

                compiled = compile_flow(entry.spec(), backend=backend, **options)
                gc.freeze()  # what the engine's modules made stays: no garbage is among it
                gc.enable()
                Outcome.ran = True
                run = compiled.run(given)
        except (KeyboardInterrupt, _Terminated) as error:
            code = ExitCode.SIGINT if isinstance(error, KeyboardInterrupt) else ExitCode.SIGTERM
            print_error("the run was cancelled")
            cancelled = _cancelled_run(error)
            if cancelled is None:  # it had not begun
                return code
            run = cancelled
    for warning in run.warnings:
        print_error(warning)
    print_failures(run)
    results, complete = json_results(run)
    print_json(run.to_dict() if as_json else results)
    if code is ExitCode.OK and (run.state is State.FAILED or not complete):
        return ExitCode.TASK_FAILED
    return code


def _cancelled_run(error: BaseException) -> FlowRun | None:
    """The run that *error* ended."""
    # Prefect takes SIGTERM for itself, and sends it on when its run has ended.
    part: BaseException | None = error
    while part is not None:
        run = getattr(part, "mxm_run", None)
        if isinstance(run, FlowRun):
            return run
        part = part.__context__
    return None


@contextmanager
def _sigterm_raises() -> Generator[None]:
    """End the run in order at SIGTERM, as at Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a second one ends the process at once
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
