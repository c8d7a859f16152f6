"""What is measured, and what it must reach."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from measuring import COMMAND, PYTHON, WORKLOADS, Place, Sample, middle, paired, place

EARLIER = "measured earlier elsewhere"


@dataclass
class Figure:
    """One line of the table; *reached* is None where there is nothing to reach."""

    what: str
    target: str
    seen: str
    reached: bool | None
    peer: str = ""
    samples: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rounds:
    """How often something is measured: plain Prefect takes 10 to 30 s a run, so it gets fewer."""

    quick: bool

    @property
    def many(self) -> int:
        return 3 if self.quick else 15

    @property
    def some(self) -> int:
        return 1 if self.quick else 5

    @property
    def few(self) -> int:
        """Three rounds of plain Prefect; none in a quick run."""
        return 0 if self.quick else 3


def rounded(values: list[Any], what: str | None = None) -> list[float]:
    """*values*, or one item of each, as they are kept in the results."""
    if what is not None:
        values = [v[what] if isinstance(v, dict) else getattr(v, what) for v in values]
    return [float(f"{value:.4g}") for value in values]


def times(samples: dict[str, list[Any]], what: str = "wall") -> dict[str, list[float]]:
    """One measure of every case, as it is kept in the results."""
    return {name: rounded(values, what) for name, values in samples.items()}


def prefect_home(where: Place) -> None:
    """Let plain Prefect make its database first: the migrations of a first run are not measured."""
    where.script("plain_four.py")
    where.end_strays()


def plain(where: Place, name: str, *args: object) -> Sample:
    """Run a plain Prefect workload, and end the server it may have left."""
    sample = where.script(name, *args)
    where.end_strays()
    return sample


def imports(rounds: Rounds) -> list[Figure]:
    """`import mxm` beside a bare interpreter."""
    with place() as where:
        where.run(PYTHON, "-c", "import mxm")  # writes its bytecode
        where.run(PYTHON, "-c", "import mxm; mxm.task; mxm.flow")
        taken = paired(
            rounds.many,
            bare=lambda: where.run(PYTHON, "-c", "pass"),
            mxm=lambda: where.run(PYTHON, "-c", "import mxm"),
            used=lambda: where.run(PYTHON, "-c", "import mxm; mxm.task; mxm.flow"),
        )
        check = "import sys, mxm; print(*{m.split('.')[0] for m in sys.modules})"
        loaded = set(where.run(PYTHON, "-c", check).out.split())
    bare = middle(taken["bare"], "wall")
    ratio, used = middle(taken["mxm"], "wall") / bare, middle(taken["used"], "wall") / bare
    heavy = sorted(loaded & {"prefect", "typer", "rich", "pydantic"})
    return [
        Figure(
            "`python -c 'import mxm'`",
            "<= 2x `python -c pass`",
            f"{ratio:.2f}x",
            ratio <= 2,
            "a bare interpreter, no flags",
            times(taken),
        ),
        Figure(
            "the same, with `mxm.task` and `mxm.flow` used",
            "<= 4x `python -c pass`",
            f"{used:.2f}x",
            used <= 4,
            "a bare interpreter, no flags",
        ),
        Figure(
            "of prefect, typer, rich, pydantic, `import mxm` loads",
            "none",
            ", ".join(heavy) or "none",
            not heavy,
        ),
    ]


def start(rounds: Rounds) -> list[Figure]:
    """`mxm-pipeline run` of four tasks beside `import prefect` and plain Prefect."""
    with place() as where:
        shutil.copy(WORKLOADS / "four.py", where.project)
        where.run(COMMAND, "run", "four")
        taken = paired(
            rounds.some,
            imported=lambda: where.run(PYTHON, "-c", "import prefect"),
            ours=lambda: where.run(COMMAND, "run", "four"),
        )
        by_hand: dict[str, list[Any]] = {"plain": [], "beside": []}
        if rounds.few:
            prefect_home(where)
            by_hand = paired(
                rounds.few,
                plain=lambda: plain(where, "plain_four.py"),
                beside=lambda: where.run(COMMAND, "run", "four"),
            )
    wall = middle(taken["ours"], "wall") / middle(taken["imported"], "wall")
    cpu = middle(taken["ours"], "cpu") / middle(taken["imported"], "cpu")
    what = "`mxm-pipeline run` of four tasks, fresh process"
    seen = f"{wall:.2f}x (CPU {cpu:.2f}x)"
    peer = "`python -c 'import prefect'`"
    rows = [
        Figure(what, "<= 0.95x `import prefect`", seen, wall <= 0.95, peer, times(taken)),
    ]
    if rounds.few:
        ratio = middle(by_hand["beside"], "wall") / middle(by_hand["plain"], "wall")
        told = f"plain Prefect, {middle(by_hand['plain'], 'wall'):.1f} s, {rounds.few} runs"
        rows.append(
            Figure(
                what,
                "<= 0.20x plain Prefect",
                f"{ratio:.2f}x",
                ratio <= 0.20,
                told,
                times(by_hand),
            )
        )
    return rows


def commands(rounds: Rounds) -> list[Figure]:
    """`list`, `graph`, `check` and an inline `run`, beyond a Typer app that does nothing."""
    with place() as where:
        where.script("project.py", 100, 20)
        cases: dict[str, Callable[[], Any]] = {
            "bare": lambda: where.run(PYTHON, "-c", "pass"),
            "noop": lambda: where.script("noop.py"),
            "list": lambda: where.run(COMMAND, "list"),
            "graph": lambda: where.run(COMMAND, "graph", "flow_50"),
            "check": lambda: where.run(COMMAND, "check"),
            "run": lambda: where.run(COMMAND, "run", "one.py", "--backend", "inline"),
        }
        for case in cases.values():
            case()  # bytecode is written once
        taken = paired(rounds.some, **cases)
        if "100 flows" not in where.run(COMMAND, "check").out:
            raise RuntimeError("check did not see the 100 flows")
    bare, noop = middle(taken["bare"], "wall"), middle(taken["noop"], "wall")
    peer = f"a no-op Typer app, {noop / bare:.1f}x bare"
    rows: list[Figure] = []
    for name, what, most in (
        ("list", "`list`, 100 flows of 20 tasks", 9),
        ("graph", "`graph NAME`, 100 flows of 20 tasks", 5),
        ("check", "`check`, 100 flows of 20 tasks", 10),
        ("run", "`run FILE --backend inline`, one task", 14),
    ):
        beyond = (middle(taken[name], "wall") - noop) / bare
        target = f"no-op Typer app + {most}x bare"
        rows.append(Figure(what, target, f"+ {beyond:.1f}x", beyond <= most, peer))
    rows[0].samples = times(taken)
    return rows


def define(rounds: Rounds) -> list[Figure]:
    """Define and check many tasks, in process."""
    with place() as where:

        def seconds(script: str, *args: object) -> Callable[[], float]:
            return lambda: where.script(script, *args).json()["seconds"]

        taken = paired(
            rounds.some,
            dicts=seconds("define.py", "dicts", 10_000),
            ours=seconds("define.py", "mxm", 10_000),
            large=seconds("define.py", "mxm", 100_000),
            large_dicts=seconds("define.py", "dicts", 100_000),
            alone=seconds("distinct.py", "alone", 10_000),
            distinct=seconds("distinct.py", "ours", 10_000),
            by_task=seconds("upstreams.py", "objects", 4_000),
            by_name=seconds("upstreams.py", "strings", 4_000),
        )
    ours, dicts = middle(taken["ours"]), middle(taken["dicts"])
    growth = middle(taken["large"]) / ours
    theirs = middle(taken["large_dicts"]) / dicts
    ratio = middle(taken["distinct"]) / middle(taken["alone"])
    named = middle(taken["by_name"]) / middle(taken["by_task"])
    return [
        Figure(
            "define and check 10,000 tasks, four shared functions",
            "<= 0.3 s",
            f"{ours:.2f} s, {ours / dicts:.0f}x plain dicts",
            ours <= 0.3,
            f"plain dicts and `graphlib` here {dicts:.3f} s; Kedro 0.48, Hamilton 0.64, Dagster "
            f"7.5 s {EARLIER}",
            {name: rounded(values) for name, values in taken.items()},
        ),
        Figure(
            "the same, 100,000 tasks",
            "linear, as plain dicts are",
            f"{growth:.1f}x the time of 10,000",
            growth <= theirs,
            f"plain dicts and `graphlib`: {theirs:.1f}x (both: the garbage collector)",
        ),
        Figure(
            "define and check 10,000 distinct annotated functions",
            "<= 2x reading them",
            f"{ratio:.2f}x",
            ratio <= 2,
            "`inspect.signature` + `get_type_hints` alone",
        ),
        Figure(
            "define and check 4,000 tasks whose upstreams are strings",
            "<= 2x Task objects",
            f"{named:.2f}x",
            named <= 2,
            "the same flow with Task objects as upstreams",
        ),
    ]


def inline(rounds: Rounds) -> list[Figure]:
    """The inline backend, from Python."""
    with place() as where:
        taken = paired(
            rounds.some,
            bare=lambda: where.run(PYTHON, "-c", "pass"),
            task=lambda: where.script("inline.py", 1_000).json()["task"],
            fan=lambda: where.script("fan.py", "inline", "sequential", 0, 1_000),
        )
    task = middle(taken["task"]) * 1e6
    fan, bare = middle(taken["fan"], "wall"), middle(taken["bare"], "wall")
    return [
        Figure(
            "inline, chain of 1,000, a task beyond its function",
            "<= 25 microseconds",
            f"{task:.0f} microseconds of CPU",
            task <= 25,
            f"Hamilton 50, pydantic-graph 110, Dask 280, Kedro 2,200 {EARLIER}",
            {"task": rounded(taken["task"])},
        ),
        Figure(
            "inline, 1 -> 1,000 -> 1, whole process",
            "<= 0.25 s",
            f"{fan:.2f} s ({fan / bare:.0f}x bare)",
            fan <= 0.25,
            f"doit 0.30, Dask 0.51 s {EARLIER}",
            {"fan": rounded(taken["fan"], "wall"), "bare": rounded(taken["bare"], "wall")},
        ),
    ]


def beside_plain(
    rounds: Rounds, what: str, most: float, ours: tuple[object, ...], theirs: tuple[object, ...]
) -> Figure:
    """What one more task costs beside plain Prefect; the ratio is of *most*'s measure, CPU."""
    with place() as where:
        cases: dict[str, Callable[[], Any]] = {
            "ours": lambda: where.script(str(ours[0]), *ours[1:]).json()
        }
        if rounds.few:
            prefect_home(where)
            cases["plain"] = lambda: plain(where, str(theirs[0]), *theirs[1:]).json()
        taken = paired(rounds.few or 1, **cases)
    mine = middle(taken["ours"], "cpu") * 1e3
    if not rounds.few:
        return Figure(what, f"<= {most}x plain Prefect", f"{mine:.2f} ms", None)
    hand = middle(taken["plain"], "cpu") * 1e3
    walls = middle(taken["ours"], "wall") / middle(taken["plain"], "wall")
    ratio = mine / hand
    return Figure(
        what,
        f"<= {most}x plain Prefect",
        f"{ratio:.3f}x: {mine:.2f} ms CPU (wall {walls:.3f}x)",
        ratio <= most,
        f"plain Prefect, {hand:.1f} ms, its server not counted, {rounds.few} runs",
        {"cpu": times(taken, "cpu"), "wall": times(taken, "wall")},
    )


