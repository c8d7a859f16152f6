"""Starts the command; Ctrl-C while its modules load ends it without a traceback."""

from __future__ import annotations

import os
import signal

__all__ = ["main"]


def main() -> None:
    """Run the command; the console script."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _quit)
    from mxm.pipeline.cli.main import main as command

    command()


def _quit(*_: object) -> None:
    os._exit(130)  # no user code has started: `run` has its own handler
