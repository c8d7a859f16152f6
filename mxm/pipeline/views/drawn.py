"""Flows and runs as text: SVG, an HTML page, Mermaid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from mxm.pipeline.checks.declarations import require_valid
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import FlowSpec
from mxm.pipeline.views.cards import overview, views_of
from mxm.pipeline.views.diagram import draw_mermaid, draw_run_mermaid
from mxm.pipeline.views.layers import TooLargeError
from mxm.pipeline.views.markup import Keys, escaped
from mxm.pipeline.views.page import draw_page
from mxm.pipeline.views.picture import MARGIN, Picture, draw, svg_file, unlinked
from mxm.pipeline.views.report import draw_report
from mxm.pipeline.views.reported import Report, report_of
from mxm.pipeline.views.run_cards import bound_of_run, views_of_run

__all__ = ["Flows", "HasSpec", "html", "mermaid", "run_svg", "specs_of", "svg"]


@runtime_checkable
class HasSpec(Protocol):
    """Anything with a flow's spec, such as a decorated flow."""

    @property
    def spec(self) -> FlowSpec:
        """The flow as data."""
        ...


Flows: TypeAlias = "FlowSpec | HasSpec | Iterable[FlowSpec | HasSpec]"

_HEADING = 38  # px above each drawing of several


def specs_of(flows: Flows) -> list[FlowSpec]:
    """The specs of *flows*, one or several, decorated or not.

    Raises
    ------
    TypeError
        One of them is not a flow, or there is none.
    GraphError
        One of them is not valid.
    """
    specs: list[FlowSpec] = []
    for flow in (flows,) if isinstance(flows, (FlowSpec, HasSpec)) else flows:
        spec = flow if isinstance(flow, FlowSpec) else getattr(flow, "spec", None)
        if not isinstance(spec, FlowSpec):
            raise TypeError(f"{type(flow).__name__} is not a flow")
        specs.append(require_valid(spec))
    if not specs:
        raise TypeError("there is no flow to draw")
    return specs


def svg(flows: Flows | FlowRun) -> str:
    """Draw a flow, or several one below the other, or a run, as the text of an SVG file.

    A run shows the state and the time of each task, and what its end waited for. A flow of more
    than 150 tasks has one card for each sub-flow; without any, one for repeats of a task. The file
    has light and dark colours, and needs no other file. Nothing runs.

    Parameters
    ----------
    flows
        A flow, decorated or a `FlowSpec`, or several; or a `FlowRun`, just ended or loaded.

    Raises
    ------
    TypeError
        It is not a flow.
    GraphError
        The graph is wrong; every problem is named.
    PipelineError
        There is too much to draw.

    Examples
    --------
    >>> from mxm.pipeline.spec import FlowSpec, TaskSpec
    >>> from mxm.pipeline.views import svg
    >>> svg(FlowSpec("risk", [TaskSpec("load", print)])).startswith("<svg")
    True
    """
    if isinstance(flows, FlowRun):
        return run_svg(report_of(flows))
    specs = specs_of(flows)
    keys = Keys()
    drawings: list[tuple[str, Picture]] = []
    try:
        if len(specs) > 1:
            paths = [(str(i),) for i in range(len(specs))]
            whole = overview(specs, paths, keys)
            drawings.append(("Flows", draw([unlinked(c) for c in whole.cards], whole.edges)))
        for i, spec in enumerate(specs):
            view = views_of(spec, keys, (str(i),))[0]
            drawings.append((spec.name, draw([unlinked(c) for c in view.cards], view.edges)))
    except TooLargeError as error:
        raise PipelineError(str(error), hint="the formats tree, mermaid and dot show it") from None
    if len(drawings) == 1:
        return svg_file(drawings[0][1], in_one_line(specs[0].name)) + "\n"
    return svg_file(_stacked(drawings), f"{len(specs)} flows") + "\n"


def run_svg(run: Report) -> str:
    """The drawing of *run* as the text of an SVG file.

    Raises
    ------
    PipelineError
        There is too much to draw.
    """
    view = views_of_run(run, bound_of_run(run), Keys())[0]
    try:
        drawn = draw([unlinked(c) for c in view.cards], view.edges, critical=view.critical)
    except TooLargeError as error:
        raise PipelineError(str(error), hint="the format html has a table") from None
    return svg_file(drawn, in_one_line(f"run {run.id} of {run.flow}")) + "\n"


def _stacked(drawings: Sequence[tuple[str, Picture]]) -> Picture:
    """Drawings below each other, each under its name."""
    parts: list[str] = []
    y = 0.0
    for name, picture in drawings:
        title = escaped(in_one_line(name))
        parts.append(
            f'<text class="hd" x="{MARGIN}" y="{y + 28:g}">{title}</text>'
            f'<g transform="translate(0 {y + _HEADING:g})">{picture.body}</g>'
        )
        y += picture.height + _HEADING
    return Picture("".join(parts), max(picture.width for _, picture in drawings), y)


def html(flows: Flows | FlowRun) -> str:
    """Draw a flow, several, or a run, as the text of a page that loads nothing from elsewhere.

    The page has the drawing, the tasks in a table, and the details of each; a large flow also a
    drawing of each sub-flow, several flows one of each and one of the assets that they write.
    Nothing runs. Of a run it is the report: timeline, drawing, failures, and the details of each
    task; secrets are masked.

    Parameters and errors are those of `svg`; what is too large is left out of the page.

    Examples
    --------
    >>> from mxm.pipeline.spec import FlowSpec, TaskSpec
    >>> from mxm.pipeline.views import html
    >>> html(FlowSpec("risk", [TaskSpec("load", print)])).startswith("<!doctype html>")
    True
    """
    if isinstance(flows, FlowRun):
        return draw_report(report_of(flows))
    return draw_page(specs_of(flows))


def mermaid(flows: Flows | FlowRun) -> str:
    """Draw one flow, several, or a run, as a Mermaid flowchart, for a README.

    A flow of more than 400 edges is folded as in `svg`: Mermaid draws at most 500. Of a run each
    state has a look of its own. Nothing runs.

    Parameters
    ----------
    flows
        Decorated flows or specs; or a `FlowRun`, just ended or loaded.

    Raises
    ------
    TypeError
        One of them is not a flow.
    GraphError
        One of them has problems; the error lists all of them.

    Examples
    --------
    >>> from mxm.pipeline.spec import FlowSpec, TaskSpec
    >>> from mxm.pipeline.views import mermaid
    >>> print(mermaid(FlowSpec("risk", [TaskSpec("load", print)])))
    flowchart TD
        t0["load"]
    """
    if isinstance(flows, FlowRun):
        run = report_of(flows)
        return draw_run_mermaid(run, views_of_run(run, None, Keys())[0])
    return draw_mermaid(*specs_of(flows))
