"""Why a call has no result that could be used: what differs from when it was last made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mxm.pipeline.execution.keys import Key
from mxm.pipeline.values.fingerprint import Difference

__all__ = ["Reason", "reasons_between"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason why a step runs.

    Parameters
    ----------
    kind
        ``new``, ``code``, ``constant``, ``parameter``, ``input``, ``file``, ``environment``,
        ``package``, ``python``, ``version``, ``resource``, ``after``, ``expired``, ``forced``,
        ``dynamic``, ``value``, ``written``.
    text
        It, in words.
    """

    kind: str
    text: str


def reasons_between(
    before: Mapping[str, Any],
    now: Key,
    sources: Mapping[str, str],
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
        By parameter, the upstreams that its argument is a result of.
    code
        How the code differs.
    since
        The run that had the earlier key.
    """
    return list(dict.fromkeys(_differing(before, now.parts, sources, code, since)))


def _differing(
    before: Mapping[str, Any],
    now: Mapping[str, Any],
    sources: Mapping[str, str],
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
    if before.get("at_call") != now.get("at_call"):
        yield Reason("constant", "a value that its code reads changed")
    if before.get("environment") != now.get("environment"):
        yield Reason("environment", "a variable of the environment that its code reads changed")
    for name in _changed(before.get("arguments", {}), now.get("arguments", {})):
        if sources.get(name):
            yield Reason("input", f"the result of {sources[name]} changed")
        else:
            yield Reason("parameter", f"parameter {name!r} changed")
    for name in _changed(before.get("inputs", {}), now.get("inputs", {})):
        what = f"variable {name[4:]}" if name.startswith("env:") else f"file {name}"
        yield Reason("file" if not name.startswith("env:") else "environment", f"{what} changed")
    for name in _changed(before.get("packages", {}), now.get("packages", {})):
        yield Reason("package", f"package {name} changed")
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


def _text(one: Difference) -> str:
    item = one.after or one.before
    if one.kind == "package" and one.before and one.after:
        old, new = (each.digest.partition(" ")[0] for each in (one.before, one.after))
        return f"package {one.label} {f'{old} -> {new}' if old != new else 'was built again'}"
    what = "is new" if one.before is None else "is gone" if one.after is None else "changed"
    place = f" at {item.file}:{item.line}" if item and item.file and item.line else ""
    return f"{one.kind} {one.label} {what}{place}"


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in {**before, **now} if before.get(name) != now.get(name)]
