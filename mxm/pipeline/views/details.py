"""What a page shows about one task, and about a flow: the panel next to the drawing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from mxm.pipeline.bindings import Each, Param, PerItem, by_parameter, parts_in
from mxm.pipeline.bindings import Upstream as UpstreamBinding
from mxm.pipeline.graph import FlowGraph
from mxm.pipeline.introspection.annotations import hints_of, result_hint, type_text
from mxm.pipeline.introspection.signatures import VARIADIC, signature_of
from mxm.pipeline.introspection.uses import resources_of
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.values.secrets import secret_parameters
from mxm.pipeline.views.calls import constants_of, item_sources, rules_of, seconds_text, value_text
from mxm.pipeline.views.fragments import Links, code, panel_head, section
from mxm.pipeline.views.markup import Keys, escaped, shortened
from mxm.pipeline.views.picture import icon

__all__ = [
    "chips_of",
    "doc_of",
    "flow_panel",
    "signature_text",
    "source_of",
    "task_panel",
]

_MOST_PARTS = 60
_MOST_ENDS = 20
_MOST_CHIPS = 8


def doc_of(task: TaskSpec) -> str:
    """The docstring of *task*'s function, or ``""``."""
    doc = getattr(task.fn, "__doc__", None)
    return inspect.cleandoc(doc) if isinstance(doc, str) and not isinstance(task.fn, type) else ""


def source_of(thing: TaskSpec | FlowSpec) -> str:
    """Where *thing* is declared, or ``""``."""
    return str(thing.source) if thing.source else ""


def task_panel(task: TaskSpec, graph: FlowGraph, keys: Keys, path: tuple[str, ...]) -> str:
    """Everything known about *task* before a run."""
    links = Links(keys, path, bare=True)
    source = source_of(task)
    place = f'<code class="src">{escaped(shortened(source, 120))}</code>' if source else ""
    remarks = [*(f"each of {text}" for text in item_sources(task)), *rules_of(task)]
    facts = [*(escaped(remark) for remark in (*remarks, *_options(task))), place]
    parts = [panel_head("", facts, doc_of(task)), section("Call", _call(task, links))]
    if task.produces:
        asset = task.produces
        asset_html = f'<p class="asset">{icon("asset")}{code(asset.id, 120)}'
        if asset.partition_key:
            asset_html += f'<span class="mut">by {escaped(asset.partition_key)}</span>'
        parts.append(section("Asset", asset_html + "</p>"))
    after = [name for name in graph.upstreams[task.name] if name not in task.upstream]
    if after:
        parts.append(section("Runs after", links.all(after)))
    if graph.downstreams[task.name]:
        parts.append(section("Needed by", links.all(graph.downstreams[task.name])))
    return "".join(parts)


def _options(task: TaskSpec) -> list[str]:
    options: list[str] = []
    if task.retries:
        options.append(f"{task.retries} retr{'y' if task.retries == 1 else 'ies'}")
    if task.timeout_s is not None:
        options.append(f"timeout {seconds_text(task.timeout_s)}")
    return options


def _call(task: TaskSpec, links: Links) -> str:
    """The signature, and where each argument comes from."""
    rows: list[str] = []
    constants = constants_of(task)
    for name, binding in by_parameter(task.fn, task.bindings).items():
        if name in constants:
            said = code(value_text(constants[name]), 200)
        else:
            # Some upstreams may not be in the flow, for example if a task is shown alone.
            whole = binding.binding if isinstance(binding, PerItem) else binding
            inner = whole.items if isinstance(whole, Each) else whole
            many = "each of " if isinstance(whole, Each) else ""
            said = many + " ".join(
                links.to(part.name)
                if isinstance(part, UpstreamBinding)
                else f'{code(str(part), 60)} <span class="or">parameter</span>'
                if isinstance(part, Param)
                else code(value_text(part.value), 60)
                for part in list(parts_in([inner]))[:_MOST_PARTS]
            )
        rows.append(f"<tr><td>{code(name, 60)}</td><td>{said}</td></tr>")
    table = f'<table class="kv">{"".join(rows)}</table>' if rows else ""
    return f'<pre class="sig">{escaped(shortened(signature_text(task), 600))}</pre>{table}'


def signature_text(task: TaskSpec) -> str:
    """The signature of *task*'s function as it is written; defaults of secrets are masked."""
    name = in_one_line(getattr(task.fn, "__name__", task.name))
    signature = signature_of(task.fn)
    if signature is None:
        return f"{name}(...)"
    hints: Mapping[str, object] = hints_of(task.fn)
    secrets, resources = secret_parameters(task.fn), resources_of(task.fn)
    params: list[str] = []
    for parameter in signature.parameters.values():
        text = {VARIADIC[0]: "*", VARIADIC[1]: "**"}.get(parameter.kind, "") + parameter.name
        typed = parameter.annotation is not inspect.Parameter.empty
        if typed:
            text += f": {type_text(hints.get(parameter.name, parameter.annotation))}"
        if parameter.default is not inspect.Parameter.empty:
            default = value_text(parameter.default)
            if parameter.name in secrets:
                default = "**********"
            elif parameter.name in resources:
                default = f"use({resources[parameter.name].name})"
            text += f" = {default}" if typed else f"={default}"
        params.append(text)
    made = ""
    if signature.return_annotation is not inspect.Signature.empty:
        made = f" -> {type_text(result_hint(task.fn))}"
    return in_one_line(f"{name}({', '.join(params)}){made}")


def _default(parameter: Parameter) -> str:
    if parameter.required:
        return "required"
    defaults = {value_text(each.default) for each in parameter.takers or (parameter,)}
    return defaults.pop() if len(defaults) == 1 else "..."


def chips_of(spec: FlowSpec) -> str:
    """The parameters of *spec* and their defaults, in a line."""
    parameters = parameters_of(spec)
    chips = [
        f'<span class="chip"><span>{escaped(shortened(in_one_line(p.name), 40))}</span>'
        f"{escaped(shortened(_default(p), 40))}</span>"
        for p in parameters[:_MOST_CHIPS]
    ]
    if len(parameters) > _MOST_CHIPS:
        chips.append(f'<span class="mut">and {len(parameters) - _MOST_CHIPS} more</span>')
    return "".join(chips)


def flow_panel(spec: FlowSpec, graph: FlowGraph, keys: Keys, path: tuple[str, ...]) -> str:
    """What is known about *spec* as a whole."""
    links = Links(keys, path)
    source = source_of(spec)
    place = f'<code class="src">{escaped(source)}</code>' if source else ""
    when = " ".join(filter(None, (spec.schedule_cron, spec.timezone)))
    schedule = f"<code>{escaped(when)}</code>" if spec.schedule_cron else ""
    parts = [panel_head(spec.name, ["flow", schedule, place], spec.doc)]
    rows = [
        f"<tr><td>{code(p.name, 60)}</td><td>{code(_default(p), 120)} "
        f'<span class="or">{escaped(shortened(type_text(p.annotation), 60))}</span></td></tr>'
        for p in parameters_of(spec)
    ]
    if rows:
        parts.append(section("Parameters", f'<table class="kv">{"".join(rows)}</table>'))
    order = graph.order()
    first = [name for name in order if not graph.upstreams[name]]
    last = [name for name in order if not graph.downstreams[name]]
    parts.append(section("Starts with", links.all(first, _MOST_ENDS)))
    parts.append(section("Ends with", links.all(last, _MOST_ENDS)))
    return "".join(parts)
