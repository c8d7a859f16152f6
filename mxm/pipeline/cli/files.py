"""Values in files: JSON, TOML and YAML as Python values, or where in the file they are wrong."""

from __future__ import annotations

import importlib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from mxm.pipeline.errors import PipelineError
from mxm.pipeline.problems import closest

__all__ = ["is_document", "text_of", "value_of"]

_TWICE = "the key '{}' stands there twice"


def is_document(path: str) -> bool:
    """Whether the suffix of *path* says that it holds a value rather than text."""
    return _suffix(path) in _READERS


def value_of(path: str, text: str) -> Any:
    """The value that *text*, which stands in *path*, is in the format of its suffix.

    An empty YAML file is None.

    Raises
    ------
    PipelineError
        It has a mistake, told with line and column and without any value.
    """
    return _READERS[_suffix(path)](path, text)


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def text_of(path: str, whose: str, hint: str | None = None) -> str:
    """What stands in *path*, as UTF-8.

    Parameters
    ----------
    path
        As given: relative to the working directory, or to the home folder after ``~``.
    whose
        What the error opens with.
    hint
        The way out where *path* was meant to be something else.

    Raises
    ------
    PipelineError
        It cannot be read.
    """
    full = os.path.expanduser(path)
    try:
        with open(full, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        folder = os.path.dirname(full)
        near = closest(os.path.basename(full), _names_in(folder))
        told = "; ".join(filter(None, (near and f"did you mean {near!r}?", hint)))
        told = told or "a path is relative to the working directory"
        raise PipelineError(f"{whose}no such file: {path!r}", hint=told) from None
    except IsADirectoryError:
        raise PipelineError(f"{whose}{path!r} is a folder, not a file", hint=hint) from None
    except (OSError, ValueError) as error:  # a null character in the path is a ValueError
        why = getattr(error, "strerror", None) or str(error)
        raise PipelineError(f"{whose}cannot read {path!r}: {why}", hint=hint) from None
    try:
        return content.decode("utf-8-sig")  # some editors put a mark before the text
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        told = f"{path}:{line}: not UTF-8"
        raise PipelineError(told, hint="save the file as UTF-8") from None


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder or ".")
    except OSError:
        return []


def _json(path: str, text: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no JSON")  # Python reads NaN and Infinity by itself

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        _refuse(path, "JSON", error.msg, error.lineno, error.colno)
    except ValueError as error:  # also a number that is too long
        _refuse(path, "JSON", str(error))
    except RecursionError:
        _refuse(path, "JSON", "nested too deeply")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(_TWICE.format(key))
        found[key] = value
    return found


def _toml(path: str, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        why, _, place = str(error).partition(" (at ")
        at = re.match(r"line (\d+), column (\d+)", place)
        if at:
            _refuse(path, "TOML", why, int(at[1]), int(at[2]))
        _refuse(path, "TOML", f"{why} at the end" if place else why)
    except ValueError as error:  # a number that is too long, a date that is none
        _refuse(path, "TOML", str(error))
    except RecursionError:
        _refuse(path, "TOML", "nested too deeply")


def _yaml(path: str, text: str) -> Any:
    try:
        yaml = importlib.import_module("yaml")
    except ModuleNotFoundError:
        hint = "pip install 'mxm-pipeline[yaml]', or give a .toml or .json file"
        raise PipelineError(f"reading {path!r} needs PyYAML", hint=hint) from None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _check_keys(path, node)
        return loader.construct_document(node) if node else None
    except yaml.MarkedYAMLError as error:
        # An alias or a tag is named in it, and a password that begins with "*" is taken for one.
        problem = error.problem or "it cannot be parsed"
        why = re.sub(r"(alias|anchor|handle|tag) ['\"].*", r"\1", problem)
        _refuse(path, "YAML", why, error.problem_mark)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        _refuse(path, "YAML", f"the character U+{error.character:04X} is not allowed", line)
    except ValueError as error:  # a date that is none
        _refuse(path, "YAML", str(error))
    except RecursionError:
        _refuse(path, "YAML", "nested too deeply")


def _check_keys(path: str, root: Any) -> None:
    """Refuse two equal keys in one mapping, of which PyYAML would take the last."""
    stack, seen = [root], set[int]()
    while stack:
        node = stack.pop()
        if node is None or node.id == "scalar" or id(node) in seen:
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
                    _refuse(path, "YAML", _TWICE.format(key.value), key.start_mark)
                keys.add((key.tag, key.value))


def _refuse(path: str, kind: str, why: str, at: Any = None, column: int | None = None) -> NoReturn:
    """Say what is wrong in *path*, and where: at a line and a column, or at a mark of PyYAML's."""
    line, column = (at.line + 1, at.column + 1) if hasattr(at, "line") else (at, column)
    place = ":".join(str(part) for part in (path, line, column) if part)
    raise PipelineError(f"{place}: not valid {kind}: {why}") from None


_READERS: Mapping[str, Callable[[str, str], Any]] = {
    ".json": _json,
    ".toml": _toml,
    ".yaml": _yaml,
    ".yml": _yaml,
}
