"""Drawings in characters: every task and edge is there, whatever the names are."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.views.diagram import draw_dot, draw_mermaid
from mxm.pipeline.views.tree import ASCII, draw_tree


def fn(*args: object) -> None: ...


DIAMOND = FlowSpec(
    "diamond",
    [
        TaskSpec("top", fn),
        TaskSpec("left", fn, upstream=["top"]),
        TaskSpec("right", fn, upstream=["top"], produces=AssetDecl("right/daily")),
        TaskSpec("bottom", fn, upstream=["left", "right"]),
        TaskSpec("last", fn, after=["bottom"]),
        TaskSpec("alone", fn),
    ],
)

NAMES = [
    'say "hi"',
    "two\nlines",
    "größe 東京 📈",
    "back\\slash",
    "a<b>&#c;",
    "`code`",
    "end;",
    " ",
]
DRAWINGS: list[Callable[[FlowSpec], str]] = [draw_tree, draw_mermaid, draw_dot]


def test_tree_of_a_diamond() -> None:
    assert draw_tree(DIAMOND).splitlines() == [
        "diamond",
        "├── top",
        "│   ├── left",
        "│   │   └── bottom <- right",
        "│   │       └── last (after bottom)",
        "│   └── right => right/daily",
        "└── alone",
    ]


def test_tree_in_ascii() -> None:
    assert draw_tree(DIAMOND, ASCII).splitlines() == [
        "diamond",
        "+-- top",
        "|   +-- left",
        "|   |   \\-- bottom <- right",
        "|   |       \\-- last (after bottom)",
        "|   \\-- right => right/daily",
        "\\-- alone",
    ]


def test_mermaid_of_a_diamond() -> None:
    assert draw_mermaid(DIAMOND).splitlines() == [
        "flowchart TD",
        '    t0["top"]',
        '    t1["left"]',
        '    t2["right"]',
        '    t3["bottom"]',
        '    t4["last"]',
        '    t5["alone"]',
        "    t0 --> t1",
        "    t0 --> t2",
        "    t1 --> t3",
        "    t2 --> t3",
        "    t3 -.-> t4",
        '    t2 ==> a0[("right/daily")]',
    ]


def test_dot_of_a_diamond() -> None:
    assert draw_dot(DIAMOND).splitlines() == [
        'digraph "diamond" {',
        "    rankdir=TB;",
        "    node [shape=box, style=rounded];",
        '    "top";',
        '    "left";',
        '    "right";',
        '    "bottom";',
        '    "last";',
        '    "alone";',
        '    "top" -> "left";',
        '    "top" -> "right";',
        '    "left" -> "bottom";',
        '    "right" -> "bottom";',
        '    "bottom" -> "last" [style=dotted];',
        '    "asset:right/daily" [shape=cylinder, label="right/daily"];',
        '    "right" -> "asset:right/daily" [style=bold];',
        "}",
    ]


def test_order_is_drawn_apart_from_data_also_where_a_task_has_both() -> None:
    both = FlowSpec(
        "both",
        [TaskSpec("a", fn), TaskSpec("b", fn), TaskSpec("c", fn, upstream=["a"], after=["b"])],
    )
    assert "c (after b)" in draw_tree(both)
    assert "t0 --> t2" in draw_mermaid(both)
    assert "t1 -.-> t2" in draw_mermaid(both)
    assert '"b" -> "c" [style=dotted];' in draw_dot(both)
    assert '"a" -> "c";' in draw_dot(both)


@pytest.mark.parametrize("draw", DRAWINGS)
@pytest.mark.parametrize("name", NAMES)
def test_no_name_adds_a_line(draw: Callable[[FlowSpec], str], name: str) -> None:
    def lines(name: str) -> int:
        tasks = [TaskSpec(name, fn, produces=AssetDecl(name)), TaskSpec("b", fn, upstream=[name])]
        return len(draw(FlowSpec(name, tasks)).splitlines())

    assert lines(name) == lines("plain")


@pytest.mark.parametrize("name", NAMES)
def test_mermaid_labels_hold_nothing_that_mermaid_reads_as_its_own(name: str) -> None:
    drawn = draw_mermaid(FlowSpec("f", [TaskSpec(name, fn)])).splitlines()[1]
    label = re.fullmatch(r'    t0\["(.+)"\]', drawn)
    assert label is not None
    assert not set(label[1]) & set('"<>&`')
    assert re.sub(r"#(\w+);", "", label[1]).count("#") == 0


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ('say "hi"', "say #quot;hi#quot;"),
        ("two\nlines", "two lines"),
        ("größe 東京 📈", "größe 東京 📈"),
        ("a<b>&#c;", "a#lt;b#gt;#amp;#35;c;"),
    ],
)
def test_mermaid_label(name: str, label: str) -> None:
    assert f'["{label}"]' in draw_mermaid(FlowSpec("f", [TaskSpec(name, fn)]))


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ('say "hi"', '"say \\"hi\\""'),
        ("two\nlines", '"two\\nlines"'),
        ("größe 東京 📈", '"größe 東京 📈"'),
        ("back\\slash", '"back\\\\slash"'),
    ],
)
def test_dot_name(name: str, quoted: str) -> None:
    assert f"    {quoted};" in draw_dot(FlowSpec("f", [TaskSpec(name, fn)])).splitlines()


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_takes_what_is_drawn() -> None:
    for name in NAMES:
        tasks = [TaskSpec(name, fn, produces=AssetDecl(name)), TaskSpec("b", fn, upstream=[name])]
        drawn = draw_dot(FlowSpec(name, tasks))
        subprocess.run(["dot", "-Tplain"], input=drawn, text=True, check=True, timeout=60)


@pytest.mark.parametrize("draw", DRAWINGS)
def test_chain_of_10_000_tasks_is_drawn_without_recursion(draw: Callable[[FlowSpec], str]) -> None:
    tasks = [TaskSpec("t0", fn)]
    tasks += [TaskSpec(f"t{i}", fn, upstream=[f"t{i - 1}"]) for i in range(1, 10_000)]
    drawn = draw(FlowSpec("chain", tasks))
    assert "t9999" in drawn
    assert len(drawn) < 5_000_000


@pytest.mark.parametrize("draw", DRAWINGS)
def test_flow_without_tasks_is_drawn_too(draw: Callable[[FlowSpec], str]) -> None:
    assert draw(FlowSpec("empty"))
