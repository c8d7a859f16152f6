"""Flows, tasks and runs at prompts and in notebooks: as text, or as a drawing and a table."""

from __future__ import annotations

import base64
import inspect
import itertools

from mxm.pipeline.checks.declarations import find_errors
from mxm.pipeline.introspection.annotations import type_text
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.taskruns import State
from mxm.pipeline.views.calls import rules_of, value_text
from mxm.pipeline.views.cards import View, alone, result_text, views_of
from mxm.pipeline.views.details import doc_of, signature_text, source_of
from mxm.pipeline.views.layers import TooLargeError
from mxm.pipeline.views.markup import Keys, escaped, shortened
from mxm.pipeline.views.names import wrapped
from mxm.pipeline.views.picture import draw, svg_file, unlinked
from mxm.pipeline.views.reported import Report, TaskReport, report_of
from mxm.pipeline.views.run_cards import bound_of_run, views_of_run
from mxm.pipeline.views.states import count_states, word
from mxm.pipeline.views.times import lasted
from mxm.pipeline.views.tree import tree_lines
from mxm.pipeline.views.values import brief

__all__ = ["html_of", "text_of"]

_WIDTH = 88
_MOST_LINES = 40
_MOST_ROWS = 30
_LARGEST = 1_000_000  # characters of a notebook's cell


def text_of(flow: object) -> str:
    """*flow*, decorated or a spec, as lines of text; of many tasks, only the first are drawn."""
    spec = flow if isinstance(flow, FlowSpec) else getattr(flow, "spec", None)
    if not isinstance(spec, FlowSpec):
        raise TypeError(f"{type(flow).__name__} is not a flow")
    parameters = [_parameter(parameter) for parameter in parameters_of(spec)]
    head = wrapped([*parameters[:-1], *(f"{last})" for last in parameters[-1:])], _WIDTH - 4)
    name = in_one_line(spec.name)
    if len(head) <= 1 and len(name) + sum(map(len, head)) < _WIDTH:
        lines = [f"{name}({head[0] if head else ')'}"]
    else:
        lines = [f"{name}(", *(f"    {line}" for line in head)]
    if spec.source:
        lines[-1] += f"  at {spec.source}"
    if spec.doc:
        lines.append(in_one_line(spec.doc.partition("\n")[0]))
    lines += [f"INVALID: {problem.code} {problem.message}" for problem in find_errors(spec)]
    tree = tree_lines(spec, width=_WIDTH)
    lines += itertools.islice(tree, _MOST_LINES)
    more = sum(1 for _ in tree)
    if more:
        lines.append(f"... and {more:,} lines more: mxm-pipeline graph {name}")
    return "\n".join(lines)


def _parameter(parameter: Parameter) -> str:
    """*parameter* as in a signature; if tasks differ, the default is omitted."""
    name = in_one_line(parameter.name)
    typed = parameter.annotation is not inspect.Parameter.empty
    text = f"{name}: {type_text(parameter.annotation)}" if typed else name
    if parameter.required:
        return text
    defaults = {value_text(each.default) for each in parameter.takers or (parameter,)}
    default = defaults.pop() if len(defaults) == 1 else "..."
    return f"{text} = {default}" if typed else f"{text}={default}"


def html_of(thing: object) -> str | None:
    """A flow, a task or a run as HTML for a notebook; None if it is invalid.

    The drawing is an image of its own, so that no style of it reaches the notebook.
    """
    if isinstance(thing, FlowRun):
        run = report_of(thing)
        view = views_of_run(run, bound_of_run(run), Keys())[0]
        return _beside(view, f"run {run.id} of {run.flow}", _run_rows(run))
    spec = thing if isinstance(thing, FlowSpec) else getattr(thing, "spec", None)
    if isinstance(spec, TaskSpec):
        return _beside(alone(spec), spec.name, _task_rows(spec))
    if isinstance(spec, FlowSpec) and not find_errors(spec):
        return _beside(views_of(spec, Keys())[0], spec.name, _flow_rows(spec))
    return None


def _beside(view: View, name: str, rows: str) -> str:
    """The drawing of *view* next to a table of *rows*; only the table if there is too much."""
    table = f'<table style="font-size:12px;text-align:left">{rows}</table>'
    try:
        cards = [unlinked(card) for card in view.cards]
        picture = draw(cards, view.edges, critical=view.critical)
    except TooLargeError:
        return table
    data = base64.b64encode(f"{svg_file(picture, in_one_line(name))}\n".encode()).decode()
    if len(data) > _LARGEST:
        return table
    image = (
        f'<img alt="the graph of {escaped(in_one_line(name))}" style="max-width:100%" '
        f'src="data:image/svg+xml;base64,{data}">'
    )
    style = "display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start"
    return f'<div style="{style}">{image}{table}</div>'


def _cells(*cells: str, tag: str = "td") -> str:
    style = ' style="text-align:left;vertical-align:top;padding:2px 14px 2px 0"'
    return f"<tr>{''.join(f'<{tag}{style}>{cell}</{tag}>' for cell in cells)}</tr>"


def _code(text: str, most: int = 80) -> str:
    return f"<code>{escaped(shortened(in_one_line(text), most))}</code>"


def _flow_rows(spec: FlowSpec) -> str:
    rows = [_cells("Task", "Returns", "What it does", tag="th")]
    for task in spec.tasks[:_MOST_ROWS]:
        doc = escaped(shortened(doc_of(task).partition("\n")[0], 100))
        rows.append(_cells(_code(task.name), _code(result_text(task)), doc))
    if len(spec.tasks) > _MOST_ROWS:
        rows.append(_cells(f"and {len(spec.tasks) - _MOST_ROWS:,} more"))
    return "".join(rows)


def _run_rows(run: Report) -> str:
    """The tasks of *run*, failed ones first, and how the run ended."""
    counts = count_states(task.state for task in run.tasks.values())
    said = ", ".join(f"{count:,} {word(state)}" for state, count in counts.items())
    rows = [
        _cells(f"<b>{run.state}</b>", lasted(run.seconds), escaped(said)),
        _cells("Task", "State", "Result", tag="th"),
    ]
    tasks = sorted(run.tasks.values(), key=lambda task: task.state != State.FAILED)
    for task in tasks[:_MOST_ROWS]:
        state = " ".join(filter(None, [word(task.state), lasted(task.took)]))
        rows.append(_cells(_code(task.name), state, _outcome(task)))
    if len(tasks) > _MOST_ROWS:
        rows.append(_cells(f"and {len(tasks) - _MOST_ROWS:,} more"))
    return "".join(rows)


def _outcome(task: TaskReport) -> str:
    if task.error is not None:
        return escaped(shortened(in_one_line(f"{task.error.type}: {task.error.message}"), 200))
    if task.has_result:
        return f"<code>{escaped(brief(task.result, 80))}</code>"
    return escaped(shortened(in_one_line(task.reason), 120))


def _task_rows(task: TaskSpec) -> str:
    said = {
        "Task": _code(task.name),
        "Call": _code(signature_text(task), 300),
        "What it does": escaped(shortened(doc_of(task).partition("\n\n")[0], 300)),
        "Runs": escaped("; ".join(rules_of(task))),
        "Retries": str(task.retries or ""),
        "Asset": _code(task.produces.id) if task.produces else "",
        "Source": _code(source_of(task)) if task.source else "",
    }
    return "".join(_cells(name, text) for name, text in said.items() if text)