def chain(rounds: Rounds) -> list[Figure]:
    """One more task in a chain."""
    what = "one more task, chain of 500"
    ours = "chain.py", "prefect", 500, 0
    return [beside_plain(rounds, what, 0.28, ours, ("plain_chain.py", 500, 0))]


def fan(rounds: Rounds) -> list[Figure]:
    """One more task in a fan-out on threads."""
    what = "one more task, fan-out of 500 on threads"
    ours = "fan.py", "prefect", "threads", 0, 500, 20
    return [beside_plain(rounds, what, 0.40, ours, ("plain_fan.py", "threads", 500, 20))]


def payload(rounds: Rounds) -> list[Figure]:
    """What tasks exchange, passed on."""
    what = "one more task, chain of 30, each passing on 2,000 dicts"
    ours = "chain.py", "prefect", 30, 2_000
    return [beside_plain(rounds, what, 0.05, ours, ("plain_chain.py", 30, 2_000))]


def wide(rounds: Rounds) -> list[Figure]:
    """A thousand tasks side by side, as a whole process."""
    with place() as where:
        cases: dict[str, Callable[[], Any]] = {
            "ours": lambda: where.script("fan.py", "prefect", "sequential", 0, 1_000)
        }
        if rounds.few:
            prefect_home(where)
            cases["plain"] = lambda: plain(where, "plain_fan.py", "threads", 1_000)
        taken = paired(rounds.few or 1, **cases)
    mine = middle(taken["ours"], "wall")
    seen, peer = f"{mine:.1f} s", f"plain Prefect 24.8 s {EARLIER}"
    if rounds.few:
        hand = middle(taken["plain"], "wall")
        seen += f", {mine / hand:.2f}x plain Prefect"
        peer = f"plain Prefect here {hand:.1f} s, {rounds.few} runs; 24.8 s {EARLIER}"
    what = "1 -> 1,000 -> 1, whole process"
    return [Figure(what, "<= 4.5 s", seen, mine <= 4.5, peer, times(taken))]


