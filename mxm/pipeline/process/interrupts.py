"""Distinguishes a signal, which ends the whole run, from errors that user code raises by itself."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["AT_ONCE_S", "ends_the_run", "forget_signal", "let_signals_pass", "note_signal", "wait"]

AT_ONCE_S = 0.5
"""The longest single wait of a main thread.

A signal interrupts a wait that has begun. One that arrives just before it, or on another thread, is
handled only after it: a wait without end would miss Ctrl-C.
"""

_raised: list[BaseException] = []  # exceptions from signal handlers that nobody has handled yet


def note_signal(error: BaseException) -> None:
    """Remember that a signal handler raises *error*."""
    _raised.append(error)


def forget_signal(error: BaseException | None) -> None:
    """Undo one `note_signal`."""
    for i, raised in enumerate(_raised):
        if raised is error:
            del _raised[i]
            return


def wait(ended: Callable[[float], object], seconds: float | None = None) -> bool:
    """Wait until *ended*, called with at most `AT_ONCE_S` again and again, is true.

    Parameters
    ----------
    ended
        Waits for as many seconds as it is given; whether it need not wait any more.
    seconds
        How long to wait in all; None for ever.

    Returns
    -------
    bool
        Whether it is true; False when *seconds* are over.
    """
    import time

    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = AT_ONCE_S if deadline is None else min(AT_ONCE_S, deadline - time.monotonic())
        if ended(max(left, 0.0)):
            return True
        if deadline is not None and time.monotonic() >= deadline:
            return False


def ends_the_run(error: BaseException) -> bool:
    """Whether a signal handler raised *error*.

    With Python's own Ctrl-C handler, its KeyboardInterrupt looks like any other, so each one counts
    as a signal.
    """
    if any(raised is error for raised in _raised):
        return True
    if not isinstance(error, KeyboardInterrupt):
        return False
    import signal
    import threading

    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def let_signals_pass(error: BaseException) -> None:
    """Raise *error*, if it `ends_the_run`.

    For user code that runs incidentally, such as ``__repr__`` or ``__reduce__``: it may raise
    anything, even SystemExit, and that must not change the run.
    """
    if ends_the_run(error):
        raise error
