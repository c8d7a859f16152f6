"""SVG and pages: what is drawn and said of flows, in files that are well formed and complete."""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from command import call
from hypothesis import given, settings

import mxm
from mxm.pipeline import views
from mxm.pipeline.bindings import Bindings, Each, Upstream
from mxm.pipeline.errors import GraphError, PipelineError
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.testing.strategies import flows
from mxm.pipeline.views.colours import DARK, LIGHT
from mxm.pipeline.views.markup import Keys, columns, escaped, middle_out

SVG = "{http://www.w3.org/2000/svg}"


def bundle_of(thing: Any) -> dict[str, str]:
    """What a notebook shows of *thing*."""
    bundle: dict[str, str] = thing._repr_mimebundle_()
    return bundle


def fn(*args: object) -> None:
    """Do nothing."""


def gain(symbol: str) -> float:
    """Gain of one symbol."""
    return 0.0


def symbols() -> list[str]:
    return []


MAPPED = FlowSpec(
    "mapped",
    [
        TaskSpec("symbols", symbols, produces=AssetDecl("symbols/daily")),
        TaskSpec("gain", gain, bindings=Bindings((Each(Upstream("symbols")),))),
        TaskSpec("alert", fn, after=["gain"], run_if="failed", allow_failure=True),
        TaskSpec("close", fn, after=["alert"], run_if="always"),
    ],
)


def chain(names: list[str]) -> FlowSpec:
    ups = [[], *([name] for name in names)]
    return FlowSpec(
        "chain", [TaskSpec(n, fn, upstream=u) for n, u in zip(names, ups, strict=False)]
    )


def cards(svg: str) -> list[tuple[str, str]]:
    """Both lines of each card."""
    root = ET.fromstring(svg)
    found = [n for n in root.iter() if n.get("class") == "n"]
    return [(n[-2].text or "", n[-1].text or "") for n in map(texts, found)]


def texts(node: Any) -> list[Any]:
    return [child for child in node if child.tag == f"{SVG}text"]


def page_cards(html: str) -> list[str]:
    """The names on the cards of the first drawing."""
    view = html.partition('<div class="view"')[2].partition("</svg></div>")[0]
    return re.findall('class="nm"[^>]*>([^<]*)<', view)


@settings(max_examples=25, deadline=None)
@given(flows())
def test_an_svg_is_well_formed_and_has_every_task(spec: FlowSpec) -> None:
    svg = views.svg(spec)
    assert [name for name, _ in cards(svg)] == [middle_out(name, 24) for name in order_of(spec)]
    assert svg == views.svg(spec)


def order_of(spec: FlowSpec) -> list[str]:
    from mxm.pipeline.graph import FlowGraph

    return FlowGraph(spec).order()


def test_a_mapped_task_shows_its_source_and_rules_are_named() -> None:
    assert cards(views.svg(MAPPED)) == [
        ("symbols", "list[str]"),
        ("gain", "each of symbols"),
        ("alert", "run if failed · may fail"),
        ("close", "run always"),
    ]
    assert views.svg(MAPPED).count('class="stack"') == 1
    assert views.svg(MAPPED).count('href="#i-asset"') == 1
    assert "<title>gain, list[float], each of symbols</title>" in views.svg(MAPPED)


def test_mapped_tasks_and_rules_in_mermaid() -> None:
    drawn = views.mermaid(MAPPED).splitlines()
    assert drawn[1:5] == [
        '    t0["symbols"]',
        '    t1[["gain(symbol=each of symbols)"]]',
        '    t2["alert<br>run if failed<br>may fail"]',
        '    t3["close<br>run always"]',
    ]


def test_an_svg_takes_nothing_from_elsewhere() -> None:
    svg = views.svg(MAPPED).replace("http://www.w3.org/2000/svg", "")
    assert "http" not in svg
    assert "<script" not in svg
    assert not re.search(r"url\((?!#)", svg)
    assert "<a " not in svg


def test_a_page_takes_nothing_from_elsewhere_and_says_so() -> None:
    html = views.html(MAPPED)
    assert not re.search(r"(src|href)=\"(?!#)", html)
    assert not re.search(r"url\((?!#)|@import|https?:", html)
    assert "default-src 'none'" in html
    script = html.partition("<script>")[2].partition("</script>")[0]
    assert "innerHTML" not in script
    assert "fetch(" not in script