def memory(rounds: Rounds) -> list[Figure]:
    """A large array through five tasks."""
    with place() as where:
        cases: dict[str, Callable[[], Any]] = {
            "base": lambda: where.script("memory.py", "base", 200),
            "ours": lambda: where.script("memory.py", "run", 200),
        }
        if rounds.few:
            prefect_home(where)
            cases["plain"] = lambda: plain(where, "plain_memory.py", 200)
        taken = paired(rounds.few or 1, **cases)
    ratio = middle(taken["ours"], "peak") / middle(taken["base"], "peak")
    told = f"plain Prefect 562 MB {EARLIER}"
    if rounds.few:
        hand = middle(taken["plain"], "peak")
        told = f"plain Prefect here {hand:.0f} MB, {rounds.few} runs; 562 MB {EARLIER}"
    return [
        Figure(
            "200 MB array through 5 tasks, peak memory",
            "<= 1.15x array + interpreter with prefect",
            f"{ratio:.2f}x: {middle(taken['ours'], 'peak'):.0f} MB",
            ratio <= 1.15,
            told,
            times(taken, "peak"),
        )
    ]


def sleepers(rounds: Rounds) -> list[Figure]:
    """Tasks that wait, on eight threads."""
    with place() as where:
        taken = paired(
            rounds.some,
            prefect=lambda: where.script("sleep.py", "prefect").json(),
            inline=lambda: where.script("sleep.py", "inline").json(),
        )
    rows: list[Figure] = []
    for backend, most in (("prefect", 0.25), ("inline", 0.03)):
        first, second = middle(taken[backend], "first"), middle(taken[backend], "second")
        rows.append(
            Figure(
                f"1 -> 32 tasks sleeping 0.1 s -> 1 on 8 threads, {backend}, beyond 0.4 s",
                f"<= {most} s",
                f"{first:.3f} s (second run {second:.3f})",
                first <= most,
                "the ideal, 4 rounds of 0.1 s; the first run in a process",
                {"first": rounded(taken[backend], "first")},
            )
        )
    return rows


