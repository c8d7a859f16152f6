"""The law of the cache: after any edits, a run with it gives what a run without it gives.

And nothing runs that need not: a model of the project says which tasks an edit leaves as they were.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from cached import Project, Ran, project_in
from command import invoke
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

HELPERS = """
import functools
import glob
import os
{comment}
RATE = {rate}
TABLE = {{"low": {low}, "high": 7}}

def adjust(x, by={default}):
    {doc}
    return inner(x) * RATE + by

def inner(x):
    return x + {inner}

class Base:
    shift = {shift}

    def move(self, x):
        return x + self.shift

class Mover(Base):
    @property
    def twice(self):
        return 2 + {twice}

def marked(fn):
    @functools.wraps(fn)
    def wrapper(*args, **kwargs):
        return fn(*args, **kwargs) + {mark}
    return wrapper

def maker(by):
    return lambda x: x * by

timed = maker({closure})

def files():
    total = 0
    for name in sorted(glob.glob("data/*.txt")):
        with open(name) as file:
            total += int(file.read())
    return total

def variable():
    return int(os.environ.get("MXM_LAW", "0"))
"""

FLOWS = """
from helpers import Mover, TABLE, adjust, files, marked, timed, variable

@mxm.task(cache=True)
def load() -> int:
    return files()

@mxm.task(cache=True)
def priced(x: int) -> int:
    {priced}
    return adjust(x)

@mxm.task(cache=True)
def moved(x: int) -> int:
    mover = Mover()
    return mover.move(x) * mover.twice + TABLE["low"]

@mxm.task(cache=True)
@marked
def seen(x: int) -> int:
    {seen}
    return timed(x) + variable()

@mxm.task(cache=True)
def low(x: int) -> int:
    return x % 2

@mxm.task(cache=True)
def each(i: int, x: int) -> int:
    {each}
    return i * 10 + x

@mxm.flow
def f(n: int = 1):
    a = load()
    b = priced({wired})
    c = moved(b)
    d = seen(c)
    e = low(d)
    return [a, b, c, d, e], each.map({items}, x=e)
