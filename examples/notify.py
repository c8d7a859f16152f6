"""Notify somebody when a flow fails: python notify.py https://hooks.example.org/...

An observer is called with each event of a run. This one posts a message to a webhook when a run
has failed, and names the failed tasks. If the observer itself raises, that is logged and changes
nothing. It needs only the standard library.
"""

from __future__ import annotations

import json
import sys
import urllib.request

import mxm
from mxm.pipeline.execution.events import Event, RunEnded


class Webhook:
    """Posts the failures of a run as JSON, in the form that chat programs take."""

    def __init__(self, url: str, timeout_s: float = 5) -> None:
        self.url = url
        self.timeout_s = timeout_s

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunEnded) and event.flow_run.state == "failed":
            run = event.flow_run
            failed = [task for task in run.tasks.values() if task.error is not None]
            lines = [f"{task.name}: {task.reason}" for task in failed]
            self.post({"text": "\n".join([f"flow {run.flow.name} failed", *lines]), "run": run.id})

    def post(self, message: dict[str, str]) -> None:
        request = urllib.request.Request(
            self.url,
            data=json.dumps(message).encode(),
            headers={"Content-Type": "application/json"},
        )
        # The run waits for its observers: not for long.
        with urllib.request.urlopen(request, timeout=self.timeout_s):
            pass


@mxm.task
def booked() -> dict[str, int]:
    """What our own books say we hold."""
    return {"AAPL": 100, "MSFT": -40}


@mxm.task(name="custodian")
def held(missing: int = 0) -> dict[str, int]:
    """What the custodian says we hold."""
    return {"AAPL": 100 - missing, "MSFT": -40}


@mxm.task
def compare(ours: dict[str, int], theirs: dict[str, int]) -> int:
    """How many positions agree; all must."""
    breaks = {s: (n, theirs.get(s, 0)) for s, n in ours.items() if theirs.get(s, 0) != n}
    if breaks:
        raise ValueError(f"positions differ: {breaks}")
    return len(ours)


@mxm.flow
def reconcile(missing: int = 0) -> int:
    """Compare our positions with the custodian's."""
    return compare(booked(), held(missing))


if __name__ == "__main__":
    observed = reconcile.with_options(observers=[Webhook(sys.argv[1])])
    ended = observed.run(missing=5)
    print(ended)
    sys.exit(0 if ended.state == "succeeded" else 1)
