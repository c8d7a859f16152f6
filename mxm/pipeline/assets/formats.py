"""The storage formats of assets: what each can store, and how it is written and read."""

from __future__ import annotations

import functools
import json
import math
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from mxm.pipeline.assets.tables import CsvFormat, TableFormat, index_names, library_of
from mxm.pipeline.errors import AssetError, described, repr_of
from mxm.pipeline.problems import closest, did_you_mean

__all__ = ["Facts", "Format", "facts_of", "format_named", "format_names", "unknown_format"]


class Format(Protocol):
    """A storage format; other distributions add formats by an entry point in ``mxm.formats``."""

    def refusal(self, value: Any) -> str | None:
        """Why *value* cannot be written, in words; None if it can."""
        ...

    def write(self, value: Any, path: str) -> Sequence[str]:
        """Write *value* to the new file *path*.

        Returns
        -------
        Sequence[str]
            What a reader will not get back unchanged, in words; most formats refuse instead.

        Raises
        ------
        AssetError
            It would not come back unchanged.
        """
        ...

    def read(self, path: str, facts: Mapping[str, Any]) -> Any:
        """The value in *path*; *facts* has its ``library`` and ``columns``, if they are known.

        Raises
        ------
        AssetError
            It cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts recorded about a value.

    Parameters
    ----------
    library
        The library of a table; the type's name of anything else.
    rows
        The number of rows or members; None if it has none.
    columns
        The type of each column, as text.
    index
        The name and the type of each level of an index that is more than a count of rows, and the
        frequency, if it has one.
    """

    library: str
    rows: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])
    index: Sequence[Sequence[str | None]] = ()


def facts_of(value: Any) -> Facts:
    """The facts recorded about *value*."""
    library = library_of(value)
    if library == "pandas":
        kinds = {str(name): str(kind) for name, kind in value.dtypes.items()}
        return Facts(library, len(value), kinds, index_names(value))
    if library == "polars":
        return Facts(library, value.height, {n: str(kind) for n, kind in value.schema.items()})
    if library == "pyarrow":
        return Facts(library, value.num_rows, {f.name: str(f.type) for f in value.schema})
    rows = len(value) if type(value) in (list, tuple, dict, set) else None
    return Facts(type(value).__name__, rows)


_NAMES = ("parquet", "csv", "feather", "json", "pickle")


def format_names() -> list[str]:
    """The names of all formats, including those of other distributions."""
    return sorted({*_NAMES, *_entry_points()})


def unknown_format(name: object) -> str | None:
    """What to write instead of *name*; None if there is such a format."""
    names = list(_NAMES) if name in _NAMES else format_names()
    if name in names:
        return None
    near = did_you_mean(name, names) if isinstance(name, str) and closest(name, names) else None
    return near or f"known: {', '.join(names)}"


def _entry_points() -> dict[str, Any]:
    # importlib.metadata is slow to load: only for other names.
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group="mxm.formats")}


@functools.lru_cache(maxsize=64)
def format_named(name: str) -> Format:
    """The format *name*.

    Raises
    ------
    AssetError
        There is none.
    """
    if name == "csv":
        return CsvFormat()
    if name in ("parquet", "feather"):
        return TableFormat(name)
    if name == "json":
        return _Json()
    if name == "pickle":
        return _Pickle()
    entry = _entry_points().get(name)
    if entry is None:
        raise AssetError(f"unknown format {name!r}", hint=unknown_format(name))
    loaded: Any = entry.load()
    made: Format = loaded() if isinstance(loaded, type) else loaded
    return made


class _Json:
    """JSON: only values that it gives back unchanged."""

    def refusal(self, value: Any) -> str | None:
        if library_of(value):
            return "a table has no form in JSON that keeps its types: use parquet, csv or feather"
        return _no_json(value, "the value")

    def write(self, value: Any, path: str) -> Sequence[str]:
        with open(path, "x", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1, allow_nan=False)
        return ()

    def read(self, path: str, facts: Mapping[str, Any]) -> Any:
        del facts
        with open(path, encoding="utf-8") as file:
            return json.load(file)


def _no_json(value: Any, place: str) -> str | None:
    """Why JSON cannot store *value*, which is at *place*."""
    stack: list[tuple[Any, str, int]] = [(value, place, 0)]
    while stack:
        value, place, depth = stack.pop()
        kind = cast("Any", type(value))
        if value is None or kind in (bool, int):
            continue
        if depth > _DEEPEST:
            return f"{place} is nested too deeply"
        if kind is str:
            try:
                value.encode("utf-8")
            except UnicodeEncodeError:
                return f"{place} is not Unicode text"
        elif kind is float:
            if not math.isfinite(value):
                return f"{place} is {value}, which JSON does not have"
        elif kind is list:
            stack += [(one, f"{place}[{i}]", depth + 1) for i, one in enumerate(value)]
        elif kind is dict:
            wrong = next((key for key in value if type(key) is not str), None)
            if wrong is not None:
                return f"a key of {place} is {repr_of(wrong)}: keys in JSON are text"
            stack += [(one, f"{place}[{key!r}]", depth + 1) for key, one in value.items()]
        else:
            return f"{place} is a {kind.__qualname__}, which would be read back as another type"
    return None


_DEEPEST = 500


class _Pickle:
    """Python's pickle: anything that can be loaded again."""

    def refusal(self, value: Any) -> str | None:
        del value
        return None

    def write(self, value: Any, path: str) -> Sequence[str]:
        try:
            data = pickle.dumps(value, protocol=5)
            pickle.loads(data)  # noqa: S301 - our own: it must come back
        except Exception as error:
            raise AssetError(f"it cannot be pickled: {described(error)}") from error
        with open(path, "xb") as file:
            file.write(data)
        return ()

    def read(self, path: str, facts: Mapping[str, Any]) -> Any:
        del facts
        with open(path, "rb") as file:
            return pickle.load(file)  # noqa: S301 - a file of the project, asked for by name