def again(rounds: Rounds) -> list[Figure]:
    """The second run of a compiled flow in one process."""
    with place() as where:
        where.env["PYTHONPATH"] = ":".join(
            part for part in (str(WORKLOADS), where.env.get("PYTHONPATH")) if part
        )
        taken = paired(rounds.some, ours=lambda: where.script("again.py", "prefect").json())
        told = f"plain Prefect 1,011 ms {EARLIER}"
        if rounds.few:
            prefect_home(where)
            hand = paired(rounds.few, plain=lambda: plain(where, "plain_four.py", "again").json())
            seconds = middle(hand["plain"], "seconds") * 1e3
            told = f"plain Prefect here {seconds:.0f} ms, {rounds.few} runs; 1,011 ms {EARLIER}"
    mine = middle(taken["ours"], "seconds") * 1e3
    what = "second run of a compiled flow in one process, 4 tasks"
    return [Figure(what, "<= 40 ms", f"{mine:.0f} ms", mine <= 40, told, times(taken, "seconds"))]


def processes(rounds: Rounds) -> list[Figure]:
    """Sixty trivial tasks in two worker processes."""
    with place() as where:
        cases: dict[str, Callable[[], Any]] = {
            "ours": lambda: where.script("fan.py", "prefect", "processes", 2, 60).json()
        }
        if rounds.few:
            prefect_home(where)
            cases["plain"] = lambda: plain(where, "plain_fan.py", "processes", 60).json()
        taken = paired(rounds.few or 1, **cases)
    mine = middle(taken["ours"], "task") * 1e3
    what = "`--runner processes`, 60 trivial tasks on 2 workers, a task, their start included"
    target = "<= 0.15x Prefect's ProcessPoolTaskRunner"
    if not rounds.few:
        return [Figure(what, target, f"{mine:.1f} ms", None)]
    hand = middle(taken["plain"], "task") * 1e3
    peer = f"ProcessPoolTaskRunner here {hand:.0f} ms, {rounds.few} runs; 142 ms {EARLIER}"
    ratio = mine / hand
    seen = f"{ratio:.3f}x: {mine:.1f} ms"
    return [Figure(what, target, seen, ratio <= 0.15, peer, times(taken, "task"))]


