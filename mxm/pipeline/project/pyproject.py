"""The table in a pyproject.toml that is ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import shown_path

__all__ = ["table_in"]


def table_in(file: str, number: Callable[[str], Any] = float) -> Mapping[str, Any] | None:
    """``[tool.mxm.pipeline]`` of *file*, or None if it has none.

    Parameters
    ----------
    file
        The pyproject.toml.
    number
        Makes a number of the digits of a float.
    """
    import tomllib  # declaring flows reads no file

    try:
        with open(file, "rb") as opened:
            section: Any = tomllib.load(opened, parse_float=number)
    except (OSError, ValueError) as error:  # also what is not UTF-8
        raise PipelineError(f"{shown_path(file)} cannot be read: {error}") from error
    except OverflowError:  # its digits may be a secret
        raise PipelineError(
            f"{shown_path(file)} cannot be read: a number is too large for a float"
        ) from None
    for name in ("tool", "tool.mxm", "tool.mxm.pipeline"):
        section = section.get(name.rpartition(".")[2])
        if section is None:
            return None
        is_table = isinstance(section, dict)
        if not is_table:
            raise PipelineError(
                f"{shown_path(file)}: {name} is {section!r}, not a table",
                hint=f"write [{name}] on a line of its own, with its keys below",
            )
    table: Mapping[str, Any] = section
    return table
