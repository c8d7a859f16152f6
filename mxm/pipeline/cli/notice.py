"""The project's `on_failure` command: it gets the JSON of each failed run on its stdin."""

from __future__ import annotations

import json
import os
import subprocess

from mxm.pipeline.cli.output import print_warning
from mxm.pipeline.discovery.settings import Settings
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.runs import FlowRun, State

__all__ = ["notify_of"]

# A notice that hangs must not keep cron's job, and with it the next run, waiting.
_LONGEST_S = 60


def notify_of(run: FlowRun, settings: Settings) -> None:
    """Run the project's command if *run* failed; a command that fails is a warning.

    Parameters
    ----------
    run
        A run that ended. A cancelled one is not a failure: whoever cancelled it knows.
    settings
        The project's settings.
    """
    if not settings.on_failure or run.state is not State.FAILED:
        return
    document = json.dumps(Secrets.of_run(run).masked_document(run.to_dict())).encode()
    try:
        ended = subprocess.run(  # noqa: S602 - the project's own command, as in a crontab
            settings.on_failure,
            shell=True,
            cwd=settings.folder,
            input=document,
            stdout=2,  # stdout has the results
            timeout=_LONGEST_S,
            check=False,
            env={**os.environ, "MXM_RUN": run.id, "MXM_FLOW": run.flow.name},
        )
    except subprocess.TimeoutExpired:
        print_warning(f"on_failure: the command did not end within {_LONGEST_S} seconds")
    except (OSError, ValueError) as error:
        print_warning(f"on_failure: the command cannot be started: {error}")
    else:
        if ended.returncode:
            print_warning(f"on_failure: the command ended with exit code {ended.returncode}")
