"""The assets of a run: what each task or item wrote, where, its size, and its checks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

from mxm.pipeline.taskruns import HAVE_VALUES, State
from mxm.pipeline.views.fragments import TIMES, Links, code, counted
from mxm.pipeline.views.markup import escaped, shortened
from mxm.pipeline.views.picture import icon
from mxm.pipeline.views.reported import Document, Report, TaskReport
from mxm.pipeline.views.sizes import bytes_text
from mxm.pipeline.views.states import word
from mxm.pipeline.views.values import shape_of

__all__ = ["asset_panel", "asset_rows"]

_MOST_OF_TASK = 50  # items of one task
_MOST_CHECKS = 20
_MOST_SOURCES = 20


class _Part(NamedTuple):
    """What a task, or one of its items, was supposed to write."""

    item: str
    state: str
    written: Document | None
    result: object


def _parts(task: TaskReport) -> Sequence[_Part]:
    """What *task* was supposed to write: one asset, or one for each recorded item."""
    listed = cast("list[dict[str, Any]]", task.items["rows"]) if task.items else []
    if task.asset is not None or not any(each.get("asset") for each in listed):
        return [_Part("", task.state, task.asset, task.result)]
    return [
        _Part(str(each["key"]), each["state"], each.get("asset"), each["value"]) for each in listed
    ]


def asset_rows(run: Report, links: Links) -> str:
    """Rows of a table: each asset of *run*, also those that were not written, and why not."""
    return "".join(
        row for task in run.tasks.values() if task.declares for row in _rows(task, links)
    )


def _rows(task: TaskReport, links: Links) -> Iterator[str]:
    parts = _parts(task)
    for part in itertools.islice(parts, _MOST_OF_TASK):
        written = part.written or {}
        item = f'<span class="or">{code(part.item, 60)}</span>' if part.item else ""
        checks = _failed_checks(written)
        said = f"{_state(part)}; {checks}" if checks else _state(part)
        yield (
            f'<tr><td><span class="asset">{icon("asset")}{code(task.declares, 80)}</span></td>'
            f"<td>{code(partition, 80) if (partition := written.get('partition')) else ''}</td>"
            f"<td>{links.to(task.name)}{item}</td>"
            f'<td class="num">{escaped(_shape(written, part.result))}</td>'
            f'<td class="num">{_size(written)}</td>'
            f'<td class="mut">{escaped(shortened(said, 200))}</td></tr>'
        )
    total = sum(task.items["count"].values()) if task.items and parts[0].item else len(parts)
    rest = total - min(len(parts), _MOST_OF_TASK)
    if rest > 0:
        more = f"and {counted(rest, 'more item')}"
        yield f'<tr><td></td><td></td><td class="mut">{more}</td><td></td><td></td><td></td></tr>'


def _is_written(part: _Part) -> bool:
    """Whether it was written: for a value that a check rejected, the record has only the checks."""
    return part.written is not None and part.state in HAVE_VALUES


def _state(part: _Part) -> str:
    """Whether it was written, and why not."""
    if not _is_written(part):
        return f"not written: {'item' if part.item else 'task'} {word(part.state)}"
    return "written by an earlier run" if part.state == State.CACHED else "written"


def _shape(written: Document, result: object) -> str:
    rows, columns = written.get("rows"), written.get("columns")
    if rows is None:
        return shape_of(result)
    return f"{rows:,} {TIMES} {len(columns):,}" if columns else f"{rows:,}"


def _size(written: Document) -> str:
    size = written.get("size")
    return "" if size is None else bytes_text(size)


def _checks(written: Document) -> list[Mapping[str, Any]]:
    return cast("list[Mapping[str, Any]]", written.get("checks") or [])


def _failed_checks(written: Document) -> str:
    """Which checks of an asset failed."""
    failed = [str(each["name"]) for each in _checks(written) if not each["passed"]]
    if not failed:
        return ""
    return f"check{'s' * (len(failed) != 1)} failed: {', '.join(failed)}"


def asset_panel(task: TaskReport) -> str:
    """What *task* wrote, for its details: where, in which form, from what, and its checks."""
    head = f'<p class="asset">{icon("asset")}{code(task.declares, 120)}'
    parts = _parts(task)
    if parts[0].item:
        wrote = sum(map(_is_written, parts))
        return f'{head}<span class="mut">written for {counted(wrote, "listed item")}</span>'
    [part] = parts
    written = part.written or {}
    partition = written.get("partition")
    said = f"partition {partition} · " if partition else ""
    head += f'<span class="mut">{escaped(shortened(said + _state(part), 200))}</span>'
    facts = [
        ("path", code(str(written["path"]), 240) if written.get("path") else ""),
        ("size", _size(written)),
        ("rows", escaped(_shape(written, None))),
        ("format", escaped(str(written.get("format") or ""))),
        ("made from", _made_from(written)),
    ]
    rows = "".join(f"<tr><td>{name}<td>{text}" for name, text in facts if text)
    table = f'<table class="kv">{rows}</table>' if rows else ""
    return head + table + _checks_table(written)


def _made_from(written: Document) -> str:
    names = [str(name) for name in written.get("upstream") or ()]
    more = len(names) - _MOST_SOURCES
    said = " ".join(code(name, 120) for name in names[:_MOST_SOURCES])
    return f"{said} and {more:,} more" if more > 0 else said


def _checks_table(written: Document) -> str:
    checks = _checks(written)
    # What failed comes first.
    shown = sorted(checks, key=lambda each: bool(each["passed"]))[:_MOST_CHECKS]
    rows = "".join(
        f'<tr class="s-{"succeeded" if each["passed"] else "failed"}">'
        f"<td>{code(str(each['name']), 80)}<td>"
        f'<span class="state s-{"succeeded" if each["passed"] else "failed"}">'
        f"{icon('succeeded' if each['passed'] else 'failed')}"
        f"{'passed' if each['passed'] else 'failed'}</span>"
        f"<td>{escaped(shortened(str(each['message'] or ''), 200))}"
        for each in shown
    )
    more = len(checks) - len(shown)
    rest = f'<p class="mut">and {more:,} more</p>' if more > 0 else ""
    return f'<table class="kv checks">{rows}</table>{rest}' if rows else ""
