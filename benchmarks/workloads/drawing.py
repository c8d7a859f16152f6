"""Draw a flow or a run: python drawing.py KIND TASKS; prints seconds of CPU and size as JSON.

KIND is ``page`` or ``svg`` of desks with 24 tasks each, ``report`` of their run, or ``frame``: one
frame of the live progress of it; ``rich`` is such a frame by ``rich.Live``. ``flat`` is the layout
of a random graph with three edges a task; ``dot`` and ``mermaid`` print that graph for others.
"""

from __future__ import annotations

import io
import json
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

from mxm.pipeline import compile_flow, views
from mxm.pipeline.cli.block import Block
from mxm.pipeline.cli.live import Live
from mxm.pipeline.execution.events import RunStarted, StepStarted
from mxm.pipeline.spec import FlowSpec, TaskSpec
from mxm.pipeline.views.layers import Edge
from mxm.pipeline.views.layout import lay_out

DESK = 24


def prices(*upstream: object, window: int = 20) -> list[float]:
    """Prices of one desk over the window."""
    raise AssertionError(upstream, window)  # a drawing runs nothing


def ran(*upstream: list[float], window: int = 20) -> list[float]:
    """Prices of one desk over the window."""
    return [float(len(upstream)), float(window)]


def desks(count: int, fn: Callable[..., list[float]] = prices) -> FlowSpec:
    """A flow of *count* tasks: desks of 24 between a first and a last one."""
    tasks = [TaskSpec("calendar", fn)]
    ends: list[str] = []
    while len(tasks) + DESK < count or not ends:
        desk = f"desk_{len(ends) + 1}"
        for i in range(min(DESK, count - 2)):
            before = [f"{desk}.t{k}" for k in dict.fromkeys((i - 1, i // 2)) if 0 <= k < i]
            tasks.append(TaskSpec(f"{desk}.t{i}", fn, upstream=before or ["calendar"]))
        ends.append(tasks[-1].name)
    tasks += [TaskSpec(f"check_{i}", fn) for i in range(count - 1 - len(tasks))]
    return FlowSpec("desks", [*tasks, TaskSpec("total", fn, upstream=ends)])


def flat(count: int) -> tuple[list[str], list[Edge]]:
    """A random graph of *count* nodes and three times as many edges; always the same."""
    chosen = random.Random(1)
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < 3 * count:
        target = chosen.randrange(1, count)
        pairs.add((chosen.randrange(target), target))
    return [f"t{i}" for i in range(count)], [Edge(f"t{a}", f"t{b}") for a, b in sorted(pairs)]


def frames(spec: FlowSpec, count: int = 200) -> None:
    """Draw *count* frames, eight a second, of a run of which eight tasks are at work."""
    at = datetime.now(UTC)
    block = Block(io.StringIO(), lambda: (100, 40))
    live = Live(block, usual=lambda _: {task.name: 1.0 for task in spec.tasks})
    names = tuple(task.name for task in spec.tasks)
    live(RunStarted("run", at, spec, {}, names, "inline", "threads", 8, ()))
    for name in names[:8]:
        live(StepStarted("run", at, name, 1, at))
    begun = time.monotonic()
    for i in range(count):
        block.draw(begun + i / 8)
    block.finish()


def rich_frames(count: int = 200) -> None:
    """Draw *count* frames of ten rows as `frames` has them: eight tasks, what waits, and a bar."""
    from rich.console import Console
    from rich.live import Live as RichLive
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    with RichLive(console=console, auto_refresh=False) as live:
        for i in range(count):
            table = Table.grid(padding=(0, 2))
            for row in range(8):
                table.add_row("●", f"desk_1.t{row}", f"{i / 8:.1f} s", "usually 1.0 s")
            table.add_row("○", "1,992 waiting", "", "")
            table.add_row("", ProgressBar(2_000, 0, width=40), "0/2000", "")
            live.update(table, refresh=True)


def main() -> None:
    """Draw what the command line asks for."""
    kind, count = sys.argv[1], int(sys.argv[2])
    if kind in ("flat", "dot", "mermaid"):
        names, edges = flat(count)
        if kind == "mermaid":
            print("flowchart TD", *(f"{e.source} --> {e.target}" for e in edges), sep="\n")
            return
        if kind == "dot":
            print("digraph {", *(f"{e.source} -> {e.target};" for e in edges), "}")
            return
        sizes = dict.fromkeys(names, (120.0, 44.0))
        begun = time.process_time()
        lay_out(names, edges, sizes)
        size = 0
    elif kind == "frame":
        spec = desks(count)
        begun = time.process_time()
        frames(spec)
        size = 0
    elif kind == "rich":
        rich_frames(1)  # what it loads at first use
        begun = time.process_time()
        rich_frames()
        size = 0
    elif kind == "report":
        run = compile_flow(desks(count, ran), backend="inline", record=False).run()
        begun = time.process_time()
        size = len(views.html(run).encode())
    else:
        spec = desks(count)
        # Annotations and signatures are read once, by the check of every run.
        views.mermaid(spec)
        begun = time.process_time()
        size = len((views.html if kind == "page" else views.svg)(spec).encode())
    print(json.dumps({"seconds": time.process_time() - begun, "bytes": size}))


if __name__ == "__main__":
    main()
