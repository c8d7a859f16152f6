"""The law of the cache: a run with it gives what a run without it gives, whatever was edited."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from cached import Project, project_in
from command import write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

LIB = """
RATES = {rates}
LIMIT = {limit}

def deep(x): return x + {deep}

def scale(x, by={default}): return deep(x) * by

def wrap(fn):
    def inner(*args): return fn(*args) + {wrap}
    return inner

class Base:
    factor = {factor}

class Curve(Base):
    def __init__(self, x): self.x = x
    def value(self): return self.x * self.factor

{extra}
"""
FLOWS = """
import glob
import lib

@mxm.task(cache=True)
def load(n: int) -> list[int]:
    found = [n]
    for name in sorted(glob.glob("data/*.txt")):
        with open(name) as file: found.append(int(file.read()))
    return found

@mxm.task(cache=True)
def scaled(x: int, shift: int = 0) -> int: return lib.scale(x) + shift

@mxm.task
def curve(x: int): return lib.Curve(x)

@mxm.task(cache=True)
def valued(curve, k: int) -> int: return curve.value() * k + lib.RATES["a"]

@lib.wrap
def bounded(x): return min(x, lib.LIMIT)

@mxm.task(cache=True)
def total(xs: list[int], first: int) -> int: return sum(map(bounded, xs)) + first

@mxm.flow
def f(n: int = 1, k: int = 1):
    xs = load(n)
    ys = scaled.map({items}, shift={shift})
    return [total(ys, {first}), valued(curve(xs[0]), k), ys]
"""
NUMBERS = st.integers(0, 3)
EDITS = st.one_of(
    st.tuples(st.sampled_from(["limit", "deep", "default", "wrap", "factor", "shift"]), NUMBERS),
    st.tuples(st.just("rates"), st.builds(lambda n: {"a": n}, NUMBERS)),
    st.tuples(st.just("items"), st.sampled_from(["xs", "[xs[0], 5]", "[5, xs[0]]", "[7, 7]"])),
    st.tuples(st.just("first"), st.sampled_from(["xs[0]", "3"])),
    st.tuples(st.just("extra"), st.sampled_from(["", "# more", "def unused(): return 1"])),
    st.tuples(st.sampled_from(["data/a.txt", "data/b.txt"]), st.one_of(st.none(), NUMBERS)),
    st.tuples(st.sampled_from(["-p n", "-p k"]), NUMBERS),
)
START = {
    "rates": {"a": 1}, "limit": 2, "deep": 1, "default": 2, "wrap": 0, "factor": 3, "shift": 0,
    "items": "xs", "first": "xs[0]", "extra": "", "data/a.txt": 1, "data/b.txt": None,
    "-p n": 1, "-p k": 1,
}  # fmt: skip


def written(project: Project, state: dict[str, object]) -> list[str]:
    """Write the project as *state* has it; the parameters of its run."""
    plain = {name: value for name, value in state.items() if "/" not in name}
    project.write(FLOWS.format(**plain), lib=LIB.format(**plain))
    (project.folder / "data").mkdir(exist_ok=True)
    options: list[str] = []
    for name, value in state.items():
        if name.startswith("data/"):
            (project.folder / name).unlink(missing_ok=True)
            if value is not None:
                write(project.folder, {name: str(value)})
        if name.startswith("-p"):
            options += ["-p", f"{name[3:]}={value}"]
    return options


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.lists(EDITS, max_size=2), min_size=2, max_size=5))
def test_a_run_with_the_cache_gives_what_a_run_without_it_gives(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, edits: list[list[tuple[str, object]]]
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        project = project_in(Path(folder).resolve(), monkeypatch)
        state: dict[str, object] = dict(START)
        for changes in edits:
            state.update(changes)
            options = written(project, state)
            ran = project.run(*options)
            assert ran.value == project.run(*options, "--no-cache").value
            again = project.run(*options)
            assert again.value == ran.value
            assert sorted(again.cached) == ["load", "scaled", "total", "valued"]
        monkeypatch.chdir(tmp_path)