HOSTILE = [
    "</script><script>alert(1)</script>",
    "say \"hi\" & 'bye'",
    "]]><b>",
    "&lt;already&gt;",
    "\u202egpj.exe",
    "nul\0esc\x1b[31m",
    "東京の価格",
    "e\u0301" * 20,
    "x" * 300,
    "half \ud800",
    "new\nline",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text_whatever_they_hold(name: str) -> None:
    def function() -> None: ...

    function.__doc__ = name
    spec = FlowSpec(name, [TaskSpec(name, function, produces=AssetDecl(name))], {name: name})
    svg, html = views.svg(spec), views.html(spec)
    svg.encode()
    html.encode()
    [(label, _)] = cards(svg)
    assert columns(label) <= 24
    for text in (svg, html):
        assert not set(text) & set("\0\x1b\u202e")
    assert html.count("<script") == html.count("</script") == 1
    assert "<b>" not in html.replace("<b>1 task</b>", "")
    # Its address is one of the page's own characters.
    [key] = re.findall('<tr id="r-([^"]*)"', html)
    assert re.fullmatch(r"[A-Za-z0-9_.~-]{1,200}", key)
    assert f'<template id="d-{key}">' in html


def test_every_task_of_a_page_has_card_row_and_details_under_one_key() -> None:
    html = views.html(MAPPED)
    for key in ("symbols", "gain", "alert", "close"):
        assert f'<a class="n" href="#{key}"' in html
        assert f'<tr id="r-{key}">' in html
        assert f'<template id="d-{key}">' in html
    ids = re.findall(' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_links_of_a_page_lead_to_what_is_there() -> None:
    big = FlowSpec("big", [TaskSpec(f"d{i}.{n}", fn) for i in range(60) for n in "abc"])
    for html in (views.html(MAPPED), views.html([MAPPED, big]), views.html(big)):
        rows = set(re.findall('<tr id="r-([^"]*)"', html))
        shown = set(re.findall('data-view="([^"]*)"', html))
        symbols_there = set(re.findall('<(?:symbol|marker) id="([^"]*)"', html))
        for link in re.findall('href="#([^"]*)"', html.partition("<script>")[0]):
            if link.startswith("/"):
                assert link[1:] in shown
            else:
                assert link in rows | symbols_there


def test_the_details_of_a_mapped_task() -> None:
    html = views.html(MAPPED)
    details = html.partition('<template id="d-gain">')[2].partition("</template>")[0]
    assert "gain(symbol: str) -&gt; float" in details
    assert "each of symbols" in details
    assert "Gain of one symbol." in details
    assert re.search("Needed by.*#alert", details)


def test_the_value_of_a_secret_is_nowhere() -> None:
    pydantic = pytest.importorskip("pydantic")
    SecretStr: Any = pydantic.SecretStr

    def load(token: Any) -> None: ...

    load.__annotations__ = {"token": SecretStr}
    spec = FlowSpec("f", [TaskSpec("load", load, params={"token": "hunter2"})])
    html = views.html(spec)
    assert "hunter2" not in html
    assert "**********" in html


def test_every_task_of_a_mapped_flow_names_the_list_of_its_items() -> None:
    @mxm.task
    def listed() -> list[str]:
        return []

    @mxm.task
    def load(symbol: str) -> float:
        return 0.0

    @mxm.task
    def double(price: float) -> float:
        return price

    @mxm.flow
    def one(symbol: str) -> float:
        return double(load(symbol))

    @mxm.flow
    def desks() -> list[float]:
        return one.map(listed())

    assert cards(views.svg(desks)) == [
        ("listed", "list[str]"),
        ("one.load", "each of listed"),
        ("one.double", "each of listed"),
    ]
    assert "one.load(symbol=each of listed)" in views.mermaid(desks)
    assert "one.double(each of listed)" in views.mermaid(desks)
    assert views.html(desks).count('class="stack"') == 2


def test_a_signature_names_the_resource_that_it_uses() -> None:
    @mxm.resource
    def db() -> Iterator[int]:
        yield 1

    @mxm.task
    def load(engine: int = mxm.use(db)) -> int:
        return engine

    @mxm.flow
    def stored() -> int:
        return load()

    assert "load(engine: int = use(db)) -&gt; int" in views.html(stored)


def test_a_large_flow_is_folded_to_its_sub_flows_each_with_a_drawing() -> None:
    tasks = [TaskSpec("universe", fn)]
    for i in range(40):
        tasks += [
            TaskSpec(f"desk_{i}.{name}", fn, upstream=[before])
            for before, name in zip(
                ["universe", *(f"desk_{i}.{n}" for n in "abcd")], "abcde", strict=True
            )
        ]
    tasks.append(TaskSpec("total", fn, upstream=[f"desk_{i}.e" for i in range(40)]))
    html = views.html(FlowSpec("desks", tasks))
    assert page_cards(html) == ["universe", *(f"desk_{i}" for i in range(40)), "total"]
    shown = re.findall('data-view="([^"]*)"', html)
    assert shown == ["", *(f"desk_{i}" for i in range(40)), "*"]
    part = html.partition('data-view="desk_3"')[2].partition("</svg></div>")[0]
    names = re.findall('class="nm"[^>]*>([^<]*)<', part)
    assert names == ["universe", *(f"desk_3.{n}" for n in "abcde"), "total"]
    assert len(cards(views.svg(FlowSpec("desks", tasks)))) == 42


def test_the_table_of_a_large_flow_is_folded_as_its_drawing_is() -> None:
    tasks = [TaskSpec("start", fn)]
    tasks += [TaskSpec(f"desk_{i}.t{k}", fn, upstream=["start"]) for i in range(20) for k in (0, 1)]
    assert '<tr class="band">' not in views.html(FlowSpec("small", tasks))
    tasks += [TaskSpec(f"more.t{k}", fn, upstream=["start"]) for k in range(120)]
    large = views.html(FlowSpec("large", tasks))
    assert large.count('<tr class="band">') == large.count('<tbody class="of" hidden>') == 21
    assert large.count('<tr id="r-') == len(tasks)


def test_a_large_flow_without_sub_flows_is_folded_by_repeats_of_a_layer() -> None:
    loads = ["load", *(f"load_{i}" for i in range(2, 101))]
    cleans = ["clean", *(f"clean_{i}" for i in range(2, 101))]
    tasks = [TaskSpec(name, fn) for name in loads]
    tasks += [TaskSpec(c, fn, upstream=[u]) for c, u in zip(cleans, loads, strict=True)]
    tasks.append(TaskSpec("join", fn, upstream=cleans))
    html = views.html(FlowSpec("wide", tasks))
    assert page_cards(html) == ["load ×100", "clean ×100", "join"]


def test_many_tasks_between_the_same_two_share_a_frame() -> None:
    desks = [f"desk_{i}" for i in range(83)]
    tasks = [TaskSpec("a", fn), *(TaskSpec(d, fn, upstream=["a"]) for d in desks)]
    svg = views.svg(FlowSpec("fan", [*tasks, TaskSpec("z", fn, upstream=desks)]))
    assert svg.count('class="frame"') == 1
    assert svg.count('<path class="e"') == 2
    assert len(cards(svg)) == 85


def test_what_is_too_large_is_said_and_the_table_has_it_all() -> None:
    tasks = [
        TaskSpec(f"x{'y' * i}", fn, upstream=[f"x{'y' * k}" for k in range(max(0, i - 1), i)])
        for i in range(300)
    ]
    last = TaskSpec("last", fn, upstream=[task.name for task in tasks])
    spec = FlowSpec("large", [*tasks, last])
    with pytest.raises(PipelineError, match="301 tasks in 301 layers are too many to draw"):
        views.svg(spec)
    html = views.html(spec)
    assert "Not drawn: 301 tasks" in html
    assert html.count('<tr id="r-') == 301


def test_several_flows_have_a_drawing_each_and_one_of_their_assets() -> None:
    other = FlowSpec("other", [TaskSpec("symbols", fn, produces=AssetDecl("symbols/daily"))])
    html = views.html([MAPPED, other])
    assert page_cards(html) == ["mapped", "other", "symbols/daily"]
    assert re.findall('data-view="([^"]*)"', html) == ["", "mapped", "other"]
    assert '<tr id="r-mapped.symbols">' in html
    assert '<tr id="r-other.symbols">' in html
    names = [name for name, _ in cards(views.svg([MAPPED, other]))]
    assert names == ["mapped", "other", "symbols/daily", *order_of(MAPPED), "symbols"]
    drawn = views.mermaid([MAPPED, other])
    assert drawn.count("subgraph") == 2
    assert drawn.count('[("symbols/daily")]') == 1
    assert drawn.count("==> a0") == 2


def test_flows_of_one_name_and_tasks_of_one_key_are_kept_apart() -> None:
    one = FlowSpec("f", [TaskSpec("a b", fn), TaskSpec("a~20~b", fn)])
    html = views.html([one, one])
    ids = re.findall(' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))
    assert html.count('<tr id="r-') == 4


def test_decorated_flows_and_specs_are_drawn_alike() -> None:
    @mxm.task
    def load() -> int:
        return 1

    @mxm.flow
    def decorated() -> int:
        return load()

    assert views.svg(decorated) == views.svg(decorated.spec)
    assert "decorated" in views.html([decorated, MAPPED])


def test_what_cannot_be_drawn_is_an_error() -> None:
    with pytest.raises(TypeError, match="int is not a flow"):
        views.svg([3])  # type: ignore[list-item] # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="no flow"):
        views.html([])
    with pytest.raises(GraphError):
        views.mermaid(FlowSpec("wrong", [TaskSpec("a", fn, upstream=["b"])]))


def test_drawing_calls_no_task() -> None:
    def boom() -> None:
        raise AssertionError

    spec = FlowSpec("f", [TaskSpec("boom", boom)])
    assert "boom" in views.svg(spec) + views.html(spec) + views.mermaid(spec)


def contrast(one: str, two: str) -> float:
    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, bright = sorted((light(one), light(two)))
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_can_be_seen_on_every_ground(colours: Mapping[str, str]) -> None:
    grounds = ["bg", "panel", "raise", "accent-bg"]
    for text, ground in itertools.product(["ink", "ink-2", "ink-3", "accent"], grounds):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    states = ["succeeded", "failed", "running", "cached", "skipped", "cancelled", "retried"]
    for text, ground in itertools.product(states, ["bg", "panel"]):
        assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["failed"], colours["failed-bg"]) >= 4.5
    assert contrast(colours["retried"], colours["retried-bg"]) >= 4.5
    assert contrast(colours["pending"], colours["bg"]) >= 3  # of icons alone
    assert contrast(colours["edge"], colours["bg"]) >= 2.95
    assert contrast(colours["failed-line"], colours["bg"]) >= 2.95
    assert set(LIGHT) == set(DARK)


def test_text_is_measured_in_columns() -> None:
    assert columns("abc") == 3
    assert columns("東京") == 4
    assert columns("e\u0301") == 1
    assert middle_out("load_fundamentals_of_all_daily", 24) == "load_fundamen…_all_daily"
    assert columns(middle_out("東" * 40, 24)) <= 24
    assert middle_out("a\n b", 24) == "a b"
    assert escaped("a\tb\n<\x07") == "a\tb\n&lt;\ufffd"


def test_keys_are_unique_and_of_plain_characters() -> None:
    keys = Keys()
    assert keys.of("load_2") == "load_2"
    assert keys.of("a b") == "a~20~b"
    assert keys.of("a~20~b") == "a~7e~20~7e~b"
    assert keys.of("x", "y") == "x.y"
    assert keys.of("x.y") == "x.y~2"
    assert keys.of("x", "y") == "x.y"
    assert len(keys.of("z" * 500)) == 200


def test_a_notebook_shows_the_drawing_beside_the_text() -> None:
    bundle = bundle_of(MAPPED)
    assert bundle["text/plain"].startswith("mapped(")
    html = bundle["text/html"]
    [data] = re.findall('<img [^>]*src="data:image/svg\\+xml;base64,([^"]*)"', html)
    assert base64.b64decode(data).decode() == views.svg(MAPPED)
    assert "<style" not in html
    assert "<script" not in html


def test_a_notebook_shows_a_task_with_what_it_takes() -> None:
    @mxm.task
    def load() -> list[float]:
        """Load prices."""
        return []

    @mxm.task(upstream=load, retries=2)
    def mean(prices: list[float]) -> float:
        """Mean price."""
        return 0.0

    bundle = bundle_of(mean)
    assert bundle["text/plain"] == repr(mean)
    assert "Mean price." in bundle["text/html"]
    assert "mean(prices: list[float]) -&gt; float" in bundle["text/html"]
    [data] = re.findall('base64,([^"]*)', bundle["text/html"])
    assert [name for name, _ in cards(base64.b64decode(data).decode())] == ["load", "mean"]


def test_a_notebook_shows_text_alone_where_a_flow_cannot_be_drawn() -> None:
    wrong = FlowSpec("wrong", [TaskSpec("a", fn, upstream=["b"])])
    bundle = bundle_of(wrong)
    assert "INVALID" in bundle["text/plain"]
    assert "<img" not in bundle.get("text/html", "")


def test_the_picture_of_the_readme_is_what_is_drawn_today() -> None:
    root = Path(__file__).parent.parent
    drawn = call("graph", "examples/market.py:market", "-f", "svg", cwd=root)
    assert drawn.code == 0, drawn.err
    made = root / "docs" / "pictures" / "market.svg"
    assert drawn.out == made.read_text(encoding="utf-8"), "`make pictures` draws it again"
    assert "docs/pictures/market.svg" in (root / "README.md").read_text(encoding="utf-8")