def maps(rounds: Rounds) -> list[Figure]:
    """Maps: an item beside a plain loop, beside Prefect's own, beside a task of its own."""
    rows: list[Figure] = []
    with place() as where:
        loop = where.script("maps.py", "loop", 100_000).json()
        kept = where.script("maps.py", "memory", 100_000).json()["item"]
        alone = paired(rounds.some, ours=lambda: where.script("maps.py", "loop", 10_000).json())[
            "ours"
        ]
        beyond = middle(alone, "item") * 1e6
        what = "inline, map over 10,000 trivial items, an item beyond a plain loop"
        seen = f"{beyond:.1f} microseconds of CPU"
        samples = {"item": rounded(alone, "item")}
        rows.append(
            Figure(what, "<= 15 microseconds", seen, beyond <= 15, "a list comprehension", samples)
        )
        growth = loop["item"] / loop["few"]
        what = "the same, 100,000 items beside 1,000"
        rows.append(Figure(what, "flat", f"{growth:.2f}x an item", growth <= 1.25, samples=loop))
        what = "the same, memory an item keeps beyond its value"
        rows.append(Figure(what, "<= 2 KB", f"{kept:.0f} bytes", kept <= 2048))

        cases: dict[str, Callable[[], Any]] = {
            "sequential": lambda: where.script(
                "maps.py", "more", "prefect", "sequential", 10_000, 100
            ).json(),
            "threads": lambda: where.script(
                "maps.py", "more", "prefect", "threads", 10_000, 100
            ).json(),
        }
        if rounds.few:
            prefect_home(where)
            cases["plain"] = lambda: plain(where, "plain_map.py", 200, 20).json()
        taken = paired(rounds.few or 1, **cases)
        for runner in ("sequential", "threads"):
            mine = middle(taken[runner], "item") * 1e3
            what = f"one more item of a map, prefect, `{runner}`"
            target = "<= 0.03x Prefect's own .map"
            if not rounds.few:
                rows.append(Figure(what, target, f"{mine:.3f} ms", None))
                continue
            hand = middle(taken["plain"], "item") * 1e3
            peer = f"Prefect's .map here {hand:.1f} ms, {rounds.few} runs"
            seen = f"{mine / hand:.4f}x: {mine:.3f} ms"
            rows.append(Figure(what, target, seen, mine / hand <= 0.03, peer, times(taken, "item")))

        cases = {
            "items": lambda: where.script(
                "maps.py", "more", "inline", "processes", 10_000, 100
            ).json(),
            "tasks": lambda: where.script("maps.py", "apart", 400).json(),
            "floor": lambda: where.script("maps.py", "floor", 400).json(),
        }
        taken = paired(rounds.some, **cases)
        item, task = middle(taken["items"], "item"), middle(taken["tasks"], "item")
        what = "`--runner processes`, one more of 10,000 trivial items"
        seen = f"{item / task:.3f}x: {item * 1e6:.0f} microseconds"
        peer = f"400 tasks of their own, {task * 1e3:.2f} ms each, start included"
        kept_samples = {name: rounded(taken[name], "item") for name in ("items", "tasks")}
        rows.append(
            Figure(what, "<= 0.05x one task each", seen, item / task <= 0.05, peer, kept_samples)
        )
        ratio = middle(taken["floor"], "run") / middle(taken["floor"], "floor")
        what = "`--runner processes`, 400 items of 5 ms on two workers"
        rows.append(
            Figure(
                what,
                "<= 1.2x multiprocessing.Pool, halves",
                f"{ratio:.2f}x",
                ratio <= 1.2,
                "",
                times({"floor": taken["floor"]}, "run"),
            )
        )
    return rows


