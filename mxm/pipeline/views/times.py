"""Times as drawings, pages and progress show them."""

from __future__ import annotations

__all__ = ["clock", "lasted"]


def lasted(seconds: float | None) -> str:
    """*seconds* in a few characters: ``93 ms``, ``14.6 s``, ``6:12 min``, ``2:05 h``."""
    if seconds is None:
        return ""
    if seconds < 0.0995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60}:{minutes % 60:02} h"


def clock(seconds: float) -> str:
    """*seconds* as on a stopwatch: ``0:26``, ``1:02:05``."""
    whole = int(max(0.0, seconds))
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02}"
    return f"{whole // 3600}:{whole % 3600 // 60:02}:{whole % 60:02}"
