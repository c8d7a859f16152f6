"""Converts Python values to strict JSON; values without a JSON form are described or rejected."""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
from collections.abc import ItemsView, Iterable, KeysView, Mapping, Sequence, Set, ValuesView
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, NamedTuple, TypeAlias, cast
from uuid import UUID

from mxm.pipeline.errors import ResultError, described
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.arrays import (
    NO_FORM,
    array_items,
    duration_text,
    index_labels,
    is_array,
    is_table,
    table_parts,
    type_name,
)
from mxm.pipeline.values.failure import Failure

__all__ = ["JSONValue", "Written", "to_json"]

JSONValue: TypeAlias = "dict[str, JSONValue] | list[JSONValue] | str | int | float | bool | None"

_DEEPEST = 200
_LONGEST_INT = 14_000  # bits; Python cannot print more than 4,300 digits
_LONGEST_REPR = 500
_LONGEST_PATH = 80
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class Written(NamedTuple):
    """A value as JSON, with the parts that JSON could not hold.

    Parameters
    ----------
    value
        The JSON.
    nonfinite
        The number of NaN or infinite numbers that became ``null``.
    described
        The parts that are only described, with their paths: ``bytes at $.rows[3]``.
    """

    value: JSONValue
    nonfinite: int = 0
    described: tuple[str, ...] = ()


def to_json(value: object, *, strict: bool = False) -> Written:
    """*value* as JSON.

    Missing values are ``null`` and not counted: None, NA, NaT, and NaN in pandas data other than
    floats. A NaN in a column of floats is a number, in polars as in pandas.

    Parameters
    ----------
    value
        Anything.
    strict
        Whether a value without a JSON form is an error. Otherwise it is described by its type and
        repr, without addresses. A dict whose keys have no JSON form, or become equal, is a list of
        its keys and values.

    Raises
    ------
    ResultError
        With *strict*: something in *value* has no JSON form; `path` names the place.
    """
    writer = _Writer(strict=strict)
    return Written(writer.write(value, "$", 0), writer.nonfinite, tuple(writer.described))


