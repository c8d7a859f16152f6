"""Flows and tasks as prompts and notebooks show them: a tree in text, a drawing and a table."""

from __future__ import annotations

import base64
import inspect
import itertools

from mxm.pipeline.checks.declarations import find_errors
from mxm.pipeline.introspection.annotations import type_text
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.printable import in_one_line
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.views.calls import rules_of, value_text
from mxm.pipeline.views.cards import alone, result_text, views_of
from mxm.pipeline.views.details import doc_of, signature_text, source_of
from mxm.pipeline.views.layers import TooLargeError
from mxm.pipeline.views.markup import Keys, escaped, shortened
from mxm.pipeline.views.names import wrapped
from mxm.pipeline.views.picture import draw, svg_file, unlinked
from mxm.pipeline.views.tree import tree_lines

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
    """A flow, or a task, as HTML for a notebook; None where it is not valid.

    The drawing is an image of its own, so that no style of it reaches the notebook.
    """
    spec = thing if isinstance(thing, FlowSpec) else getattr(thing, "spec", None)
    if isinstance(spec, TaskSpec):
        view, rows = alone(spec), _task_rows(spec)
    elif isinstance(spec, FlowSpec) and not find_errors(spec):
        view, rows = views_of(spec, Keys())[0], _flow_rows(spec)
    else:
        return None
    table = f'<table style="font-size:12px;text-align:left">{rows}</table>'
    try:
        picture = draw([unlinked(card) for card in view.cards], view.edges)
    except TooLargeError:
        return table
    data = base64.b64encode(f"{svg_file(picture, in_one_line(spec.name))}\n".encode()).decode()
    if len(data) > _LARGEST:
        return table
    image = (
        f'<img alt="the graph of {escaped(in_one_line(spec.name))}" style="max-width:100%" '
        f'src="data:image/svg+xml;base64,{data}">'
    )
    style = "display:flex;flex-wrap:wrap;gap:16px;align-items:flex-start"
    return f'<div style="{style}">{image}{table}</div>'


def _cells(*cells: str, tag: str = "td") -> str:
    style = ' style="text-align:left;vertical-align:top"'
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
