"""Distinguishes a signal, which ends the whole run, from errors that user code raises by itself."""

from __future__ import annotations

__all__ = ["ends_the_run", "forget_signal", "let_signals_pass", "note_signal"]

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
