"""How modules use ``flow`` and ``register_flow``, by parsing, if a match cannot decide.

A module declares flows if it uses one of the two, under any imported or assigned name, or a factory
of the project: a function or class that uses one of them itself.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mxm.pipeline.discovery.text import code_of, imports_mxm
from mxm.pipeline.introspection.parsing import parsed

__all__ = ["declaring"]

# What a name may mean, other than a module of the project, which is its path without ".py".
_FLOW, _MAKER, _MXM = "<flow>", "<maker>", "<mxm>"
_OURS = {"flow": _FLOW, "register_flow": _MAKER}
_MAKES = (_FLOW, _MAKER)


def declaring(sure: Mapping[str, bytes], others: Mapping[str, bytes]) -> set[str]:
    """The *others* that declare flows.

    Parameters
    ----------
    sure
        By path, the bytes of project modules that certainly declare flows.
    others
        By path, the bytes of the other modules.
    """
    likely = [path for path, data in others.items() if _names_ours(data)]
    return _Project(sure, others).declaring(likely) if sure or likely else set()


class _Project:
    """The modules of a project that may declare flows."""

    def __init__(self, sure: Mapping[str, bytes], others: Mapping[str, bytes]) -> None:
        self._sure = sure
        self._others = others
        self._paths = {_base(path): path for path in (*sure, *others)}
        self._by_last: dict[str, list[str]] = {}
        for base in self._paths:
            self._by_last.setdefault(os.path.basename(base), []).append(base)
        self._folders: set[str] = set()
        for folder in self._paths:
            while (folder := os.path.dirname(folder)) not in self._folders:
                self._folders.add(folder)
        self._modules: dict[str, _Module | None] = {}
        self._kinds: dict[tuple[str, str], str | None] = {}
        self._asked: set[tuple[str, str]] = set()

    def declaring(self, likely: Sequence[str]) -> set[str]:
        """The other modules that declare flows; the *likely* ones contain mxm's names."""
        paths = {path for path in likely if self._declares(path)}
        undecided = {p: d for p, d in self._others.items() if b"import" in d}
        for path in likely:
            undecided.pop(path, None)
        # Follow imports from these modules, and from their importers, until nothing is new.
        sources: Iterable[str] = (*self._sure, *likely)
        taken: set[str] = set()
        while undecided:
            offered = {path: names for path in sources if (names := {*self._offers(path)})}
            names = {name for each in offered.values() for name in each}
            if not names:
                break
            takes = _Takes({_base(path) for path in offered}, taken | names)
            sources = [path for path, data in undecided.items() if takes(data)]
            taken |= names
            for path in sources:
                del undecided[path]
            paths |= {path for path in sources if self._declares(path)}
        return paths

    def _declares(self, path: str) -> bool:
        module = self._module(_base(path))
        if module is None:  # it cannot be parsed: importing it reports why
            return imports_mxm(code_of(self._others[path]))
        return any(self._kind_of(module, node) in _MAKES for node in ast.walk(module.tree))

    def _offers(self, path: str) -> Iterable[str]:
        """Names that make flows, and that other modules may import from *path*."""
        if path in self._sure:  # parsed only if it has more than flows at its top level
            code = _AT_TOP.sub(b"", code_of(self._sure[path]))
            if not _MENTIONS.search(code):
                return ()
            if not _RENAMES.search(code) and not _MENTIONS.search(_IMPORTED.sub(b"", code)):
                return _OURS
        return self._offered(_base(path), set())

    def _offered(self, base: str, asked: set[str]) -> set[str]:
        module = self._module(base) if base not in asked else None
        if module is None:
            return set()
        asked.add(base)
        names = {*module.imported, *module.defined}
        for origin, level in module.stars:
            if origin.partition(".")[0] == "mxm" and not level:
                names |= {*_OURS}
            elif inner := self._base_of(module, origin, level):
                names |= self._offered(inner, asked)
        return {name for name in names if self._kind(base, name) in _MAKES}

    def _module(self, base: str) -> _Module | None:
        if base not in self._modules:
            path = self._paths.get(base)
            data = self._sure.get(path) or self._others.get(path) if path else None
            tree = _parsed(data) if data else None
            self._modules[base] = _Module(base, path, tree) if tree and path else None
        return self._modules[base]

    def _kind(self, base: str, name: str) -> str | None:
        """The meaning of *name* in the module at *base*."""
        key = (base, name)
        if key in self._kinds:
            return self._kinds[key]
        if key in self._asked:  # a circular import
            return None
        self._asked.add(key)
        kind = self._look_up(base, name)
        self._asked.discard(key)
        if kind or not self._asked:  # within a circular import, None may mean "not known yet"
            self._kinds[key] = kind
        return kind

    def _look_up(self, base: str, name: str) -> str | None:
        module = self._module(base)
        if module:
            made = (self._kind_made(module, node) for node in module.defined.get(name, ()))
            imported = [*module.imported.get(name, ()), *((*star, name) for star in module.stars)]
            kinds = (*made, *(self._kind_imported(module, *each) for each in imported))
            # In an if or a try, any branch may run.
            if kind := next(filter(None, kinds), None):
                return kind
        inner = os.path.join(base, name)
        return inner if inner in self._paths or inner in self._folders else None

    def _kind_imported(
        self, module: _Module, origin: str, level: int, name: str | None
    ) -> str | None:
        if level == 0 and origin.partition(".")[0] == "mxm":
            return _OURS.get(name, _MXM) if name else _MXM
        base = self._base_of(module, origin, level)
        if name is None:
            return base
        kind = self._kind(base, name) if base else None
        if kind is None and not level:  # a module in a package without its own file
            kind = self._base_of(module, f"{origin}.{name}", 0)
        return kind

    def _base_of(self, module: _Module, name: str, level: int) -> str | None:
        """The module *name*, as *module* imports it."""
        parts = name.split(".") if name else []
        if level:
            folder = module.path
            for _ in range(level):
                folder = os.path.dirname(folder)
            return os.path.join(folder, *parts)
        end = os.sep + os.path.join(*parts)
        bases = [base for base in self._by_last.get(parts[-1], ()) if base.endswith(end)]
        # If several projects have modules of this name, use the nearest.
        return max(bases, key=lambda b: _shared(b, module.path), default=None)

    def _kind_of(self, module: _Module, node: ast.AST | None) -> str | None:
        """The meaning of *node*, a name or a chain of attributes, in *module*."""
        chain: list[str] = []
        while isinstance(node, ast.Attribute):
            chain.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name) or not isinstance(node.ctx, ast.Load):
            return None
        chain.append(node.id)
        chain.reverse()
        if node.id in module.dotted:  # import firm.factories
            for i in range(len(chain) - 1, 0, -1):
                base = self._base_of(module, ".".join(chain[:i]), 0)
                if base:
                    return self._follow(base, chain[i:])
        return self._follow(module.base, chain) if node.id in module.names else None

    def _follow(self, kind: str | None, chain: list[str]) -> str | None:
        for name in chain:
            if kind is None or kind in _MAKES:
                break
            kind = _OURS.get(name, _MXM) if kind == _MXM else self._kind(kind, name)
        return kind

    def _kind_made(self, module: _Module, node: ast.AST) -> str | None:
        """The meaning of a name that *node*, a definition or an assigned value, defines."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            if any(self._kind_of(module, _called(d)) in _MAKES for d in node.decorator_list):
                return None  # a flow
            return _MAKER if any(self._uses(module, part) for part in node.body) else None
        if isinstance(node, ast.Lambda):
            return _MAKER if self._uses(module, node) else None
        if not isinstance(node, ast.Call):
            return self._kind_of(module, node)
        called = self._kind_of(module, node.func)
        if called == _FLOW:  # flow(name="x") is a decorator, and flow(fn) a flow
            return None if node.args else _MAKER
        if called == _MAKER or isinstance(node.func, ast.Call):
            return None
        arguments = (*node.args, *(keyword.value for keyword in node.keywords))
        return _MAKER if any(self._kind_of(module, each) in _MAKES for each in arguments) else None

    def _uses(self, module: _Module, tree: ast.AST) -> bool:
        return any(self._kind_of(module, node) in _MAKES for node in ast.walk(tree))


def _called(node: ast.expr) -> ast.expr:
    while isinstance(node, ast.Call):
        node = node.func
    return node


def _base(path: str) -> str:
    base = path.removesuffix(".py")
    return os.path.dirname(base) if os.path.basename(base) == "__init__" else base


def _shared(one: str, other: str) -> int:
    """The number of leading parts that two paths share."""
    return len(os.path.commonpath([one, other]))


class _Takes:
    """Whether a module may import one of the *names* from one of the modules at *bases*."""

    def __init__(self, bases: set[str], names: set[str]) -> None:
        self._modules = {os.path.basename(base).encode() for base in bases}
        self._names = re.compile(rb"\b(?:%s)\b" % b"|".join(name.encode() for name in names))

    def __call__(self, data: bytes) -> bool:
        if b"*" not in data and not self._names.search(data):
            return False
        imports = b" ".join(_IMPORTS.findall(data))
        return not self._modules.isdisjoint(_WORD.findall(imports)) or bool(
            _FROM_HERE.search(imports)
        )


_IMPORTS = re.compile(rb"\b(?:from|import)\b[^\n]*")
_FROM_HERE = re.compile(rb"\bfrom[ \t]*\.+[ \t]*import\b")
_WORD = re.compile(rb"\w+")


# Flows at the top level of a module, uses of them, and imports.
_AT_TOP = re.compile(rb"^@(?:mxm\.)?flow\b", re.MULTILINE)
_MENTIONS = re.compile(rb"\b(?:register_)?flow\b")
_IMPORTED = re.compile(rb"\bimport\b(?:[ \t]*\([^)]*\)|[^\n;]*)")
_RENAMES = re.compile(rb"\bflow[ \t]+as\b")


def _names_ours(data: bytes) -> bool:
    """Whether *data* may use or re-export one of mxm's two names."""
    if b"\0" in data:
        data = data.replace(b"\0", b"")
    if b"mxm" not in data:
        return False
    if b"*" in data and _STAR.search(data):
        return True
    return b"flow" in data and b"flow" in code_of(data)