"""

PARTS = ("rate", "low", "default", "inner", "shift", "twice", "mark", "closure")
START: dict[str, Any] = {
    **dict.fromkeys(PARTS, 1),
    "comment": "",
    "fails": None,
    "doc": "'A text.'",
    "wired": "a",
    "items": [1, 2, 3],
    "data": {"a": 1, "b": 2},
    "env": None,
    "n": 1,
}

numbers = st.integers(1, 3)
edits = st.one_of(
    st.tuples(st.sampled_from(PARTS), numbers),
    st.tuples(st.just("comment"), st.sampled_from(["", "# a comment", "\n\n", "UNUSED = 1"])),
    st.tuples(st.just("doc"), st.sampled_from(["'A text.'", "'Another.'", "pass"])),
    st.tuples(st.just("wired"), st.sampled_from(["a", "n"])),
    st.tuples(st.just("items"), st.permutations([1, 2, 3]) | st.lists(numbers, max_size=3)),
    st.tuples(st.just("data"), st.dictionaries(st.sampled_from("abc"), numbers)),
    st.tuples(st.just("env"), st.none() | numbers),
    st.tuples(st.just("n"), numbers),
    st.tuples(st.just("fails"), st.sampled_from(["priced", "seen", "each"])),
)


class Model:
    """What the project gives, and what it has given: by hand, without a cache."""

    def __init__(self) -> None:
        self.kept: set[Any] = set()
        self.data: Any = None

    def run(self, s: dict[str, Any], until: str = "") -> tuple[Any, dict[str, bool]]:
        """The value, and whether each task is to be cached; it ends where *until* fails."""
        cached: dict[str, bool] = {}
        ended = False

        def task(name: str, code: Any, *inputs: Any) -> None:
            nonlocal ended
            ended |= name.partition("[")[0] == until
            if not ended:
                key = (name, code, inputs)
                cached[name] = key in self.kept
                self.kept.add(key)

        a = sum(s["data"].values())
        cached["load"] = self.data == s["data"]
        self.data = s["data"]
        x = a if s["wired"] == "a" else s["n"]
        b = (x + s["inner"]) * s["rate"] + s["default"]
        task("priced", (s["inner"], s["rate"], s["default"]), x)
        c = (b + s["shift"]) * (2 + s["twice"]) + s["low"]
        task("moved", (s["shift"], s["twice"], s["low"]), b)
        d = c * s["closure"] + (s["env"] or 0) + s["mark"]
        task("seen", (s["closure"], s["env"], s["mark"]), c)
        e = d % 2
        task("low", (), d)
        items = [i * 10 + e for i in s["items"]]
        for i in dict.fromkeys(s["items"]):
            task(f"each[{i}]", (), e)
        return [[a, b, c, d, e], items], cached


def write(project: Project, s: dict[str, Any]) -> None:
    named = {name: s[name] for name in (*PARTS, "comment", "doc", "wired", "items")}
    named |= {name: "pass" for name in ("priced", "seen", "each")}
    if s["fails"]:
        named[s["fails"]] = "raise ValueError"
    project.write(FLOWS.format(**named), helpers=HELPERS.format(**named))
    data = project.folder / "data"
    data.mkdir(exist_ok=True)
    for path in data.iterdir():
        if path.stem not in s["data"]:
            path.unlink()
    for name, number in s["data"].items():
        (data / f"{name}.txt").write_text(str(number))
    os.environ.pop("MXM_LAW", None)
    if s["env"] is not None:
        os.environ["MXM_LAW"] = str(s["env"])


@given(st.lists(edits, min_size=1, max_size=5))
@settings(
    max_examples=12,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
def test_a_run_with_the_cache_gives_what_a_run_without_it_gives(
    changes: list[tuple[str, Any]],
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MXM_LAW", "0")
        project = project_in(Path(folder), patch)
        state, model = {**START}, Model()
        for name, to in [("n", 1), *changes]:
            state[name] = to
            write(project, state)
            if state["fails"]:  # a run that fails somewhere leaves what it finished
                fails = state.pop("fails")
                ran = project.run(
                    "-p", f"n={state['n']}", fails=fails != "each" or bool(state["items"])
                )
                model.run(state, until=fails)
                state["fails"] = None
                write(project, state)
            value, cached = model.run(state)
            ran = project.run("-p", f"n={state['n']}")
            assert ran.value == value, (name, to, ran.err)
            states = {**ran.states}
            states.pop("each")
            each = ran.items("each") if state["items"] else {}
            found = {name: one == "cached" for name, one in states.items()}
            expected = {name: one for name, one in cached.items() if "[" not in name}
            assert found == expected, (name, to, ran.err)
            unequal = len(set(state["items"])) == len(state["items"])
            if unequal:
                flags = sorted(one == "cached" for one in each.values())
                wanted = sorted(one for name, one in cached.items() if "[" in name)
                assert flags == wanted, (name, to, ran.err)
        assert project.run("-p", f"n={state['n']}", "--no-cache").value == value


@given(
    st.sampled_from(["priced", "seen", "each"]),
    st.lists(edits.filter(lambda edit: edit[0] != "fails"), max_size=3),
    st.booleans(),
)
@settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
def test_a_resume_after_a_failure_anywhere_gives_what_a_run_gives(
    where: str, changes: list[tuple[str, Any]], is_cached: bool
) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MXM_LAW", "0")
        project = project_in(Path(folder), patch)

        def put() -> None:
            write(project, state)
            if not is_cached:
                text = (project.folder / "flows.py").read_text("utf-8")
                (project.folder / "flows.py").write_text(text.replace("(cache=True)", ""), "utf-8")

        state, model = {**START, "fails": where}, Model()
        put()
        project.run(fails=True)
        model.run(state, until=where)
        state = {**START, **dict(changes)}
        put()
        command = ("resume", "last", "--json", "-p", f"n={state['n']}")
        outcome = invoke(*command)
        assert outcome.code == 0, outcome.err
        ran = Ran(json.loads(outcome.out), outcome.err, outcome.code)
        value, cached = model.run(state)
        assert ran.value == value, (changes, ran.err)
        # What had not finished, or differs now, ran; nothing else did.
        expected = {name: one for name, one in cached.items() if "[" not in name}
        states = {name: one == "cached" for name, one in ran.states.items() if name != "each"}
        assert states == expected, (changes, ran.err)
