"""Why no kept result of a call can be used: what differs from the last time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import chain, islice
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, cast

from mxm.pipeline.errors import repr_of
from mxm.pipeline.execution.kept.keys import Key
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.values.fingerprint import Difference

__all__ = ["Reason", "package_text", "reasons_between", "short_text"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a step runs.

    Parameters
    ----------
    kind
        ``new``, ``code``, ``constant``, ``parameter``, ``input``, ``file``, ``environment``,
        ``package``, ``python``, ``version``, ``resource``, ``after``, ``expired``, ``forced``,
        ``dynamic``, ``value``, ``written``, ``asset``.
    text
        It, in words.
    """

    kind: str
    text: str


def reasons_between(
    before: Mapping[str, Any],
    now: Key,
    sources: Mapping[str, str],
    shown: Mapping[str, str],
    code: Sequence[Difference],
    since: str,
) -> list[Reason]:
    """What differs between the parts of an earlier key and those of *now*.

    Parameters
    ----------
    before
        The parts of the earlier key.
    now
        The key.
    sources
        By parameter, the upstreams whose results its argument contains.
    shown
        By parameter, its argument in words.
    code
        How the code differs.
    since
        The run that had the earlier key.
    """
    return list(dict.fromkeys(_differing(before, now.parts, sources, shown, code, since)))


def _differing(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    sources: Mapping[str, str],
    shown: Mapping[str, str],
    code: Sequence[Difference],
    since: str,
) -> Iterator[Reason]:
    if before.get("scheme") != now.get("scheme"):
        yield Reason("version", "kept by another version of mxm-pipeline")
        return
    for one in code:
        kind = one.kind if one.kind in ("constant", "package") else "code"
        yield Reason(kind, f"{_text(one)} since run {since}")
    if before.get("code") != now.get("code") and not code:
        yield Reason("code", f"code changed since run {since}")
    if before.get("at_call") != now.get("at_call") and not any(
        one.kind == "constant" for one in code
    ):
        yield Reason("constant", "a value that its code reads changed")
    for name in _changed(before.get("environment", {}), now.get("environment", {})):
        yield Reason("environment", f"variable {name}{_was_set(before, now, name)}")
    arguments = _changed(before.get("arguments", {}), now.get("arguments", {}))
    for name in arguments:
        if sources.get(name):
            yield Reason("input", f"the result of {sources[name]} changed")
        else:
            old, new = (dict(one).get(name) for one in (before.get("shown", {}), shown))
            yield Reason("parameter", f"parameter {name!r} {_became(before, now, name, old, new)}")
    yield from _inputs(before.get("inputs", {}), now.get("inputs", {}))
    said = {one.label for one in code}
    before_packages, packages = before.get("packages", {}), now.get("packages", {})
    for name in _changed(before_packages, packages):
        is_other = name in before_packages and name in packages
        if name not in said and (is_other or not arguments):  # else it came in with an argument
            text = package_text(name, before_packages.get(name), packages.get(name))
            yield Reason("package", text)
    for name in _changed(before.get("resources", {}), now.get("resources", {})):
        yield Reason("resource", f"resource {name!r} changed")
    if before.get("after") != now.get("after"):
        yield Reason("after", "a task that it runs after changed")
    if before.get("version") != now.get("version"):
        yield Reason("version", f"cache_version changed: {before.get('version')!r} -> "
                                f"{now.get('version')!r}")  # fmt: skip
    if before.get("deps") != now.get("deps"):
        yield Reason("code", "code_deps changed")
    for name in _changed(before.get("surroundings", {}), now.get("surroundings", {})):
        old, new = before["surroundings"].get(name), now["surroundings"].get(name)
        yield Reason("python", f"{name} changed: {old} -> {new}")


def _inputs(before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Reason]:
    """How the declared inputs differ; matches of a pattern are listed file by file."""
    for name in _changed(before, now):
        if name.startswith("env:"):
            yield Reason("environment", f"variable {name[4:]} changed")
        elif name not in before or now.get(name) == "missing":
            yield Reason("file", f"file {name} is {'new' if name not in before else 'gone'}")
        elif name not in now:
            yield Reason("file", f"file {name} is gone")
        elif not _MAGIC.intersection(name):
            yield Reason("file", f"file {name} changed")


_MAGIC = frozenset("*?[")


def _became(
    before: Mapping[str, Any], now: Mapping[str, Any], name: str, old: str | None, new: str | None
) -> str:
    """How the parameter *name* differs, with both values if they are known."""
    passed = [name in parts.get("arguments", {}) for parts in (before, now)]
    old = old if passed[0] else "its default"
    new = new if passed[1] else "its default"
    return "changed" if old is None or new is None else f"changed: {old} -> {new}"


def _was_set(before: Mapping[str, Any], now: Mapping[str, Any], name: str) -> str:
    old, new = (parts.get("environment", {}).get(name) for parts in (before, now))
    return " was set" if old == "unset" else " was unset" if new == "unset" else " changed"


_LONGEST = 60
_SIMPLE = (bool, int, float, complex, str, bytes, date, time, timedelta, Decimal, Enum, PurePath)


def short_text(value: Any, masked: Callable[[str], str]) -> str | None:
    """*value* in words, without secrets; None if that takes long or is not helpful.

    Parameters
    ----------
    value
        An argument.
    masked
        Masks the secrets in a text.
    """
    members: Iterable[Any] = [value]
    if type(value) in (list, tuple, set, frozenset):
        members = value
    elif type(value) in (dict, MappingProxyType):
        members = chain(value, value.values())
    if isinstance(value, str | bytes) and len(value) > 10 * _LONGEST:
        return None
    listed = list(islice(members, _MOST + 1))
    simple = (one is None or isinstance(one, _SIMPLE) for one in listed)
    if len(listed) > _MOST or not all(simple):
        return None
    text = in_one_line(masked(repr_of(cast("object", value))))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


_MOST = 8


def package_text(name: str, old: str | None, new: str | None) -> str:
    """How the distribution *name* differs; *old* and *new* are version and digest."""
    before, after = ((each or "").partition(" ")[0] for each in (old, new))
    if before == after:
        return f"package {name} was rebuilt"
    if before and after:
        return f"package {name} {before} -> {after}"
    return f"package {name} is {'new' if after else 'gone'}"


def _text(one: Difference) -> str:
    item = one.after or one.before
    if one.kind == "package" and one.before and one.after:
        return package_text(one.label, one.before.digest, one.after.digest)
    what = "is new" if one.before is None else "is gone" if one.after is None else "changed"
    place = f" at {item.file}:{item.line}" if item and item.file and item.line else ""
    return f"{one.kind} {one.label} {what}{place}"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]
