"""The error of an attempt: a failure of the task, or an order to end the whole run."""

from __future__ import annotations

from mxm.pipeline.errors import described
from mxm.pipeline.process.interrupts import ends_the_run

__all__ = ["FatalError", "attempt_error"]

__tracebackhide__ = True  # pytest shows the lines of the test and of its tasks, not these


def attempt_error(raised: BaseException) -> tuple[BaseException, bool]:
    """The error of an attempt that *raised*, and whether another attempt is pointless.

    Raises
    ------
    BaseException
        *raised* itself, if it asks the whole run to end.
    """
    if isinstance(raised, FatalError):
        return raised.error, True
    if isinstance(raised, Exception):
        return raised, False
    # Ctrl-C, and exceptions raised by other signal handlers, ask the whole run to end. Whatever a
    # task raises by itself is its failure, even an exception class of the engine.
    if isinstance(raised, KeyboardInterrupt) or ends_the_run(raised):
        raise raised
    return raised, True


class FatalError(Exception):
    """Carries an error that is not worth another attempt through an engine.

    For errors other than `Exception`, such as `SystemExit`, and those that would fail every time.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(described(error))
        self.error = error
