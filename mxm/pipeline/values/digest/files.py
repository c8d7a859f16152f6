"""Digests of files by their content, and of folders by the names in them."""

from __future__ import annotations

import hashlib
import os

__all__ = ["digest_of_file", "digest_of_names"]


def digest_of_file(path: str | os.PathLike[str]) -> str:
    """The digest of the content of a file: ``sha256-9f86...``.

    Raises
    ------
    OSError
        It cannot be read.
    """
    with open(path, "rb") as file:
        return f"sha256-{hashlib.file_digest(file, 'sha256').hexdigest()}"


_OF_RUNS = {".mxm", "__pycache__"}


def digest_of_names(folder: str | os.PathLike[str]) -> str:
    """The digest of the names in *folder*, whatever their order.

    Names of the store and of Python's compiled files do not count, because runs create them.

    Raises
    ------
    OSError
        It cannot be listed.
    """
    names = sorted(map(os.fsencode, {*os.listdir(folder)} - _OF_RUNS))
    joined = b"\0".join(names)
    return f"sha256-{hashlib.sha256(joined).hexdigest()}"
