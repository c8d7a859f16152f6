"""The report that `run --report FILE` writes when the run has ended, recorded or not."""

from __future__ import annotations

import tempfile
from typing import Any

from mxm.pipeline.cli.output import print_error, tell
from mxm.pipeline.cli.report import format_of, report_text
from mxm.pipeline.cli.written import require_folder, written
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import shown_path
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.store.history import load_run
from mxm.pipeline.store.places import store_of
from mxm.pipeline.store.recorder import RunRecorder

__all__ = ["RunReport"]


class RunReport:
    """The report of a run that is about to start.

    Parameters
    ----------
    out
        The file to write.

    Raises
    ------
    PipelineError
        It cannot be written; this is found before the run, not after it.
    """

    def __init__(self, out: str) -> None:
        require_folder(out)
        self._out = out
        self._kind = format_of(None, out)
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._store = ""

    def prepare(self, spec: FlowSpec, options: dict[str, Any]) -> None:
        """Have a run of *spec* recorded; in a separate folder if *options* turn recording off."""
        self._store = store_of(spec)
        if not options.get("record"):
            self._folder = tempfile.TemporaryDirectory(prefix="mxm-report-")
            self._store = self._folder.name
            options["record"] = True
            options["recorder"] = RunRecorder(spec, store=self._store, expected=True)

    def write(self, run: FlowRun | None) -> bool:
        """Write the report of *run* (None if nothing ran); return whether that succeeded."""
        try:
            if run is not None:
                written(
                    report_text(self._recorded(run), self._kind), self._out, "", "", private=True
                )
                tell(f"wrote {shown_path(self._out)}")
        except PipelineError as error:
            print_error(error)
            return False
        finally:
            if self._folder is not None:
                self._folder.cleanup()
        return True

    def _recorded(self, run: FlowRun) -> FlowRun:
        try:
            return load_run(run.id, self._store)
        except PipelineError:  # it could not be recorded, which was reported
            return run
