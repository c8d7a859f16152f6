"""What a report shows about one task, and about the run, next to the drawing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from mxm.pipeline.taskruns import HAVE_VALUES, State
from mxm.pipeline.views.fragments import TIMES, Links, code, panel_head, pill, row, section
from mxm.pipeline.views.markup import escaped, shortened
from mxm.pipeline.views.reported import Failed, Report, TaskReport
from mxm.pipeline.views.run_assets import asset_panel
from mxm.pipeline.views.states import word
from mxm.pipeline.views.times import lasted
from mxm.pipeline.views.values import item_text, parameter_text, quoted, result_html

__all__ = ["error_html", "origin_of", "run_panel", "task_panel"]

_MOST_ITEMS = 200
_LONGEST_LOG = 64_000
_LONGEST_MESSAGE = 2_000
_LONGEST_TRACEBACK = 20_000
_SLOWEST = 6
_ORIGINS = {
    "run": "given",
    "flow": "the flow's default",
    "task": "the task's params",
    "default": "the function's default",
}


def run_panel(run: Report, links: Links) -> str:
    """What is known about *run* as a whole."""
    place = f'<code class="src">{escaped(shortened(run.source, 120))}</code>' if run.source else ""
    parts = [panel_head(run.flow, ["flow", place], run.doc)]
    timed = [(task.took, name) for name, task in run.tasks.items() if task.took]
    slow = sorted(timed, key=lambda pair: -pair[0])[:_SLOWEST]
    rows = "".join(
        row(
            links.to(name),
            f'<i style="width:{100 * took / slow[0][0]:.0f}%"></i>',
            lasted(took),
        )
        for took, name in slow
    )
    parts.append(section("Slowest", f'<table class="kv slow">{rows}</table>' if rows else ""))
    if run.command:
        text = escaped(shortened(run.command, 2_000))
        parts.append(section("Command", f'<pre class="sig">{text}</pre>'))
    return "".join(parts)


def task_panel(task: TaskReport, run: Report, downstreams: Sequence[str], links: Links) -> str:
    """Everything known about *task* of *run*; *downstreams* are the tasks that need it."""
    parts = [_head(task, run, links)]
    if task.error is not None:
        parts.append(section("Error", error_html(task.error)))
    parts.append(section("Call", _call(task, run, links)))
    if task.has_result:
        parts.append(section("Result", result_html(task.result, task.returns)))
    if task.declares:
        parts.append(section("Asset", asset_panel(task)))
    passed = {name for name in task.upstream if task.arguments}
    after = [name for name in task.needs if name not in passed]
    parts.append(section("Runs after", links.all(after) if after else ""))
    parts.append(section("Needed by", links.all(downstreams) if downstreams else ""))
    parts.append(section("Attempts", _attempts(task)))
    if task.items is not None:
        parts.append(_items(task.items))
    parts.append(section("Log", _log(task.output)))
    return "".join(parts)


def _head(task: TaskReport, run: Report, links: Links) -> str:
    facts = ["failure allowed"] if task.allowed else []
    if len(task.attempts) > 1:
        facts.append(f'<span class="badge">{TIMES}{len(task.attempts)} attempts</span>')
    if task.slot and run.workers != 1:
        facts.append(f"worker {task.slot}")
    if task.source:
        facts.append(f'<code class="src">{escaped(shortened(task.source, 120))}</code>')
    why = ""
    if task.reason and task.error is None:
        text = escaped(shortened(task.reason, 400))
        cause = links.to(task.cause) if task.cause and task.cause != task.name else ""
        why = f'<p class="why">{word(task.state).capitalize()}: {text} {cause}</p>'
    return panel_head("", facts, task.doc, why)


def error_html(error: Failed) -> str:
    """An exception: its type and message, the code around it, and a folded traceback."""
    message = escaped(shortened(error.message, _LONGEST_MESSAGE))
    out = f'<p class="err" tabindex="0"><b>{escaped(shortened(error.type, 200))}</b> {message}</p>'
    out += _code_lines(error)
    if error.traceback:
        text = escaped(shortened(error.traceback, _LONGEST_TRACEBACK))
        log = f'<pre class="log" tabindex="0">{text}</pre>'
        out += f"<details><summary>Traceback</summary>{log}</details>"
    return out


def _code_lines(error: Failed) -> str:
    lines = list(error.lines)
    while lines and not lines[-1][1].strip():
        lines.pop()
    full = [text for _, text in lines if text.strip()]
    indent = min((len(text) - len(text.lstrip()) for text in full), default=0)
    rows = "".join(
        f"<tr{' class=at' if number == error.line else ''}><td>{number}</td>"
        f"<td><code>{escaped(shortened(text[indent:], 300))}</code></td></tr>"
        for number, text in lines
    )
    return f'<table class="code" tabindex="0">{rows}</table>' if rows else ""


def _call(task: TaskReport, run: Report, links: Links) -> str:
    """The signature, and each argument with the task that it comes from, or its value."""
    params = {str(each["name"]): each for each in run.params}
    rows: list[str] = []
    for name, argument in task.arguments.items():
        if "value" in argument:
            said = code(quoted(argument["value"]), 240)
        elif "parameter" in argument:
            said = _parameter(str(argument["parameter"]), params)
        else:
            said = _upstreams(argument.get("upstream"), task, links)
        rows.append(row(code(name, 60), said))
    table = f'<table class="kv">{"".join(rows)}</table>' if rows else ""
    signature = task.signature
    if signature:
        signature = f'<pre class="sig">{escaped(shortened(signature, 600))}</pre>'
    return signature + table


def _parameter(name: str, params: Mapping[str, Mapping[str, Any]]) -> str:
    if name not in params:
        return f'{code(name, 60)} <span class="or">parameter</span>'
    origin = escaped(shortened(origin_of(params[name]), 80))
    return f'{code(parameter_text(params[name]), 240)} <span class="or">{origin}</span>'


def origin_of(parameter: Mapping[str, Any]) -> str:
    """Where a parameter comes from, in words."""
    origin = str(parameter.get("origin") or "")
    return str(parameter.get("from") or _ORIGINS.get(origin, origin))


def _upstreams(source: object, task: TaskReport, links: Links) -> str:
    if isinstance(source, list):
        return links.some([str(name) for name in cast("list[object]", source)])
    text = str(source)
    if text in task.upstream:
        return links.to(text)
    # A part of a result, `load[0]`, or a list that is mapped: the longest name that it has.
    names = [name for name in task.upstream if name in text]
    name = max(names, key=len, default="")
    if not name:
        return code(text, 120)
    before, _, after = text.rpartition(name)
    return f"{escaped(before)}{links.to(name)}{code(after, 60) if after else ''}"


def _attempts(task: TaskReport) -> str:
    if len(task.attempts) < 2:
        return ""
    rows = "".join(
        row(
            str(number),
            pill(attempt.state),
            f'<span class="num">{lasted(attempt.ended - attempt.started)}</span>',
            escaped(shortened(attempt.error, 200)),
        )
        for number, attempt in enumerate(task.attempts, start=1)
    )
    return f'<table class="kv">{rows}</table>'


def _items(items: Mapping[str, Any]) -> str:
    counts = cast("Mapping[str, int]", items["count"])
    total = sum(counts.values())
    said = " · ".join(f"{count:,} {word(state)}" for state, count in counts.items())
    listed = cast("list[dict[str, Any]]", items["rows"])
    # Failed items first, then those without a value, each in the order of the list.
    listed = sorted(listed, key=_loudness)[:_MOST_ITEMS]
    rows = "".join(map(_item, listed))
    table = (
        '<table class="kv items"><thead><tr><th>Item</th><th>State</th><th>Time</th><th>Value</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )
    rest = total - len(listed)
    more = f'<p class="mut">and {rest:,} more</p>'
    over = escaped(shortened(str(items["over"]), 120))
    body = f'<p class="mut">{said}, of {over}</p>{table if rows else ""}{more if rest else ""}'
    return section(f"{total:,} item{'s' * (total != 1)}", body)


def _loudness(item: Mapping[str, Any]) -> int:
    if item["state"] == State.FAILED:
        return 0
    return 2 if item["state"] in HAVE_VALUES else 1


def _tries(attempts: int) -> str:
    if attempts < 2:
        return ""
    return f'<span class="badge" title="{attempts} attempts">{TIMES}{attempts}</span>'


def _item(item: Mapping[str, Any]) -> str:
    """The row of an item; why it has no value is in a row of its own, which has more room."""
    has_value = item["state"] in HAVE_VALUES
    cells = row(
        code(str(item["key"]), 60) + _tries(item["attempts"]),
        pill(item["state"]),
        lasted(item["seconds"]),
        code(item_text(item["value"]), 60) if has_value else "",
    )
    why = "" if has_value else str(item["error"] or item["reason"] or "").partition("\n")[0]
    if not why:
        return cells
    return f'{cells}<tr class="ie"><td colspan="4">{code(why, 200)}'


def _log(output: str) -> str:
    if not output:
        return ""
    shown = output if len(output) <= _LONGEST_LOG else f"…{output[-_LONGEST_LOG:]}"
    return f'<pre class="log" tabindex="0">{escaped(shown)}</pre>'
