"""The public names and their signatures are those of tests/golden/api.txt; `make snapshots` renews it.

It is read from the sources: nothing is imported, and every Python and every set of dependencies
gives the same text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from command import golden

# As docs/RUNBOOK.md lists them.
PUBLIC = [
    "mxm",
    "mxm.pipeline",
    "mxm.pipeline.spec",
    "mxm.pipeline.bindings",
    "mxm.pipeline.api",
    "mxm.pipeline.registry",
    "mxm.pipeline.runs",
    "mxm.pipeline.errors",
    "mxm.pipeline.problems",
    "mxm.pipeline.specdict",
    "mxm.pipeline.adapters.prefect_adapter",
    "mxm.pipeline.cli.main",
    "mxm.pipeline.execution.events",
    "mxm.pipeline.views",
    "mxm.pipeline.testing",
]
RUNBOOK = Path(__file__).parent.parent / "docs" / "RUNBOOK.md"
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Named:
    """What a name stands for: the statements that make it, in the module that has them."""

    module: str
    name: str
    nodes: tuple[ast.stmt, ...]


@cache
def statements(module: str) -> tuple[ast.stmt, ...]:
    """What *module* does at its top, the two sides of ``if TYPE_CHECKING`` included."""
    found = find_spec(module)
    assert found is not None
    assert found.origin is not None
    tree = ast.parse(Path(found.origin).read_text(encoding="utf-8"))
    return tuple(_flat(tree.body))


def _flat(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.If):
            yield from _flat(node.body)
        else:
            yield node


def offered(module: str) -> list[str]:
    """The names in the module's ``__all__``."""
    for node in statements(module):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return sorted(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


def names_of(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign():
            return [ast.unparse(target) for target in node.targets]
        case ast.AnnAssign():
            return [ast.unparse(node.target)]
        case _:
            return []


def named(module: str, name: str) -> Named | None:
    """Where *name*, as *module* uses it, is made; None outside of this project."""
    nodes = tuple(node for node in statements(module) if name in names_of(node))
    if nodes:
        return Named(module, name, nodes)
    for node in statements(module):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    ours = node.module.partition(".")[0] == "mxm"
                    return named(node.module, alias.name) if ours else None
    return None


def is_shown(name: str) -> bool:
    """Whether a member is for users: no private one, nothing that every class has."""
    return not name.startswith("_") or name in {
        *("__call__", "__init__", "__getitem__", "__iter__", "__len__", "__enter__", "__exit__"),
        *("__contains__", "__await__"),
    }


def signature(node: Function) -> str:
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{prefix} {node.name}({ast.unparse(node.args)}){returns}"


def functions(nodes: list[Function]) -> Iterator[str]:
    """The signatures of one function; where it has overloads, those and not its own."""
    decorated = [(node, [ast.unparse(d) for d in node.decorator_list]) for node in nodes]
    overloads = [pair for pair in decorated if "overload" in pair[1]]
    for node, decorators in overloads or decorated:
        yield from (f"@{decorator}" for decorator in decorators)
        yield signature(node)


def members(owner: Named) -> Iterator[str]:
    """The members of a class, then those of its bases that are not public themselves."""
    [node] = owner.nodes
    assert isinstance(node, ast.ClassDef)
    defined: dict[str, list[Function]] = {}
    for one in node.body:
        if isinstance(one, Function) and is_shown(one.name):
            defined.setdefault(one.name, []).append(one)
    for one in node.body:
        if isinstance(one, Function):
            yield from functions(defined.pop(one.name, []))
        elif any(map(is_shown, names_of(one))):
            yield variable(one)
    for base in node.bases:
        name = ast.unparse(base).partition("[")[0]
        inherited = named(owner.module, name) if name.isidentifier() else None
        if inherited and inherited not in recorded():
            yield f"# of {name}"
            yield from members(inherited)


def variable(node: ast.stmt) -> str:
    """A variable with its type, and with its value where that is short, or what it stands for."""
    longest = 60
    if isinstance(node, ast.AnnAssign):
        text = f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}"
    else:
        assert isinstance(node, ast.Assign)
        text = ", ".join(map(ast.unparse, node.targets))
    if "TypeAlias" in text or text[0].isupper():
        longest = 200
    value = ast.unparse(node.value) if node.value else ""
    return f"{text} = {value}" if 0 < len(value) <= longest else text


def entry(item: Named) -> str:
    """*item* as it is recorded: one line, or one for each member."""
    first = item.nodes[0]
    full = f"{item.module}.{item.name}"
    if isinstance(first, ast.ClassDef):
        bases = ", ".join(ast.unparse(base) for base in [*first.bases, *first.keywords])
        lines = [f"@{ast.unparse(d)}" for d in first.decorator_list]
        head = f"class {first.name}({bases})" if bases else f"class {first.name}"
        lines += [head, *members(item)]
    elif isinstance(first, Function):
        lines = list(functions([node for node in item.nodes if isinstance(node, Function)]))
    else:
        lines = [variable(first)]
    return "\n    ".join([full, *lines])


@cache
def recorded() -> tuple[Named, ...]:
    """All that is public, each once."""
    found: dict[Named, None] = {}
    for module in PUBLIC:
        for name in offered(module):
            item = named(module, name)
            assert item is not None, f"{module}.{name} is made nowhere in this project"
            found[item] = None
    return tuple(found)


def is_inner(item: Named) -> bool:
    """Whether it is a class that is no public name: what only it names is inner, too."""
    node = item.nodes[0]  # the keys of a TypedDict are options of whatever unpacks it
    return isinstance(node, ast.ClassDef) and "TypedDict" not in map(ast.unparse, node.bases)


def is_type_variable(item: Named) -> bool:
    node = item.nodes[0]
    made = ast.unparse(node.value) if isinstance(node, ast.Assign) else ""
    return made.startswith(("TypeVar(", "ParamSpec("))


def spelled_out() -> dict[Named, str]:
    """The entry of all that is public, and of the classes and aliases that it names."""
    found = {item: entry(item) for item in recorded()}
    waiting = list(found)
    while waiting:
        item = waiting.pop()
        text = found.setdefault(item, entry(item))
        if item not in recorded() and is_inner(item):
            continue
        for name in re.findall(r"\b[A-Z]\w+", text):
            used = named(item.module, name)
            if used and used not in found and not is_type_variable(used):
                waiting.append(used)
    return dict(sorted(found.items(), key=lambda pair: (pair[0].module, pair[0].name)))


def test_the_public_names_and_signatures_are_those_on_record() -> None:
    doors = [f"{module}: {', '.join(offered(module))}" for module in PUBLIC]
    golden("api", "\n".join(doors) + "\n\n" + "\n\n".join(spelled_out().values()) + "\n")


def test_the_public_modules_are_those_that_the_runbook_lists() -> None:
    [sentence] = re.findall(
        r"^The public modules are (.*?)\. All other", RUNBOOK.read_text(), re.M | re.S
    )
    listed = re.findall(r"`([\w.]+)`", sentence)
    full = [name if name.startswith("mxm") else f"mxm.pipeline.{name}" for name in listed]
    assert sorted(full) == sorted(PUBLIC)
