"""Sizes of files as pages and commands show them."""

from __future__ import annotations

__all__ = ["bytes_text"]


def bytes_text(size: float) -> str:
    """*size* in bytes in a few characters: ``512 B``, ``21.0 kB``, ``4.8 MB``."""
    if size < 1000:
        return f"{size:,.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 1000:
            return f"{size:,.1f} {unit}"
    return f"{size / 1000:,.1f} GB"