class _NoFormError(Exception):
    """JSON has no form for a value; the text says why, unless it is the type."""

    def __init__(self, what: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class _Writer:
    """One conversion; records what JSON could not hold."""

    def __init__(self, *, strict: bool) -> None:
        self.nonfinite = 0
        self.described: list[str] = []
        self._strict = strict
        self._above: set[int] = set()  # containers of the value being written

    def write(self, value: Any, path: str, depth: int) -> JSONValue:
        if value is None or value is True or value is False or type(value) is str:
            return cast("JSONValue", value)
        if type(value) is float:
            return self._number(value)
        before = self.nonfinite, len(self.described)
        inside = id(value) in self._above
        self._above.add(id(value))
        try:
            if inside:
                raise _NoFormError(
                    f"a {type_name(value)} that contains itself", "a value that contains itself"
                )
            return self._form(value, path, depth)
        except ResultError:
            raise
        except _NoFormError as lacking:
            what, hint = lacking.what or type_name(value), lacking.hint
        except BaseException as error:  # code of libraries and users may raise anything
            let_signals_pass(error)
            what, hint = type_name(value), None
        finally:
            if not inside:
                self._above.discard(id(value))
        self.nonfinite = before[0]
        del self.described[before[1] :]
        self._note(what, path, hint)
        return {"type": type_name(value), "repr": _repr(value)}

    def _note(self, what: str, path: str, hint: str | None = None) -> None:
        """Record *what* at *path*, which has no JSON form."""
        shown = path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}..."
        if self._strict:
            raise ResultError(
                f"{what} has no JSON form at {shown}",
                path=path,
                hint=hint
                or "return numbers, text, dates, lists, dicts, dataclasses, arrays or tables; "
                "write anything else to a file and return its path",
            )
        self.described.append(f"{what} at {shown}")

    def _form(self, value: Any, path: str, depth: int) -> JSONValue:
        if isinstance(value, Enum):
            return self.write(value.value, path, depth + 1)
        if isinstance(value, str):
            return str(value)
        if isinstance(value, int):
            return _integer(int(value))
        if isinstance(value, float):
            return self._number(float(value))
        if depth > _DEEPEST:
            raise _NoFormError(f"what is nested deeper than {_DEEPEST} levels")
        if isinstance(value, Mapping):
            return self._object(cast("Any", value).items(), path, depth)
        if isinstance(value, _SEQUENCES) and not isinstance(value, _BYTES):
            items = enumerate(cast("Iterable[Any]", value))
            return [self.write(item, f"{path}[{i}]", depth + 1) for i, item in items]
        if isinstance(value, _SETS):
            return self._set(value, path, depth)
        if isinstance(value, Decimal):
            return str(value) if value.is_finite() else self._number(math.nan)
        if isinstance(value, _TEXT_TYPES):
            # pandas.NaT is a datetime and, like NaN, differs from itself.
            return _scalar_text(value) if value == value else None
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self._fields(value, (f.name for f in dataclasses.fields(value)), path, depth)
        return self._foreign(value, path, depth)

    def _number(self, value: float) -> float | None:
        if math.isfinite(value):
            return value
        self.nonfinite += 1
        return None

    def _fields(self, value: Any, names: Iterable[str], path: str, depth: int) -> JSONValue:
        return {
            name: self.write(getattr(value, name), f"{path}.{name}", depth + 1) for name in names
        }

    def _object(self, pairs: Iterable[tuple[Any, Any]], path: str, depth: int) -> JSONValue:
        """A JSON object, or a list of keys and values if the keys cannot be keys of an object."""
        items = list(pairs)
        names: list[str] = []
        nonfinite = 0
        for key, _ in items:
            name, missing = _key(key)
            if name is None:
                return self._pairs(items, f"a dict with keys of type {type_name(key)}", path, depth)
            names.append(name)
            nonfinite += missing
        if len({*names}) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            return self._pairs(items, f"a dict with two keys {twice!r}", path, depth)
        self.nonfinite += nonfinite
        return {
            name: self.write(item, f"{path}.{name}", depth + 1)
            for name, (_, item) in zip(names, items, strict=True)
        }

    def _pairs(self, items: list[tuple[Any, Any]], what: str, path: str, depth: int) -> JSONValue:
        self._note(what, path, "make the keys text or numbers that differ as text")
        return [
            [self.write(part, f"{path}[{i}][{j}]", depth + 2) for j, part in enumerate(item)]
            for i, item in enumerate(items)
        ]

    def _set(self, value: Set[Any], path: str, depth: int) -> JSONValue:
        items = [(self.write(item, f"{path}[]", depth + 1), item) for item in value]
        return [plain for plain, _ in sorted(items, key=_rank)]

    def _foreign(self, value: Any, path: str, depth: int) -> JSONValue:
        """Objects of libraries, recognized by their methods, so no library is imported."""
        if isinstance(value, Failure):
            return {
                "type": "Failure",
                "task": value.task,
                "item": value.item,
                "error": described(value.error),
                "attempts": value.attempts,
            }
        kind = cast("Any", type(value))
        fields = getattr(kind, "__attrs_attrs__", None)
        if fields is not None:
            return self._fields(value, (f.name for f in fields), path, depth)
        if hasattr(kind, "model_dump") and hasattr(kind, "model_fields"):
            if getattr(kind, "__pydantic_root_model__", False):
                return self.write(value.root, path, depth + 1)
            known: dict[str, Any] = {name: getattr(value, name) for name in kind.model_fields}
            known |= value.model_extra or {}
            return self._object(known.items(), path, depth)
        if hasattr(kind, "get_secret_value"):
            return "**********"
        if is_table(value):
            return self._table(value, path, depth)
        if is_array(value):
            items = array_items(value)
            if items is not NO_FORM:
                return self.write(items, path, depth + 1)
        raise _NoFormError

    def _table(self, value: Any, path: str, depth: int) -> JSONValue:
        rows, width = (int(n) for n in value.shape)
        names, dtypes, head = table_parts(value)
        texts = [name if isinstance(name, str) else _column(name) for name in names]
        if len({*texts}) < len(texts):
            twice = next(name for name in texts if texts.count(name) > 1)
            raise _NoFormError(
                f"a {type_name(value)} with two columns {twice!r}", "give each column a name"
            )
        labels = [_label(label) for label in index_labels(value)]
        return {
            "type": type_name(value),
            "shape": [rows, width],
            "columns": dict(zip(texts, dtypes, strict=True)),
            **({"index": self.write(labels, f"{path}.index", depth + 1)} if labels else {}),
            "head": [
                {
                    name: self.write(cell, f"{path}.head[{i}].{name}", depth + 2)
                    for name, cell in zip(texts, row, strict=True)
                }
                for i, row in enumerate(head)
            ],
        }