def together(rounds: Rounds) -> list[Figure]:
    """Runs at the same time, also the first two in a fresh home."""
    rows: list[Figure] = []
    for what, count, peer in (
        ("8 runs at once", 8, "plain Prefect prints `database is locked`, earlier elsewhere"),
        (
            "two first runs at once in a fresh home",
            2,
            f"plain Prefect: 3 of 8 failed, {EARLIER}",
        ),
    ):
        good = tried = locked = left = 0
        for _ in range(rounds.some if count == 2 else max(1, rounds.few)):
            with place() as where:
                shutil.copy(WORKLOADS / "four.py", where.project)
                if count > 2:
                    where.run(COMMAND, "run", "four")
                begun = [where.start(COMMAND, "run", "four") for _ in range(count)]
                ended = [each.wait() for each in begun]
                tried += count
                good += sum(s.code == 0 and '"report": 6.0' in s.out for s in ended)
                locked += sum("locked" in s.err for s in ended)
                left += any(where.home.rglob("*"))
        seen = f"{good} of {tried} succeed, {locked} with lock errors, {left} left files at home"
        fine = good == tried and locked == 0
        rows.append(Figure(what, "all succeed, no lock errors", seen, fine, peer))
    return rows


def drawings(rounds: Rounds) -> list[Figure]:
    """Pages, layouts and frames, beside rich, and Graphviz and Mermaid where they can be had."""
    with place() as where:

        def drawn(*args: object) -> Callable[[], dict[str, float]]:
            return lambda: where.script("drawing.py", *args).json()

        taken = paired(
            rounds.some,
            small=drawn("page", 30),
            large=drawn("page", 2_000),
            flat=drawn("flat", 600),
            few=drawn("flat", 150),
            report=drawn("report", 2_000),
            frame=drawn("frame", 2_000),
            rich=drawn("rich", 2_000),
        )
        graphviz = shutil.which("dot")
        theirs: list[Sample] = []
        if graphviz and rounds.few:
            graph = where.project / "flat.dot"
            graph.write_text(where.script("drawing.py", "dot", 600).out)
            theirs = [where.run(graphviz, "-Tsvg", "-o", os.devnull, str(graph))]
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        mermaid = None
        if chromium and shutil.which("npm") and rounds.few:
            graph = where.project / "flat.mmd"
            graph.write_text(where.script("drawing.py", "mermaid", 150).out)
            mermaid = where.script("mermaid.py", chromium, graph).json()["seconds"]
    small, large, flat = (middle(taken[name], "seconds") for name in ("small", "large", "flat"))
    few = middle(taken["few"], "seconds")
    size = middle(taken["large"], "bytes") / 1e6
    report, report_size = middle(taken["report"], "seconds"), middle(taken["report"], "bytes") / 1e6
    frame = middle(taken["frame"], "seconds") / 200 * 1e3
    rich = middle(taken["rich"], "seconds") / 200 * 1e3
    peer = theirs[0].cpu if theirs else None
    return [
        Figure(
            "`graph --format html`, 30 tasks, the drawing and the page",
            "<= 60 ms",
            f"{small * 1e3:.0f} ms of CPU, {middle(taken['small'], 'bytes') / 1e3:.0f} kB",
            small <= 0.06,
            samples={"small": rounded(taken["small"], "seconds")},
        ),
        Figure(
            "the same, 2,000 tasks: 84 drawings, details of each task",
            "<= 3 s, <= 3.5 MB",
            f"{large:.1f} s of CPU, {size:.1f} MB",
            large <= 3 and size <= 3.5,
            samples={"large": rounded(taken["large"], "seconds")},
        ),
        Figure(
            "layout of a random graph, 600 nodes and 1,800 edges, both directions",
            "<= 0.1x Graphviz" if peer else "<= 1 s",
            f"{flat:.2f} s of CPU" + (f", {flat / peer:.3f}x" if peer else ""),
            flat <= (0.1 * peer if peer else 1),
            f"`dot -Tsvg` here {peer:.0f} s of CPU, one run" if peer else "",
            {"flat": rounded(taken["flat"], "seconds")},
        ),
        Figure(
            "the same of 150 nodes and 450 edges",
            "<= 0.2x Mermaid" if mermaid else "",
            f"{few * 1e3:.0f} ms of CPU" + (f", {few / mermaid:.3f}x" if mermaid else ""),
            few <= 0.2 * mermaid if mermaid else None,
            f"Mermaid in Chromium here {mermaid:.1f} s, one run" if mermaid else "",
            {"few": rounded(taken["few"], "seconds")},
        ),
        Figure(
            "the report of a run of 2,000 tasks: drawings, timeline, details of each task",
            "<= 3 s, <= 3.5 MB",
            f"{report:.1f} s of CPU, {report_size:.1f} MB",
            report <= 3 and report_size <= 3.5,
            samples={"report": rounded(taken["report"], "seconds")},
        ),
        Figure(
            "a frame of live progress, 2,000 tasks, eight at work",
            "<= 2 ms",
            f"{frame:.2f} ms of CPU, {frame / rich:.2f}x",
            frame <= 2,
            f"`rich.Live` with ten rows here {rich:.1f} ms",
            {
                "frame": rounded(taken["frame"], "seconds"),
                "rich": rounded(taken["rich"], "seconds"),
            },
        ),
    ]


