"""Tells a signal, which ends the whole run, from what code of the user's raises by itself."""

from __future__ import annotations

__all__ = ["ends_the_run", "forget_signal", "let_signals_pass", "note_signal"]

_raised: list[BaseException] = []  # what handlers of signals raised, and nobody has dealt with yet


def note_signal(error: BaseException) -> None:
    """Remember that the handler of a signal raises *error*."""
    _raised.append(error)


def forget_signal(error: BaseException | None) -> None:
    """Undo `note_signal`, once."""
    for i, raised in enumerate(_raised):
        if raised is error:
            del _raised[i]
            return


def ends_the_run(error: BaseException) -> bool:
    """Whether the handler of a signal raised *error*.

    Where Python's own handler of Ctrl-C is in place, nothing tells its KeyboardInterrupt from
    another one, and each is taken for it.
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

    For code of the user's that runs in passing, a ``__repr__`` or ``__reduce__``: it may raise
    anything, SystemExit too, and must change nothing by it.
    """
    if ends_the_run(error):
        raise error
