"""The colours of drawings and pages, light and dark, as properties of CSS."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["DARK", "LIGHT", "scheme_css"]

LIGHT: Mapping[str, str] = {
    "bg": "#fbfbfa",
    "panel": "#ffffff",
    "raise": "#f4f4f2",
    "line": "#e5e5e1",
    "line-2": "#d2d2cd",
    "edge": "#8d939d",
    "ink": "#17191e",
    "ink-2": "#545a66",
    "ink-3": "#656b77",
    "accent": "#2f55d4",
    "accent-bg": "#eef2fe",
    "succeeded": "#0a7a59",
    "failed": "#c5301f",
    "failed-bg": "#fdf1ef",
    "failed-line": "#d5766a",
    "running": "#2f55d4",
    "cached": "#0b7285",
    "skipped": "#656b77",
    "pending": "#7b818c",
    "cancelled": "#656b77",
    "retried": "#935700",
    "retried-bg": "#fcf3e2",
    "bar": "#a3aab5",
}
DARK: Mapping[str, str] = {
    "bg": "#0d0e11",
    "panel": "#141519",
    "raise": "#1a1c21",
    "line": "#26282e",
    "line-2": "#373a42",
    "edge": "#656b77",
    "ink": "#ecedf0",
    "ink-2": "#a4a9b4",
    "ink-3": "#8a909c",
    "accent": "#86a3ff",
    "accent-bg": "#1a2140",
    "succeeded": "#4cc79b",
    "failed": "#ff8170",
    "failed-bg": "#26161a",
    "failed-line": "#a4504a",
    "running": "#86a3ff",
    "cached": "#5cc3d6",
    "skipped": "#959ba7",
    "pending": "#7d838f",
    "cancelled": "#959ba7",
    "retried": "#e2a84b",
    "retried-bg": "#2b2214",
    "bar": "#5a606b",
}


def scheme_css(root: str) -> str:
    """Both schemes for the selector *root*: the system decides, ``data-theme`` overrides."""
    light, dark = _properties("light", LIGHT), _properties("dark", DARK)
    return (
        f"{root}{{{light}}}@media (prefers-color-scheme:dark){{{root}{{{dark}}}}}"
        f"{root}[data-theme=light]{{{light}}}{root}[data-theme=dark]{{{dark}}}"
    )


def _properties(scheme: str, colours: Mapping[str, str]) -> str:
    return f"color-scheme:{scheme};" + "".join(f"--{name}:{c};" for name, c in colours.items())