def recording(rounds: Rounds) -> list[Figure]:
    """What it costs to record a run."""
    with place() as where:
        taken = [where.script("record.py", "inline", 500).json() for _ in range(rounds.some)]
        through = [where.script("record.py", "prefect", 200).json() for _ in range(rounds.some)]
    cost = middle([(each["on"] - each["off"]) / 500 for each in taken]) * 1e6
    ratio = middle([each["on"] / each["off"] for each in through])
    inline_ratio = middle([each["on"] / each["off"] for each in taken])
    return [
        Figure(
            "recording, inline, chain of 500, a task",
            "<= 80 microseconds",
            f"{cost:.0f} microseconds of CPU ({inline_ratio:.1f}x a run that is not recorded)",
            cost <= 80,
            samples={"runs": taken},
        ),
        Figure(
            "recording, Prefect, chain of 200",
            "<= 1.15x",
            f"{ratio:.2f}x",
            ratio <= 1.15,
            samples={"runs": through},
        ),
    ]


def caching(rounds: Rounds) -> list[Figure]:
    """What keys, kept values, a full hit, fingerprints and a long history cost."""
    with place() as where:

        def taken(case: str) -> dict[str, float]:
            runs = [where.script("cache.py", case).json() for _ in range(rounds.some)]
            return {name: middle([run[name] for run in runs]) for name in runs[0]}

        keys, kept, hits = taken("keying"), taken("storing"), taken("hits")
        prints, past, reads = taken("fingerprints"), taken("history"), taken("reads")
    slowest = min(keys["numpy"], keys["pandas"])
    ratio = kept["write"] / kept["keep"]
    more = max(past["runs_many"] - past["runs_1"], past["plan_many"] - past["plan_1"])
    share = (reads["on"] - reads["off"]) / 10  # of 1,000 files; 100 in a second
    replay = hits["hit"] / hits["cold"]
    return [
        Figure(
            "keys of NumPy and pandas, MB in a second of CPU",
            ">= 300",
            f"{keys['numpy']:.0f} and {keys['pandas']:.0f}",
            slowest >= 300,
            samples={"seen": keys},
        ),
        Figure(
            "keys of a list of short texts, the same",
            ">= 100",
            f"{keys['texts']:.0f}",
            keys["texts"] >= 100,
        ),
        Figure(
            "to keep a value of 200 MB",
            ">= 0.5x the speed of writing it, with fdatasync",
            f"{ratio:.2f}x",
            ratio >= 0.5,
            samples={"seen": kept},
        ),
        Figure(
            "a chain of 1,000 cached tasks, all from the cache",
            "<= 0.3 s",
            f"{hits['hit']:.2f} s of CPU ({replay:.2f}x the run that kept them)",
            hits["hit"] <= 0.3,
            samples={"seen": hits},
        ),
        Figure(
            "fingerprints of 30 tasks that reach 300 functions",
            "<= 400 ms, <= 30 ms where the files are known",
            f"{prints['cold'] * 1e3:.0f} ms, {prints['warm'] * 1e3:.0f} ms of CPU",
            prints["cold"] <= 0.4 and prints["warm"] <= 0.03,
            samples={"seen": prints},
        ),
        Figure(
            "`runs` and `plan` with 10,000 runs beside one",
            "<= +0.2 s",
            f"+{more:.3f} s of CPU",
            more <= 0.2,
            samples={"seen": past},
        ),
        Figure(
            "noting what a task reads that opens 100 files in a second",
            "<= 3 %",
            f"{share:.1%}",
            share <= 0.03,
            samples={"seen": reads},
        ),
    ]