_STAR = re.compile(rb"\bfrom[ \t]+mxm[\w.]*[ \t]+import[ \t]*\*")


def _parsed(data: bytes) -> ast.Module | None:
    try:
        return parsed(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


@dataclass
class _Module:
    """One module, parsed.

    Attributes
    ----------
    imported
        By name: the modules it is imported from, each with the level of a relative import and its
        name there; None for the module itself.
    dotted
        Packages bound by ``import firm.factories``.
    stars
        Modules with star imports, with their levels.
    defined
        By name: its top-level definitions and assigned values.
    """

    base: str
    path: str
    tree: ast.Module
    imported: dict[str, list[tuple[str, int, str | None]]] = field(init=False)
    dotted: set[str] = field(init=False)
    stars: list[tuple[str, int]] = field(init=False)
    defined: dict[str, list[ast.AST]] = field(init=False)
    names: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.imported, self.defined, self.dotted, self.stars = {}, {}, set(), []
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                self._import(node)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.name == "*":
                        self.stars.append((node.module or "", node.level))
                    else:
                        name = alias.asname or alias.name
                        self._imported(name, node.module or "", node.level, alias.name)
        for name, node in _defined(self.tree.body):
            self.defined.setdefault(name, []).append(node)
        self.names = {*self.imported, *self.defined}
        if self.stars:
            self.names |= {n.id for n in ast.walk(self.tree) if isinstance(n, ast.Name)}

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            top = alias.name.partition(".")[0]
            if alias.asname:
                self._imported(alias.asname, alias.name, 0, None)
            elif top == "mxm":
                self._imported("mxm", "mxm", 0, None)
            else:
                self.dotted.add(top)

    def _imported(self, name: str, module: str, level: int, there: str | None) -> None:
        self.imported.setdefault(name, []).append((module, level, there))


def _defined(body: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """The names that *body* defines, also within ``if``, ``try`` and so on."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    yield target.id, node.value
        else:
            for handler in getattr(node, "handlers", ()):
                yield from _defined(handler.body)
            for part in ("body", "orelse", "finalbody"):
                yield from _defined(getattr(node, part, ()))
