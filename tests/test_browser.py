"""Pages in headless Chromium: everything is there, can be found and read, and nothing else runs."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from environments import PIP, run
from records import HOSTILE, document, grown, hostile, moment, task

from mxm.pipeline import views
from mxm.pipeline.spec import AssetDecl, FlowSpec, TaskSpec
from mxm.pipeline.views.diagram import draw_run_mermaid
from mxm.pipeline.views.markup import Keys
from mxm.pipeline.views.report import draw_report
from mxm.pipeline.views.reported import report_of_document
from mxm.pipeline.views.run_cards import views_of_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt install chromium"),
]


def fn(*args: object) -> None:
    """Do nothing."""


class Opened:
    """A page in the browser, and what it did that it should not."""

    def __init__(self, page: Any, file: Path) -> None:
        self.page = page
        self.seen: list[str] = []
        page.on("console", lambda message: self.seen.append(message.text))
        page.on("pageerror", lambda error: self.seen.append(str(error)))
        page.on("dialog", self._dismiss)
        page.on("request", self._note)
        self._file = file.as_uri()
        page.goto(self._file)

    def _dismiss(self, dialog: Any) -> None:
        self.seen.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def _note(self, request: Any) -> None:
        if request.url.partition("#")[0] != self._file:
            self.seen.append(f"request {request.url}")

    def ask(self, script: str, *args: Any) -> Any:
        return self.page.evaluate(script, *args)

    def address(self) -> str:
        self.page.wait_for_timeout(30)  # for the event of the changed address
        return str(self.ask("location.hash"))

    def go(self, address: str) -> None:
        self.ask("to => { location.hash = to }", address)
        self.page.wait_for_timeout(30)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.page.wait_for_timeout(30)


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Open]:
    pages: list[Opened] = []

    def open_text(text: str, scheme: str = "light", width: int = 1440) -> Opened:
        file = tmp_path / f"page{len(pages)}.html"
        file.write_text(text, encoding="utf-8")
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        pages.append(Opened(page, file))
        return pages[-1]

    yield open_text
    for each in pages:
        assert each.seen == []
        each.page.close()


def run_page(made: dict[str, Any]) -> str:
    return draw_report(report_of_document(made))


KEYS = "[...document.querySelectorAll('.tasks tbody tr[id]')].map(row => row.id.slice(2))"
DRAWN = "[...document.querySelectorAll('.view a.n')].map(a => a.getAttribute('href').slice(1))"
# Text that is wider than its card, or under what else is on it.
CUT = """() => [...document.querySelectorAll('.view')].flatMap(view => {
  const was = view.hidden;
  view.hidden = false;
  const found = [...view.querySelectorAll('.n')].flatMap(card => {
    const right = card.querySelector('.card').getBBox().width;
    const asset = card.querySelector(':scope > .as'), tries = card.querySelector('.att');
    return [...card.querySelectorAll(':scope > text')].filter(text => {
      let room = right - 4;
      if (asset && text.classList.contains('sb') && asset.getAttribute('x') > 20) room = right - 24;
      if (tries && text.classList.contains('nm')) room = right - 34;
      const box = text.getBBox();
      return box.x + box.width > room;
    }).map(text => text.textContent);
  });
  view.hidden = was;
  return found;
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("count", [5, 30, 200, 2000])
def test_every_task_of_a_run_is_drawn_listed_found_and_explained(
    opened: Open, count: int, scheme: str
) -> None:
    page = opened(run_page(grown(count)), scheme)
    keys = page.ask(KEYS)
    assert len(keys) == count
    assert set(keys) <= set(page.ask(DRAWN))
    assert page.ask(CUT) == []
    for key in [keys[0], keys[count // 2], keys[-1]]:
        page.go(f"#{key}")
        heading = page.ask("document.querySelector('#task h3').textContent")
        assert heading == key
        assert page.ask("document.querySelectorAll('#task a.ref:empty').length") == 0
        assert page.ask("document.querySelectorAll('tr.sel').length") == 1
        visible = "document.querySelectorAll('.view:not([hidden]) a.n.sel').length"
        assert page.ask(visible) == 1


def test_search_finds_by_words_of_name_and_state(opened: Open) -> None:
    page = opened(run_page(grown(200)))
    page.press("/")
    page.page.keyboard.type("desk_1. step_3")
    hits = page.ask("[...document.querySelectorAll('#hits code')].map(hit => hit.textContent)")
    assert hits == ["desk_1.step_3"]
    page.press("Enter")
    assert page.address() == "#desk_1.step_3"
    page.press("/")
    page.page.keyboard.type("failed")
    page.press("Enter")
    assert page.address() == "#desk_0.step_3"


def test_keys_move_in_the_graph_and_to_failures_and_back(opened: Open) -> None:
    page = opened(run_page(grown(30)))
    page.press("n")
    assert page.address() == "#desk_0.step_3"
    page.go("#start")
    page.press("ArrowDown")
    below = page.address()
    assert below.startswith("#desk_")
    page.press("ArrowUp")
    assert page.address() == "#start"
    page.press("Escape")
    assert page.address() == ""
    assert page.ask("document.querySelector('#task').hidden")


def test_a_click_on_card_row_or_count_selects(opened: Open) -> None:
    page = opened(run_page(grown(30)))
    page.page.click(".view a.n >> nth=1")
    assert page.address() == f"#{page.ask(KEYS)[1]}"
    page.page.click("tr[id='r-start'] td.tl")
    assert page.address() == "#start"
    page.page.click(".cnt.s-failed")
    assert page.address() == "#desk_0.step_3"


def test_a_sub_flow_opens_and_closes_in_drawing_and_table(opened: Open) -> None:
    page = opened(run_page(grown(200)))
    shown = "document.querySelector('.view:not([hidden])').dataset.view"
    assert page.ask(shown) == ""
    page.page.click(".view:not([hidden]) a[href='#/desk_1']")
    assert page.address() == "#/desk_1"
    assert page.ask(shown) == "desk_1"
    page.press("Escape")
    assert page.ask(shown) == ""
    hidden = "document.querySelector('.band').parentNode.nextElementSibling.hidden"
    assert page.ask(hidden)
    page.page.click(".band >> nth=0")
    assert not page.ask(hidden)
    page.page.click(".band >> nth=0")
    assert page.ask(hidden)
    page.go("#desk_0.step_1")
    assert not page.ask(hidden)


def test_a_page_is_read_at_760_px_and_printed(opened: Open) -> None:
    for made in (grown(30), hostile()):
        page = opened(run_page(made), width=760)
        root = "document.documentElement"
        assert page.ask(f"{root}.scrollWidth - {root}.clientWidth") == 0
        assert page.page.pdf().startswith(b"%PDF-")


def test_hostile_names_and_values_are_shown_as_text(opened: Open) -> None:
    page = opened(run_page(hostile()))
    keys = Keys()
    for name in HOSTILE:
        page.go(f"#{keys.of(name)}")
        assert page.ask("document.querySelector('#task h3').textContent")
        assert page.ask("document.querySelectorAll('#task script').length") == 0
    assert page.ask("document.querySelector('h1').textContent") == HOSTILE[0]
    assert page.ask(CUT) == []


# Parts of the panel that are wider than it, and cannot be scrolled.
WIDE = """() => {
  const panel = document.querySelector('#panel'), right = panel.getBoundingClientRect().right + 1;
  const inside = x => ['auto', 'hidden'].includes(getComputedStyle(x).overflowX);
  return [...panel.querySelectorAll('*')].filter(x => {
    if (!x.getClientRects().length || x.getBoundingClientRect().right <= right) return false;
    for (let up = x.parentElement; up !== panel; up = up.parentElement) if (inside(up)) return false;
    return true;
  }).map(x => x.className + ' ' + x.textContent.slice(0, 40));
}"""


@pytest.mark.parametrize("width", [1440, 760])
def test_nothing_in_the_panel_is_cut(opened: Open, width: int) -> None:
    long = "load_fundamentals_of_every_member_of_the_index_of_the_day"
    row = {"key": long, "state": "failed", "attempts": 1, "seconds": 1.0, "value": None}
    row |= {"error": "ValueError: " + "x" * 90, "reason": None}
    items = {"over": long, "count": {"failed": 1}, "rows": [row]}
    arguments: dict[str, Any] = {long: {"value": "y" * 90}, "frame": {"upstream": [long]}}
    first = task(long, start=0, end=9, returns=f"dict[{long}, {long}]", asset=long)
    check = {"name": long, "severity": "warn", "passed": False, "message": long}
    first["asset"] = {"id": long, "partition": long, "path": f"{long}/{long}", "checks": [check]}
    then = task("next", "failed", start=9, end=10, upstream=[long], arguments=arguments)
    then["items"] = items
    page = opened(run_page(document(first, then)), width=width)
    assert page.ask(WIDE) == []
    for key in (long, "next"):
        page.go(f"#{key}")
        assert page.ask(WIDE) == []
    page = opened(run_page(hostile()), width=width)
    keys = Keys()
    for name in HOSTILE:
        page.go(f"#{keys.of(name)}")
        assert page.ask(WIDE) == []


def test_the_details_of_a_narrow_page_lie_over_it_and_not_over_the_card(opened: Open) -> None:
    page = opened(run_page(grown(30)), width=900)
    cards = page.page.locator(".view:not([hidden]) a.n")
    for at in (3, 12, cards.count() - 1):
        cards.nth(at).click(position={"x": 20, "y": 20})
        page.page.wait_for_timeout(60)
        panel, card = page.page.locator("#panel").bounding_box(), cards.nth(at).bounding_box()
        assert 400 < panel["y"] + panel["height"] <= 900
        assert 0 <= card["y"]
        assert card["y"] + card["height"] <= panel["y"]
    page.page.locator(".canvas").click(position={"x": 3, "y": 3}, force=True)
    assert page.address() == ""
    assert page.ask("document.querySelector('#task').hidden")


def test_words_are_not_broken_where_there_is_room(opened: Open) -> None:
    flows = [FlowSpec(f"flow_{i}", [TaskSpec("load", fn)]) for i in range(3)]
    high = "x => [...document.querySelectorAll(x)].map(e => e.getBoundingClientRect().height)"
    assert max(opened(views.html(flows)).ask(high, ".flows a")) < 30
    row: dict[str, Any] = {"key": "SAP", "state": "succeeded", "attempts": 1, "error": None}
    row["seconds"], row["value"] = (
        1.0,
        {"type": "pandas.DataFrame", "shape": [3, 1], "columns": {}, "head": []},
    )
    items = {"over": "names", "count": {"succeeded": 1}, "rows": [row]}
    made = task("load", asset="prices/daily", items=items, mapped=True)
    made["asset"] = {"id": "prices/daily", "partition": "day:2026-11-27", "checks": []}
    for width in (1440, 760):
        page = opened(run_page(document(made)), width=width)
        page.go("#load")
        assert max(page.ask(high, ".items td")) < 30
        assert max(page.ask(high, "#\\:assets td:nth-child(-n+3)")) < 50


# Names are as wide as the font makes them: cards must hold them on other systems too.
FONTS = {
    "DejaVu": ("DejaVu Sans", "DejaVu Sans Mono"),
    "Liberation": ("Liberation Sans", "Liberation Mono"),
}
# A missing font is replaced by the next in the list, whatever that is.
HAS_FONT = """family => {
    const pen = document.createElement("canvas").getContext("2d");
    const wide = fonts => { pen.font = "40px " + fonts; return pen.measureText("mWil1").width };
    return ["serif", "monospace"].some(next => wide(`"${family}", ${next}`) !== wide(next));
}"""


# Capitals are wider than the average, other scripts than what fonts for code have.
WORDS = [
    "MMWW_TABLE",
    "OHLCV",
    "list[HTTPResponse]",
    "HTTPTooManyRequestsError",
    "株価の表",
    "e\u0301te\u0301",
]
LETTERS = [
    "W" * 30,
    "日本語の株価データを読み込む",
    "загрузка_цен",
    "한국어_작업",
    "τιμές",
    "Ünïcödé_tàsk",
]


def in_words() -> dict[str, Any]:
    """A run whose names and types are wide, long, or in other scripts."""
    tasks = [
        task(f"{letters}_{i}", start=0, end=1, returns=word, asset=word if i % 2 else None)
        for letters in LETTERS
        for i, word in enumerate(WORDS)
    ]
    for i, each in enumerate(tasks):
        twice = {"started": moment(0), "ended": moment(1), "state": "failed", "error": "E: no"}
        each["history"] = [twice, twice] if i % 3 else []
    return document(*tasks)


@pytest.mark.parametrize("fonts", FONTS)
def test_names_fit_their_cards_in_fonts_of_other_systems(opened: Open, fonts: str) -> None:
    for made in (grown(30), hostile(), in_words()):
        page = opened(run_page(made))
        script = (
            "([sans, mono]) => { const style = document.documentElement.style;"
            " style.setProperty('--sans', sans); style.setProperty('--mono', mono); }"
        )
        for family in FONTS[fonts]:
            if not page.ask(HAS_FONT, family):
                pytest.skip(f"{family} is not installed: apt install fonts-{fonts.lower()}")
        page.ask(script, [f"'{family}'" for family in FONTS[fonts]])
        assert page.ask(CUT) == []
        assert page.ask(WIDE) == []


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, out of a wheel that carries it."""
    folder = tmp_path_factory.mktemp("axe")
    run(*PIP, "download", "--quiet", "--no-deps", "--dest", str(folder), "axe-playwright-python")
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("axe.min.js")]
        return archive.read(name).decode("utf-8")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(opened: Open, axe: str, scheme: str) -> None:
    tasks = [TaskSpec("load", fn, produces=AssetDecl("prices/daily"))]
    tasks += [TaskSpec(f"desk_{i // 20}.t{i}", fn, upstream=["load"]) for i in range(200)]
    texts = [run_page(made) for made in (grown(30), grown(200), hostile())]
    texts += [views.html(FlowSpec("flow", tasks)), views.html([FlowSpec("a", tasks[:1])] * 2)]
    serious: set[tuple[str, str]] = set()
    for text in texts:
        page = opened(text, scheme)
        page.ask(axe)
        for keys in ([], ["n"], ["/", "l"]):
            page.press(*keys)
            found = page.ask("async () => (await axe.run()).violations")
            serious |= {
                (each["id"], node["html"][:160])
                for each in found
                if each["impact"] in ("serious", "critical")
                for node in each["nodes"]
            }
    assert serious == set()


@pytest.fixture(scope="module")
def mermaid(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of Mermaid, out of its package."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("mermaid")
    run("npm", "pack", "mermaid@11", "--silent", cwd=folder)
    [packed] = folder.glob("*.tgz")
    with tarfile.open(packed) as archive:
        script = archive.extractfile("package/dist/mermaid.min.js")
        assert script is not None
        return script.read().decode("utf-8")


def test_mermaid_draws_what_is_written_for_it(browser: Any, mermaid: str) -> None:
    names = [" ".join(name.split()) or "x" for name in HOSTILE]
    chain = [TaskSpec("a", fn, produces=AssetDecl("prices/daily"))]
    chain += [TaskSpec(f"desk.t{i}", fn, upstream=["a"], after=["desk.t0"][:i]) for i in range(3)]
    flows = {
        "chain": FlowSpec("chain", chain),
        "hostile": FlowSpec(HOSTILE[0], [TaskSpec(name, fn) for name in names]),
        "large": FlowSpec("large", [TaskSpec("a", fn)] + [
            TaskSpec(f"d{i % 30}.t{i}", fn, upstream=["a"]) for i in range(600)]),
    }  # fmt: skip
    page = browser.new_page()
    page.goto("about:blank")
    page.add_script_tag(content=mermaid)
    page.evaluate("mermaid.initialize({ startOnLoad: false })")
    draw = "async text => (await mermaid.render('drawn', text)).svg"
    texts = {name: views.mermaid(flow) for name, flow in flows.items()}
    texts["both"] = views.mermaid([flows["chain"], flows["hostile"]])
    run = report_of_document(hostile())
    texts["run"] = draw_run_mermaid(run, views_of_run(run, None, Keys())[0])
    for name, text in texts.items():
        svg = page.evaluate(draw, text)
        assert "Syntax error" not in svg, name
        assert "Maximum" not in svg, name
        assert "<script" not in svg, name
    svg = page.evaluate(draw, texts["chain"])
    for each in chain:
        assert each.name.rpartition(".")[2] in svg
    page.close()


def test_without_its_script_a_page_still_shows_what_matters(browser: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(run_page(grown(200)), encoding="utf-8")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.locator("tbody tr[id] td.tn >> visible=true").count() == 200
    assert page.locator(".view svg >> visible=true").count() == 1
    assert page.locator(".fail >> visible=true").count() == 1
    assert not page.locator("#q").is_visible()
    context.close()


def test_the_page_of_a_flow_works_alike(opened: Open) -> None:
    tasks = [TaskSpec("load", fn, produces=AssetDecl("prices/daily"))]
    tasks += [TaskSpec(f"t{i}", fn, upstream=["load"]) for i in range(8)]
    page = opened(views.html(FlowSpec("flow", tasks)))
    assert set(page.ask(KEYS)) == set(page.ask(DRAWN))
    assert page.ask(CUT) == []
    page.press("n", "n")
    assert page.address() == "#t0"
    assert page.ask("document.querySelector('#task h3').textContent") == "t0"
    assert (
        page.ask("document.querySelector('#task .sig').textContent") == "fn(*args: object) -> None"
    )