def assets(rounds: Rounds) -> list[Figure]:
    """A large frame that is written, a catalogue of 10,000 writes, and a backfill of 250 days."""
    with place() as where:
        large = [where.script("assets.py", "frame", 200).json() for _ in range(min(rounds.some, 3))]
    with place() as small, place() as full:
        small.script("assets.py", "catalogue", 1)
        full.script("assets.py", "catalogue", 10_000)

        def verb(where: Place, *words: str) -> Callable[[], Sample]:
            return lambda: where.run(COMMAND, "assets", *words, ok=False)

        taken = paired(
            rounds.some,
            few=verb(small),
            many=verb(full),
            few_stale=verb(small, "stale"),
            many_stale=verb(full, "stale"),
        )
        # The processes that ask git are part of it: a run waits for none of them.
        days = ("--for", "day=1..250", "--backend", "inline", "--quiet")
        backfills = paired(
            min(rounds.some, 3),
            filled=lambda: small.run(COMMAND, "run", "four", *days),
            runs=lambda: small.script("assets.py", "tasks", 251),
            first=lambda: small.script("assets.py", "tasks", 1),
        )
    ratio = middle([each["ours"] / each["plain"] for each in large])
    listed = middle(taken["many"], "cpu") - middle(taken["few"], "cpu")
    stale = middle(taken["many_stale"], "cpu") - middle(taken["few_stale"], "cpu")
    filled = middle(backfills["filled"], "cpu")
    alone = middle(backfills["runs"], "cpu") - middle(backfills["first"], "cpu")
    return [
        Figure(
            "a frame of 200 MB as the asset of a task, parquet",
            "<= 1.1x to_parquet and fsync",
            f"{ratio:.2f}x",
            ratio <= 1.1,
            samples={"runs": large},
        ),
        Figure(
            "`assets`, 10,000 writes beside one",
            "<= + 0.2 s",
            f"+ {listed:.2f} s of CPU",
            listed <= 0.2,
            samples=times(taken),
        ),
        Figure("`assets stale`, the same", "<= + 0.2 s", f"+ {stale:.2f} s of CPU", stale <= 0.2),
        Figure(
            "a backfill of 250 days, four tasks, inline, start included",
            "<= 250 runs in one process + 2 s",
            f"{filled / alone:.2f}x, {filled - alone:+.2f} s of CPU",
            filled - alone <= 2,
            samples=times(backfills),
        ),
    ]


BENCHMARKS: dict[str, Callable[[Rounds], list[Figure]]] = {
    "import": imports,
    "start": start,
    "commands": commands,
    "define": define,
    "inline": inline,
    "recording": recording,
    "cache": caching,
    "chain": chain,
    "fan": fan,
    "wide": wide,
    "payload": payload,
    "memory": memory,
    "sleep": sleepers,
    "again": again,
    "processes": processes,
    "maps": maps,
    "drawings": drawings,
    "assets": assets,
    "together": together,
}
