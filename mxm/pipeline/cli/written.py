"""Files that the command writes, whole or not at all, and opens in a browser."""

from __future__ import annotations

import contextlib
import os
import tempfile

from mxm.pipeline.cli.output import tell
from mxm.pipeline.errors import PipelineError

__all__ = ["open_file", "require_folder", "write_file", "written"]


def written(
    text: str,
    out: str | None,
    prefix: str,
    ending: str,
    *,
    private: bool = False,
    to_open: bool = False,
) -> str:
    """Write *text* to the file *out*, and open it in the browser; return its path.

    Parameters
    ----------
    text
        Its content.
    out
        The file; None for a new one, named from *prefix* and *ending*.
    prefix, ending
        Parts of that name.
    private
        As in `write_file`.
    to_open
        Whether to open it.

    Raises
    ------
    PipelineError
        It cannot be written.
    """
    try:
        if out is None:
            handle, out = tempfile.mkstemp(ending, prefix)
            os.close(handle)
        write_file(out, text if text.endswith("\n") else f"{text}\n", private=private)
    except OSError as error:
        raise PipelineError(f"cannot write {out!r}: {error.strerror}") from None
    if to_open:
        open_file(out)
    return out


def require_folder(out: str) -> None:
    """Reject a file that could not be written later: its folder is missing, or it is a folder.

    Raises
    ------
    PipelineError
        It cannot be written.
    """
    folder = os.path.dirname(os.path.abspath(out))
    if os.path.isdir(out):
        raise PipelineError(f"cannot write {out!r}: it is a folder")
    if not os.path.isdir(folder):
        raise PipelineError(f"cannot write {out!r}: there is no folder {folder!r}")


def write_file(path: str, text: str, *, private: bool = False) -> None:
    """Write *text* to *path*: another process sees the old file or the new one, never half of it.

    Parameters
    ----------
    path
        The file. A pipe or ``/dev/stdout`` is written directly.
    text
        Its content.
    private
        Whether only the user may read a new file; otherwise the umask decides. An existing file
        keeps its mode.

    Raises
    ------
    OSError
        It cannot be written.
    """
    path = os.path.realpath(path)  # the file that a link leads to, not the link
    if os.path.exists(path) and not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(text)
        return
    if os.path.exists(path):
        with open(path, "a"):  # whether it may be written, which renaming does not ask
            mode = os.stat(path).st_mode & 0o7777
    else:
        mode = 0o600 if private else 0o666 & ~_umask()
    handle, beside = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".mxm-")
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        os.chmod(beside, mode)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def open_file(path: str) -> None:
    """Show the file *path* in the user's browser, and say on stderr where it is."""
    import webbrowser
    from pathlib import Path

    tell(f"opening {path}")
    if not webbrowser.open(Path(path).resolve().as_uri()):
        tell("there is no browser to open it in")
