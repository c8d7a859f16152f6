"""Reads JSON, TOML and YAML files into Python values, and reports errors by line and column."""

from __future__ import annotations

import importlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mxm.pipeline.cli.sources import TOO_LARGE
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.values.conversion import Written, finite_float

__all__ = ["is_document", "value_of"]

# With aliases, a few lines of YAML can expand to more than any memory holds.
_MOST_VALUES = 1_000_000
# The digits are not shown, because they may be a secret.
_INFINITE = "a number is too large for a float"
_DUPLICATE = "duplicate key '{}'"


def is_document(path: str) -> bool:
    """Whether the suffix of *path* means that it contains a value instead of text."""
    return _suffix(path) in _READERS


def value_of(path: str, text: str) -> Any:
    """The value in *text*, read from *path*, in the format of its suffix; a stream contains JSON.

    An empty YAML file is None.

    Raises
    ------
    PipelineError
        It is invalid; the message gives line and column, but no value.
    """
    kind, read = _READERS.get(_suffix(path), _READERS[".json"])
    try:
        value = read(path, text)
        if _is_more(value):
            _refuse_size(path)
    except RecursionError:
        _refuse(path, kind, "nested too deeply")
    except MemoryError:
        _refuse(path, kind, "it does not fit into memory")
    return value


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _is_more(value: object) -> bool:
    """Whether *value* contains more values than allowed, keys included."""
    stack: list[Any] = [value]
    count = 0
    while stack:
        one = stack.pop()
        count += 1
        if _is(one, dict):
            count += len(one)
            stack.extend(one.values())
        elif _is(one, list):
            stack.extend(one)
        if count + len(stack) > _MOST_VALUES:
            return True
    return False


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind)


def _json(path: str, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")  # Python accepts NaN and Infinity

    try:
        return json.loads(text, parse_constant=refuse, parse_float=Written, object_pairs_hook=_once)
    except OverflowError:
        _refuse(path, "JSON", _INFINITE)
    except json.JSONDecodeError as error:
        _refuse(path, "JSON", error.msg, error.lineno, error.colno)
    except ValueError as error:  # or the number is too long
        _refuse(path, "JSON", str(error))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read: dict[str, Any] = {}
    for key, value in pairs:
        if key in read:
            raise ValueError(_DUPLICATE.format(key))
        read[key] = value
    return read


def _toml(path: str, text: str) -> Any:
    try:
        return tomllib.loads(text, parse_float=Written)
    except OverflowError:
        _refuse(path, "TOML", _INFINITE)
    except tomllib.TOMLDecodeError as error:
        why, _, place = str(error).partition(" (at ")
        at = re.match(r"line (\d+), column (\d+)", place)
        if at:
            _refuse(path, "TOML", why, int(at[1]), int(at[2]))
        _refuse(path, "TOML", f"{why} at the end" if place else why)
    except ValueError as error:  # a number that is too long, or an invalid date
        _refuse(path, "TOML", str(error))


def _yaml(path: str, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError:
        hint = "pip install 'mxm-pipeline[yaml]', or give a .toml or .json file"
        raise PipelineError(f"reading {path!r} needs PyYAML", hint=hint) from None
    try:
        loader = yaml.SafeLoader(text)
        _limit_nodes(path, loader)
        node = loader.get_single_node()
        _check_scalars(path, node)
        _check_aliases(path, node)
        _keep_digits(loader)
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        # The message names aliases and tags, and a password that starts with "*" looks like one.
        problem = error.problem or "it cannot be parsed"
        why = re.sub(r"(alias|anchor|handle|tag) ['\"].*", r"\1", problem)
        _refuse(path, "YAML", why, error.problem_mark)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _refuse(path, "YAML", f"the character U+{error.character:04X} is not allowed", line)
    except ValueError as error:  # an invalid date; a tagged number, which the message quotes
        _refuse(path, "YAML", re.sub(r"(: )?['\"].*", "", str(error)))
    except (AttributeError, KeyError):  # !!bool and !!timestamp on another value
        _refuse(path, "YAML", "a value is not of the type that its tag names")


def _check_scalars(path: str, root: Any) -> None:
    """Reject values that PyYAML would silently change.

    If a mapping has a key twice, it takes the last one; a number too large for a float becomes
    infinite.
    """
    stack, seen = [root], set[int]()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        if node.id == "scalar":
            _check_number(path, node)
            continue
        seen.add(id(node))
        if node.id == "sequence":
            stack.extend(node.value)
            continue
        keys: set[tuple[str, str]] = set()
        for key, value in node.value:
            stack.append(value)
            if key.id == "scalar" and not key.tag.endswith(":merge"):
                if (key.tag, key.value) in keys:
                    _refuse(path, "YAML", _DUPLICATE.format(key.value), key.start_mark)
                keys.add((key.tag, key.value))


def _check_number(path: str, node: Any) -> None:
    if node.tag.endswith(":float"):
        try:
            finite_float(node.value.replace("_", ""))
        except OverflowError:
            _refuse(path, "YAML", _INFINITE, node.start_mark)
        except ValueError:  # in base 60, from YAML 1.1
            pass


def _keep_digits(loader: Any) -> None:
    """Let *loader* make numbers that keep their digits, except those in base 60."""

    def number(_: Any, node: Any) -> float:
        value: float = loader.construct_yaml_float(node)
        digits = node.value.replace("_", "")
        try:
            return Written(digits) if float(digits) == value else value
        except ValueError:
            return value

    loader.yaml_constructors = {**loader.yaml_constructors, "tag:yaml.org,2002:float": number}


def _limit_nodes(path: str, loader: Any) -> None:
    """Limit the nodes that *loader* creates to the allowed values: each one is slow to create."""
    compose, count = loader.compose_node, 0

    def counted(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count > _MOST_VALUES:
            _refuse_size(path)
        return compose(*args)

    loader.compose_node = counted


def _check_aliases(path: str, root: Any) -> None:
    """Reject a document that aliases make too large: nine lists of nine lists of nine ..."""
    sizes: dict[int, int] = {}  # size of a node with its aliases expanded; 0 while unknown

    def size(node: Any) -> int:
        if node is None or node.id == "scalar":
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = 0
            pairs = node.value if node.id == "mapping" else [(one,) for one in node.value]
            sizes[id(node)] = 1 + sum(size(part) for pair in pairs for part in pair)
        if not sizes[id(node)]:
            _refuse(path, "YAML", "a value that contains itself", node.start_mark)
        return sizes[id(node)]

    if size(root) > _MOST_VALUES:
        _refuse_size(path, " after its aliases are expanded")


def _refuse_size(path: str, when: str = "") -> NoReturn:
    raise PipelineError(f"{path}: more than {_MOST_VALUES:,} values{when}", hint=TOO_LARGE)


def _refuse(path: str, kind: str, why: str, at: Any = None, column: int | None = None) -> NoReturn:
    """Report the error in *path*, at a line and a column, or at a PyYAML mark."""
    line, column = (at.line + 1, at.column + 1) if hasattr(at, "line") else (at, column)
    place = ":".join(str(part) for part in (path, line, column) if part)
    raise PipelineError(f"{place}: not valid {kind}: {why}") from None


_READERS: Mapping[str, tuple[str, Callable[[str, str], Any]]] = {
    ".json": ("JSON", _json),
    ".toml": ("TOML", _toml),
    ".yaml": ("YAML", _yaml),
    ".yml": ("YAML", _yaml),
}