_SEQUENCES: Any = (Sequence, KeysView, ItemsView, ValuesView)  # dicts keep their order
_SETS: Any = Set
_BYTES: Any = (bytes, bytearray, memoryview)


def _key(key: object) -> tuple[str | None, int]:
    """*key* as the text of a JSON key, or None; and whether it is a non-finite number."""
    if type(key) is str:
        return key, 0
    writer = _Writer(strict=True)
    try:
        plain = writer.write(key, "$", 0)
    except ResultError:
        return None, 0
    if plain is None or isinstance(plain, bool):
        return {None: "null", True: "true", False: "false"}[plain], writer.nonfinite
    return (None if isinstance(plain, list | dict) else str(plain)), 0


def _integer(value: int) -> int:
    if value.bit_length() > _LONGEST_INT:
        what = f"a whole number of {value.bit_length()} bits"
        raise _NoFormError(what, "return it as text, hex(...) for instance")
    return value


def _repr(value: Any) -> str:
    """A short repr of *value* without its address, so that it is the same in every run."""
    try:
        if isinstance(value, _BYTES[:2]):
            text = repr(value[:_LONGEST_REPR])
        elif isinstance(value, _LARGE):
            text = reprlib.repr(value)
        else:
            text = repr(value)
    except BaseException as error:
        let_signals_pass(error)
        return "<unprintable>"
    text = _ADDRESS.sub("", text)
    return text if len(text) <= _LONGEST_REPR else f"{text[:_LONGEST_REPR]}..."


_LARGE: Any = (list, tuple, dict, set, frozenset, int)


def _rank(pair: tuple[JSONValue, Any]) -> tuple[str, Any]:
    """The sort key of a set's member: numbers by size, text alphabetically.

    *pair* is the member as JSON and the member itself.
    """
    plain, item = pair
    if isinstance(plain, int | float):
        return "number", plain
    if isinstance(item, Decimal) and item.is_finite():
        return "number", item
    if isinstance(item, timedelta) and plain is not None:
        return "time", item
    if isinstance(plain, list):
        members: Iterable[Any] = cast("Any", item) if isinstance(item, tuple) else plain
        return "list", [_rank(member) for member in zip(plain, members, strict=False)]
    return type(plain).__name__, plain if isinstance(plain, str) else str(plain)


_TEXT_TYPES = datetime | date | time | timedelta | UUID | PurePath


def _scalar_text(value: Any) -> str:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return duration_text(value) if isinstance(value, timedelta) else str(value)


def _label(label: Any) -> Any:
    """*label* if JSON has a form for it, else its text, for a period or an interval."""
    if isinstance(label, tuple):
        parts = cast("Any", label)
        return [_label(part) for part in parts]
    return label if isinstance(label, int | float | str | _TEXT_TYPES) else str(label)


def _column(name: object) -> str:
    return _scalar_text(name) if isinstance(name, _TEXT_TYPES) else str(name)
