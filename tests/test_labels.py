"""How tasks and flows are called in drawings: repeats, constants, and what a prompt shows."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from modules import module_of

import mxm
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.views.calls import call_text, constants_of, value_text
from mxm.pipeline.views.diagram import draw_dot, draw_mermaid
from mxm.pipeline.views.names import grouped, stem, wrapped
from mxm.pipeline.views.tree import draw_tree


def fn(*args: object) -> None: ...


def numbered(name: str, count: int) -> list[str]:
    """The names of *count* calls of one task."""
    return [name, *(f"{name}_{i}" for i in range(2, count + 1))]


# Names


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([], []),
        (["load"], ["load"]),
        (numbered("load", 3), ["load", "load_2", "load_3"]),
        (numbered("load", 300), ["load, load_2 ... load_300"]),
        (numbered("load", 300)[1:], ["load_2 ... load_300"]),
        ([f"t{i}" for i in range(9)], ["t0 ... t8"]),
        ([f"p{i:02}" for i in range(8, 13)], ["p08 ... p12"]),
        (
            ["book.load", *(f"book_{i}.load" for i in range(2, 9))],
            ["book.load, book_2.load ... book_8.load"],
        ),
        ([*numbered("a", 5), "x", *numbered("b", 4)], ["a, a_2 ... a_5", "x", "b, b_2 ... b_4"]),
        (["t1", "t2", "t4", "t5"], ["t1", "t2", "t4", "t5"]),
        (["a1_1", "a1_2", "a2_2", "a3_2"], ["a1_1", "a1_2", "a2_2", "a3_2"]),
        (["t1", "t2", "t3", "t4", "u5"], ["t1 ... t4", "u5"]),
        (["load", "loads_2"], ["load", "loads_2"]),
        (["two\nlines", "\x1b[31m"], ["two\\nlines", "\\x1b[31m"]),
    ],
)
def test_names_that_count_on_are_one(names: list[str], shown: list[str]) -> None:
    assert grouped(names) == shown


def test_names_are_wrapped_between_pieces() -> None:
    pieces = [f"piece{i}" for i in range(7)]
    lines = wrapped(pieces, 24)
    assert all(len(line) <= 24 for line in lines)
    assert " ".join(lines) == ", ".join(pieces)
    assert wrapped(["x" * 50, "y"], 24) == ["x" * 50 + ",", "y"]


@pytest.mark.parametrize("name", ["load", "load_2", "load_17"])
def test_repeats_have_one_stem(name: str) -> None:
    assert stem(name) == "load"


# Calls


class Side(enum.Enum):
    BUY = "buy"


class Loud:
    """Its own code must not run to show it."""

    def __repr__(self) -> str:
        raise SystemExit(0)

    __str__ = __repr__


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (20, "20"),
        ("SPY", "'SPY'"),
        (None, "None"),
        (date(2024, 1, 31), "2024-01-31"),
        (Decimal("0.10"), "0.10"),
        (Side.BUY, "Side.BUY"),
        (Path("/data"), "/data"),
        ([1, 2], "[1, 2]"),
        ((1, [2, 3, 4, 5]), "(1, [2, 3, 4, ...])"),
        ({"a": 1}, "{'a': 1}"),
        (frozenset({1}), "{1}"),
        ("x" * 99, "'" + "x" * 20 + "..."),
        ("\x1b[31m", "'\\x1b[31m'"),
        (fn, "fn"),
        (dict, "dict"),
        (Loud(), "<Loud>"),
        ([Loud()], "[<Loud>]"),
    ],
)
def test_value_is_shown_in_few_characters(value: object, text: str) -> None:
    assert value_text(value) == text


REPEATS = """
    import mxm
    from pydantic import SecretStr

    @mxm.task
    def load(symbol: str, token: SecretStr = "") -> list[float]:
        return [1.0]

    @mxm.task
    def mean(prices: list[float], window: int = 5, *weights: float) -> float:
        return 1.0

    @mxm.flow
    def risk(first: str = "SPY", window: int = 60):
        prices = load(first, token="hunter2")
        others = load("QQQ")
        return (
            mean(prices), mean(prices, 20), mean(others, window=50), mean(others, window=window),
            mean(load.named("both")(first), window, 0.5), mean([prices[0], others[0]], 3)
        )
    """


@pytest.fixture
def repeats(tmp_path: Path) -> FlowSpec:
    """A flow that calls two tasks more than once."""
    spec: FlowSpec = module_of(tmp_path, REPEATS).risk.spec
    return spec


def test_repeats_are_told_apart_by_what_their_calls_give_them(repeats: FlowSpec) -> None:
    assert [call_text(task) for task in repeats.tasks] == [
        "load(symbol=first, token=**********)",
        "load_2(symbol='QQQ')",
        "mean",
        "mean_2(window=20)",
        "mean_3(window=50)",
        "mean_4",
        "both(symbol=first)",
        "mean_5",
        "mean_6(window=3)",
    ]


def test_constants_are_values_by_parameter_and_secrets_are_masked(repeats: FlowSpec) -> None:
    constants = {task.name: constants_of(task) for task in repeats.tasks}
    assert constants["mean_2"] == {"window": 20}
    assert constants["mean"] == constants["mean_4"] == {}
    assert repr(constants["load"]) == "{'token': **********}"


@pytest.mark.parametrize("draw", [draw_tree, draw_mermaid, draw_dot])
def test_every_drawing_has_the_constants(repeats: FlowSpec, draw: Any) -> None:
    drawn = draw(repeats)
    assert "mean_2(window=20)" in drawn
    assert "hunter2" not in drawn


def test_constants_beyond_reason_are_cut(tmp_path: Path) -> None:
    text = """
        import mxm

        @mxm.task
        def wide(a, b, c, d):
            return 1

        @mxm.flow
        def long():
            return wide("a" * 99, list("bcdefgh"), {"c": "c" * 99}, "d" * 99)
        """
    [task] = module_of(tmp_path, text).long.spec.tasks
    assert call_text(task).startswith("wide(a='aaaa")
    assert call_text(task).endswith("...)")
    assert len(call_text(task)) < 70


# Trees


def test_tree_of_many_into_one_is_a_few_lines() -> None:
    loads = [TaskSpec(name, fn) for name in numbered("load", 300)]
    spec = FlowSpec("wide", [*loads, TaskSpec("merge", fn, upstream=numbered("load", 300))])
    assert draw_tree(spec).splitlines() == [
        "wide",
        "├── load",
        "│   └── merge <- load_2 ... load_300",
        "└── load_2 ... load_300  (299 tasks)",
    ]


def test_long_rows_of_names_are_wrapped() -> None:
    names = [f"load_{letter}{other}" for letter in "abcdef" for other in "abcdef"]
    tasks = [TaskSpec("first", fn), *(TaskSpec(name, fn, upstream="first") for name in names)]
    merge = TaskSpec("merge", fn, upstream=["first", *names], after=names[:2])
    drawn = draw_tree(FlowSpec("wide", [*tasks, merge]))
    assert max(map(len, drawn.splitlines())) <= 100
    below = drawn.partition("merge")[2]
    assert all(name in below for name in names)
    narrow = draw_tree(FlowSpec("wide", [*tasks, merge]), width=60)
    assert max(map(len, narrow.splitlines())) <= 60


def test_wrapped_lines_keep_the_lines_of_the_tree_beside_them() -> None:
    names = [f"load_{letter}{other}" for letter in "abcdef" for other in "abc"]
    tasks = [TaskSpec(name, fn) for name in names]
    merge = TaskSpec("merge", fn, upstream=names)
    tasks += [merge, TaskSpec("report", fn, upstream="merge"), TaskSpec("other", fn, names[0])]
    lines = draw_tree(FlowSpec("wide", tasks), width=60).splitlines()
    assert lines[1:7] == [
        "├── load_aa",
        "│   ├── merge",
        "│   │   │   <- load_ab, load_ac, load_ba, load_bb, load_bc,",
        "│   │   │      load_ca, load_cb, load_cc, load_da, load_db,",
        "│   │   │      load_dc, load_ea, load_eb, load_ec, load_fa,",
        "│   │   │      load_fb, load_fc",
    ]
    assert lines[7:9] == ["│   │   └── report", "│   └── other"]


def test_repeats_of_one_shape_are_drawn_once() -> None:
    tasks: list[TaskSpec] = []
    for i in range(1, 101):
        end = f"_{i}" if i > 1 else ""
        asset = AssetDecl(f"fit/{i}")
        tasks.append(TaskSpec(f"load{end}", fn))
        tasks.append(TaskSpec(f"clean{end}", fn, upstream=f"load{end}"))
        fit = TaskSpec(f"fit{end}", fn, upstream=f"clean{end}", after=f"load{end}", produces=asset)
        tasks.append(fit)
    assert draw_tree(FlowSpec("many", tasks)).splitlines() == [
        "many",
        "└── load, load_2 ... load_100  (100 tasks)",
        "    └── clean, clean_2 ... clean_100  (100 tasks)",
        (
            "        └── fit, fit_2 ... fit_100  (100 tasks) (after load, load_2 ... load_100)"
            " => fit/1 ... fit/100"
        ),
    ]


def test_one_repeat_of_another_shape_is_drawn_apart() -> None:
    tasks = [TaskSpec(name, fn) for name in numbered("load", 9)]
    tasks.append(TaskSpec("odd", fn, upstream="load_4"))
    assert draw_tree(FlowSpec("odd", tasks)).splitlines() == [
        "odd",
        "├── load, load_2, load_3, load_5 ... load_9  (8 tasks)",
        "└── load_4",
        "    └── odd",
    ]


def test_few_repeats_are_drawn_each() -> None:
    drawn = draw_tree(FlowSpec("few", [TaskSpec(name, fn) for name in numbered("load", 4)]))
    assert len(drawn.splitlines()) == 5


def test_chain_that_counts_on_is_one_line() -> None:
    tasks = [TaskSpec("t0", fn)]
    tasks += [TaskSpec(f"t{i}", fn, upstream=f"t{i - 1}") for i in range(1, 500)]
    tasks.append(TaskSpec("end", fn, upstream="t499"))
    assert draw_tree(FlowSpec("chain", tasks)).splitlines() == [
        "chain",
        "└── t0 -> t1 ... t499  (500 tasks)",
        "    └── end",
    ]


@pytest.mark.parametrize("count", [5, 50, 500])
def test_every_task_that_is_not_a_repeat_is_in_the_tree(count: int) -> None:
    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(count)]
    tasks = [TaskSpec(words[0], fn)]
    tasks += [TaskSpec(w, fn, upstream=words[i // 3]) for i, w in enumerate(words[1:])]
    lines = draw_tree(FlowSpec("ternary", tasks)).splitlines()
    assert sorted(line.split()[-1] for line in lines[1:]) == sorted(words)


# What a prompt and a notebook show


def test_flow_shows_its_name_parameters_and_tasks(tmp_path: Path) -> None:
    module = module_of(tmp_path, REPEATS)
    text = repr(module.risk)
    assert text.splitlines()[:2] == [
        (
            "risk(first: str = 'SPY', window: int = 60, token: SecretStr = **********)"
            f"  at {module.risk.source}"
        ),
        "├── load(symbol=first, token=**********)",
    ]
    assert str(module.risk) == text
    for shown in (module.risk, module.risk.spec):
        bundle = shown._repr_mimebundle_()
        assert bundle["text/plain"] == text
        assert "the graph of risk" in bundle["text/html"]


def test_flow_with_problems_shows_them() -> None:
    @mxm.task(upstream="nowhere")
    def late(rows: list[int], size: int, name: str = "x") -> int:
        return size

    @mxm.flow
    def wrong() -> Any:
        """Cannot run.

        More of it.
        """
        return late

    head, doc, problem, tree = repr(wrong).splitlines()
    assert head.startswith("wrong(size: int, name: str = 'x')  at ")
    assert doc == "Cannot run."
    assert problem == "INVALID: MXM102 unknown upstream 'nowhere' of task 'late'"
    assert tree == "└── late"


def test_flow_of_many_parameters_and_tasks_is_shown_in_part() -> None:
    def wide(a: int, b: int, **options: int) -> None: ...

    words = [chr(97 + i // 26) + chr(97 + i % 26) for i in range(200)]
    params = {f"parameter_{word}": 1 for word in words[:30]}
    scope: dict[str, Any] = {}
    exec(f"def takes(a, b, {', '.join(params)}): ...", scope)
    tasks = [TaskSpec(word, scope["takes"]) for word in words]
    lines = FlowSpec("many", tasks, params)._repr_mimebundle_()["text/plain"].splitlines()
    assert len(lines) < 60
    assert all(len(line) < 120 for line in lines)
    assert lines[-1] == "... and 160 lines more: mxm-pipeline graph many"


def test_flow_is_shown_in_short_where_its_own_code_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    @mxm.task
    def load(x: Any = Loud()) -> int:  # noqa: B008
        return 1

    @mxm.flow
    def risk() -> Any:
        return load

    assert repr(risk).startswith("risk(x: Any = <Loud>)  at ")
    monkeypatch.setattr(type(risk), "spec", property(lambda self: 1 / 0))
    assert repr(risk) == f"<flow 'risk' at {risk.source}>"


def test_prompt_shows_the_tree(tmp_path: Path) -> None:
    program = """
import mxm

@mxm.task
def load() -> int:
    return 1

@mxm.flow
def risk(size: int = 3):
    return load

risk
"""
    ran = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=program,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONIOENCODING": "utf-8"},
    )
    head, tree = ran.stdout.splitlines()
    assert head.startswith("risk(size: int = 3)  at <stdin>")
    assert tree == "└── load"
