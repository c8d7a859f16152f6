"""The house: imports run down only, each library has one door, each module says what it offers."""

from __future__ import annotations

import ast
import graphlib
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import mxm.pipeline

ROOT = Path(mxm.pipeline.__file__).parent.parent

# From the ground up: a module imports from the rows before its own. A folder stands for its
# modules, which may import each other; folders of one row do not.
LAYERS = [
    ["process", "version"],
    ["problems"],
    ["errors"],
    ["introspection", "timing", "project"],
    ["values", "resources"],
    ["assets", "bindings"],
    ["task_options"],
    ["spec"],
    ["graph", "registry", "taskruns"],
    ["runs"],
    ["checks", "params"],
    ["tracing", "specdict"],
    ["execution"],
    ["adapters", "discovery", "store", "views"],
    ["api"],
    ["authoring"],
    ["cli", "testing"],
]
# The front doors name what they offer by string, so that nothing is loaded before it is used.
DOORS = {"mxm", "mxm.pipeline"}


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of ours by dotted name."""
    trees: dict[str, ast.Module] = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = ["mxm", *path.relative_to(ROOT).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        trees[".".join(parts)] = ast.parse(path.read_text(encoding="utf-8"))
    assert "mxm.pipeline.spec" in trees
    return trees


def imports_of(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Everything that is imported anywhere in *tree*, with its line; names of modules in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in modules() else node.module or ""), node.lineno


# A door that only Prefect opens, from outside: it finds flows, as the command does.
MOVED = {"mxm.pipeline.adapters.prefect_deployed": "cli"}


def place_of(module: str) -> int | None:
    room = MOVED.get(module) or module.removeprefix("mxm.pipeline.").partition(".")[0]
    return next((number for number, row in enumerate(LAYERS) if room in row), None)


def own_imports() -> Iterator[tuple[str, str, int]]:
    for name, tree in modules().items():
        if name not in DOORS:
            for target, line in imports_of(tree):
                if target.partition(".")[0] == "mxm":
                    yield name, target, line


def test_every_module_has_its_place_in_the_layers() -> None:
    homeless = [n for n in modules() if n not in DOORS and place_of(n) is None]
    assert homeless == []


def test_every_layer_exists() -> None:
    for layer in LAYERS:
        for member in layer:
            assert f"mxm.pipeline.{member}" in modules(), member


def test_contributing_draws_these_layers() -> None:
    page = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    house = page.partition("## The house")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in house.splitlines() if line.startswith("| `")]
    assert [set(row.replace("`", "").split()) for row in rows] == list(map(set, reversed(LAYERS)))


def test_imports_run_down_only() -> None:
    wrong: list[str] = []
    for name, target, line in own_imports():
        if target in DOORS:
            continue
        here, there = place_of(name), place_of(target)
        assert here is not None
        assert there is not None
        same_folder = name.split(".")[:3] == target.split(".")[:3]
        if not (there < here or same_folder):
            wrong.append(f"{name}:{line} imports {target}")
    assert wrong == []


def test_front_doors_are_passed_from_outside_only() -> None:
    # From inside they would load whatever they are asked for, whatever its layer.
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module in DOORS and name not in DOORS:
                assert {
                    a.name for a in node.names if f"{node.module}.{a.name}" not in modules()
                } == set(), f"{name}:{node.lineno}"


def test_rooms_inside_execution_have_no_circles() -> None:
    # A folder there stands for its modules, as in LAYERS; a module beside them for itself.
    inside = "mxm.pipeline.execution."
    edges: dict[str, set[str]] = {}
    for name, target, _ in own_imports():
        here, there = (n.removeprefix(inside).partition(".")[0] for n in (name, target))
        if name.startswith(inside) and target.startswith(inside) and here != there:
            edges.setdefault(here, set()).add(there)
    assert "items" in edges
    graphlib.TopologicalSorter(edges).prepare()


def test_imports_have_no_circles() -> None:
    edges: dict[str, set[str]] = {name: set() for name in modules()}
    for name, target, _ in own_imports():
        if target not in DOORS:
            edges[name].add(target)
    graphlib.TopologicalSorter(edges).prepare()  # raises CycleError, which names the circle


def test_no_module_imports_one_of_ours_by_a_string() -> None:
    # It would run upwards unseen.
    found: list[tuple[str, str]] = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                for argument in node.args:
                    if isinstance(argument, ast.Constant) and str(argument.value)[:3] == "mxm":
                        found.append((name, str(argument.value)))
    assert found == []


@pytest.mark.parametrize(
    ("library", "doors"),
    [
        ("prefect", ["mxm.pipeline.adapters.prefect_"]),
        ("httpx", ["mxm.pipeline.adapters.prefect_"]),
        ("typer", ["mxm.pipeline.cli."]),
        # Prefect has loaded it already where its adapter is.
        (
            "pydantic",
            [
                "mxm.pipeline.values.validation",
                "mxm.pipeline.adapters.prefect_",
                "mxm.pipeline.testing.strategies",
            ],
        ),
    ],
)
def test_library_is_imported_behind_its_own_doors_only(library: str, doors: list[str]) -> None:
    users = {
        name
        for name, tree in modules().items()
        for target, _ in imports_of(tree)
        if target.partition(".")[0] == library
    }
    assert users
    assert all(name.startswith(tuple(doors)) for name in users), users


@pytest.mark.parametrize("library", ["rich", "click", "numpy", "pandas", "polars", "pyarrow"])
def test_library_is_imported_nowhere(library: str) -> None:
    for name, tree in modules().items():
        for target, line in imports_of(tree):
            assert target.partition(".")[0] != library, f"{name}:{line}"


def test_typers_private_parts_are_not_used() -> None:
    for name, tree in modules().items():
        for target, line in imports_of(tree):
            assert not target.startswith("typer._"), f"{name}:{line}"


def test_adapters_see_specs_and_plans_never_decorators() -> None:
    for name, target, line in own_imports():
        if name.startswith("mxm.pipeline.adapters"):
            decorators = ("mxm.pipeline.authoring", "mxm.pipeline.tracing.recorder")
            assert not target.startswith(decorators), f"{name}:{line}"


def offering() -> list[str]:
    return [
        name
        for name, tree in modules().items()
        if any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in tree.body)
        # Taken with `import *`, tests and all.
        and name != "mxm.pipeline.testing.conformance"
    ]


def test_modules_say_what_they_offer_and_offer_what_they_say() -> None:
    wrong: list[str] = []
    for name in offering():
        listed, defined = listed_in(modules()[name]), defined_in(modules()[name])
        if not listed:
            wrong.append(f"{name}: no __all__")
        wrong += [f"{name}: no {missing}" for missing in sorted(listed - defined)]
    assert wrong == []


def defined_in(tree: ast.Module) -> set[str]:
    """Every name that is bound anywhere in *tree*."""
    defined: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {t.id for t in targets if isinstance(t, ast.Name)}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            defined.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            defined |= {a.asname or a.name for a in node.names}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.add(node.target.id)
    return defined


def listed_in(tree: ast.Module) -> set[str]:
    """What ``__all__`` says."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets
        ):
            found |= set(ast.literal_eval(node.value))
    return found


