"""A flow as a prompt and a notebook show it: name, parameters, tasks as a tree."""

from __future__ import annotations

import inspect
import itertools

from mxm.pipeline.checks.declarations import find_errors
from mxm.pipeline.introspection.annotations import type_text
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.printable import in_one_line
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.calls import value_text
from mxm.pipeline.views.names import wrapped
from mxm.pipeline.views.tree import tree_lines

__all__ = ["text_of"]

_WIDTH = 88
_MOST_LINES = 40


def text_of(flow: object) -> str:
    """*flow*, decorated or a spec, in lines of text; of many tasks the first are drawn."""
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
    """*parameter* as a signature has it; where tasks differ, their default is left open."""
    name = in_one_line(parameter.name)
    typed = parameter.annotation is not inspect.Parameter.empty
    text = f"{name}: {type_text(parameter.annotation)}" if typed else name
    if parameter.required:
        return text
    defaults = {value_text(each.default) for each in parameter.takers or (parameter,)}
    default = defaults.pop() if len(defaults) == 1 else "..."
    return f"{text} = {default}" if typed else f"{text}={default}"