def test_modules_take_of_each_other_only_what_is_offered() -> None:
    wrong = [
        f"{name}:{node.lineno} takes {alias.name} of {node.module}"
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in modules()
        for alias in node.names
        if f"{node.module}.{alias.name}" not in modules()
        and alias.name not in listed_in(modules()[node.module])
    ]
    assert wrong == []


def test_version_stands_twice_and_is_one() -> None:
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())[
        "project"
    ]
    assert project["version"] == mxm.pipeline.__version__


FORBIDDEN = {"utils", "helpers", "helper", "manager", "common", "misc"}


def names_bound_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The variables, parameters, attributes, functions and classes of *tree*, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, 0


def test_names_say_what_a_thing_is_not_how_it_was_come_by() -> None:
    """`found`, `given` and `told` name nothing: say `entry`, `params`, `problems`."""
    named = [
        f"{module}:{line} names {name!r}"
        for module, tree in modules().items()
        for name, line in names_bound_in(tree)
        if name.strip("_").lower() in ("found", "given", "told")
    ]
    assert named == []


def test_modules_open_with_one_line_and_are_named_in_the_words_of_the_house() -> None:
    wrong: list[str] = []
    for name, tree in modules().items():
        first, *rest = (ast.get_docstring(tree) or "no docstring").splitlines()
        if not first.endswith((".", ":")) or (rest and rest[0] != ""):
            wrong.append(f"{name}: {first}")
        if FORBIDDEN & set(name.split(".")):
            wrong.append(f"{name}: its name says nothing")
    assert wrong == []
