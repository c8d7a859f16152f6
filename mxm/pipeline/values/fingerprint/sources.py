"""Reads a source file: its compiled code, classes, decorators, imports and side effects."""

from __future__ import annotations

import ast
import hashlib
import re
from collections.abc import Iterator
from types import CodeType
from typing import Any, NamedTuple

from mxm.pipeline.introspection.parsing import compiled, parsed
from mxm.pipeline.values.fingerprint.instructions import (
    CodeFacts,
    Import,
    codes_in,
    facts_of,
    raw_digest,
)
from mxm.pipeline.values.fingerprint.items import hash_of

__all__ = ["FileFacts", "Statement", "binding", "module_facts", "read_source"]


class Statement(NamedTuple):
    """A statement or an expression of a module.

    Parameters
    ----------
    line
        Where it starts.
    digest
        Of its syntax.
    root
        The call as names: ``("pd", "set_option")``; empty for anything else.
    guarded
        Whether it runs only if the file is the main program.
    facts
        What it reaches.
    """

    line: int
    digest: str
    root: tuple[str, ...]
    guarded: bool
    facts: CodeFacts


class _Class(NamedTuple):
    line: int
    digest: str  # without annotations
    annotated: str  # with them
    raw: str


class FileFacts(NamedTuple):
    """The facts about a source file.

    Parameters
    ----------
    digest
        Of its bytes.
    codes
        By `raw_digest`, each function and class that it compiles to: qualified names and facts.
    classes
        By qualified name.
    decorators
        By qualified name of what they decorate.
    decorated
        By name, the decorated definitions of the module itself, annotations included.
    effects
        Statements that do more than bind names of the module.
    imports
        That run when the module is imported.
    """

    digest: str
    codes: dict[str, tuple[list[str], CodeFacts]]
    classes: dict[str, list[_Class]]
    decorators: dict[str, list[Statement]]
    decorated: dict[str, list[Statement]]
    effects: list[Statement]
    imports: list[Import]

    def ran_once(self) -> str:
        """The digest of the statements that ran at import, without function bodies."""
        return hash_of(
            *(each.digest for each in self.effects),
            *(each.digest for statements in self.decorated.values() for each in statements),
            *(each.digest for statements in self.decorators.values() for each in statements),
            *(each.annotated for statements in self.classes.values() for each in statements),
        )

    def to_json(self) -> list[Any]:
        """As JSON."""
        return [
            self.digest,
            {raw: [name, facts.to_json()] for raw, (name, facts) in self.codes.items()},
            self.classes,
            _stated(self.decorators),
            _stated(self.decorated),
            [_written(each) for each in self.effects],
            self.imports,
        ]

    @classmethod
    def from_json(cls, data: list[Any]) -> FileFacts:
        """Read the output of `to_json`."""
        digest, codes, classes, decorators, decorated, effects, imports = data
        return cls(
            digest,
            {raw: (name, CodeFacts.from_json(facts)) for raw, (name, facts) in codes.items()},
            {name: [_Class(*each) for each in entries] for name, entries in classes.items()},
            {name: [_read(each) for each in entries] for name, entries in decorators.items()},
            {name: [_read(each) for each in entries] for name, entries in decorated.items()},
            [_read(each) for each in effects],
            [Import(m, level, tuple(names), tuple(to)) for m, level, names, to in imports],
        )


def _stated(statements: dict[str, list[Statement]]) -> dict[str, list[Any]]:
    return {name: [_written(each) for each in listed] for name, listed in statements.items()}


def _written(statement: Statement) -> list[Any]:
    return [*statement[:-1], statement.facts.to_json()]


def _read(data: list[Any]) -> Statement:
    line, digest, root, guarded, facts = data
    return Statement(line, digest, tuple(root), guarded, CodeFacts.from_json(facts))


def module_facts(source: bytes, file: str) -> CodeFacts:
    """Everything that a file reaches, for one that is not imported yet.

    Raises
    ------
    SyntaxError, ValueError
        It is not Python.
    """
    return facts_of(compiled(parsed(source, file), file))


def read_source(source: bytes, file: str) -> FileFacts:
    """The facts in *source*, the text of *file*.

    Raises
    ------
    SyntaxError, ValueError
        It is not Python.
    """
    tree = parsed(source, file)
    module = compiled(tree, file)
    codes = [each for each in codes_in(module) if each is not module]
    bound = _bound(module, tree)
    raws = {code: raw_digest(code) for code in codes}
    facts: dict[str, tuple[list[str], CodeFacts]] = {}
    by_place: dict[tuple[str, int], str] = {}
    for code in codes:
        raw = raws[code]
        by_place[code.co_qualname, code.co_firstlineno] = raw
        if raw not in facts:
            facts[raw] = [], _of_names(facts_of(code), bound)
        facts[raw][0].append(code.co_qualname)
    reading = _Reading(file, bound)
    reading.prepare(tree)
    definitions = list(_definitions(tree, ""))
    decorated = reading.decorated(tree)
    reading.strip_functions(tree)
    with_annotations = {
        key: _hash(node) for key, node in _keyed(definitions) if isinstance(node, ast.ClassDef)
    }
    reading.strip_classes(tree)
    classes: dict[str, list[_Class]] = {}
    decorators: dict[str, list[Statement]] = {}
    for key, node in _keyed(definitions):
        name = key[0]
        line = min([node.lineno, *(each.lineno for each in node.decorator_list)])
        if isinstance(node, ast.ClassDef):
            raw = by_place.get((name, line), "")
            classes.setdefault(name, []).append(
                _Class(line, _hash(node), with_annotations[key], raw)
            )
        for each in node.decorator_list:
            decorators.setdefault(name, []).append(reading.statement(each))
    return FileFacts(
        hashlib.sha256(source).hexdigest(),
        facts,
        classes,
        decorators,
        decorated,
        list(reading.effects(tree.body, guarded=False)),
        list(_imports(tree.body)),
    )


_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Definition]]:
    """Every class and function in *node*, with its qualified name."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Definition):
            name = prefix + child.name
            yield name, child
            inside = name + ("." if isinstance(child, ast.ClassDef) else ".<locals>.")
            yield from _definitions(child, inside)
        else:
            yield from _definitions(child, prefix)


def _keyed(
    definitions: list[tuple[str, _Definition]],
) -> Iterator[tuple[tuple[str, int], _Definition]]:
    for number, (name, node) in enumerate(definitions):
        yield (name, number), node


def _hash(node: ast.AST) -> str:
    return hashlib.sha256(ast.dump(node).encode("utf-8", "surrogatepass")).hexdigest()[:40]


def _bound(module: CodeType, tree: ast.Module) -> set[str] | None:
    """The names that the module binds; None if they are not known."""
    names: set[str] = set()
    for code in codes_in(module):
        names.update(code.co_names)
    if names & {"globals", "setattr", "exec", "vars", "__dict__"}:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any(each.name == "*" for each in node.names):
            return None
    return names


def _of_names(facts: CodeFacts, bound: set[str] | None) -> CodeFacts:
    """*facts* without the words that are not names of the module: most are prose."""
    if bound is None:
        return facts
    return facts._replace(words=tuple(word for word in facts.words if word in bound))


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


class _Reading:
    """Reads the syntax of one file, which it changes as it goes."""

    def __init__(self, file: str, bound: set[str] | None) -> None:
        self._file = file
        self._bound = bound

    def prepare(self, tree: ast.Module) -> None:
        """Remove docstrings and the annotations of local variables."""
        for node in ast.walk(tree):
            if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
                first = node.body[0]
                node.body[:1] = [] if len(node.body) > 1 else [ast.copy_location(ast.Pass(), first)]

    def strip_functions(self, tree: ast.Module) -> None:
        """Remove the annotations of parameters and results, and of variables in functions."""
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                node.returns = None
                for child in node.body:
                    _strip_variables(child)
            elif isinstance(node, ast.arg):
                node.annotation = None

    def strip_classes(self, tree: ast.Module) -> None:
        """Remove the annotations of the variables of classes and of the module."""
        _strip_variables(tree)

    def decorated(self, tree: ast.Module) -> dict[str, list[Statement]]:
        """The decorated definitions of the module, by name."""
        by_name: dict[str, list[Statement]] = {}
        for name, node in _definitions(tree, ""):
            if node.decorator_list and "." not in name:
                by_name.setdefault(name, []).append(self.statement(node))
        return by_name

    def statement(self, node: ast.stmt | ast.expr, *, guarded: bool = False) -> Statement:
        """*node* as a `Statement`."""
        tree = ast.Expression(node) if isinstance(node, ast.expr) else ast.Module([node], [])
        facts = _of_names(facts_of(compiled(tree, self._file)), self._bound)
        return Statement(node.lineno, _hash(node), _root(node), guarded, facts)

    def effects(self, body: list[ast.stmt], *, guarded: bool) -> Iterator[Statement]:
        """The statements in *body* that do more than bind names."""
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield from self.effects(node.body, guarded=guarded)
            elif isinstance(node, ast.If) and _is_guard(node.test):
                yield from self.effects(node.body, guarded=True)
                yield from self.effects(node.orelse, guarded=guarded)
            elif _has_effect(node):
                yield self.statement(node, guarded=guarded)


def _strip_variables(node: ast.AST) -> None:
    for each in ast.walk(node):
        if isinstance(each, ast.AnnAssign):
            each.annotation = ast.copy_location(ast.Constant(None), each.annotation)


def _is_guard(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and "'__main__'" in ast.unparse(test)


_CHANGES = re.compile(
    r"_?(set|reg|seed|use|config|enable|disable|init|patch|install|activate|load|insert|append|"
    r"add|filter|simplefilter|monkey)",
    re.IGNORECASE,
)


def _has_effect(node: ast.stmt) -> bool:
    match node:
        case ast.Expr():
            return any(isinstance(each, ast.Call | ast.Await) for each in ast.walk(node))
        case ast.Assign(targets=targets, value=value):
            return any(map(_is_elsewhere, targets)) or _may_change(value)
        case ast.AnnAssign(target=target, value=value):
            return value is not None and (_is_elsewhere(target) or _may_change(value))
        case ast.AugAssign(target=target):
            return _is_elsewhere(target)
        case ast.Delete(targets=targets):
            return any(map(_is_elsewhere, targets))
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return False
        case ast.ClassDef(body=body):
            return any(map(_has_effect, body))
        case _:
            return any(
                _has_effect(child) for child in _children(node) if isinstance(child, ast.stmt)
            )


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """The statements directly in a compound statement."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from _children(child)
        else:
            yield child


def _is_elsewhere(target: ast.expr) -> bool:
    """Whether binding *target* changes something other than a name of the module."""
    if isinstance(target, ast.Tuple | ast.List):
        return any(map(_is_elsewhere, target.elts))
    if isinstance(target, ast.Starred):
        return _is_elsewhere(target.value)
    return not isinstance(target, ast.Name)


def _may_change(value: ast.expr) -> bool:
    """Whether *value* calls a function named like a setter: ``old = np.seterr(all="raise")``."""
    for each in ast.walk(value):
        if isinstance(each, ast.Call):
            root = _root(each)
            if len(root) > 1 and _CHANGES.match(root[-1]):
                return True
    return False


def _root(node: ast.AST) -> tuple[str, ...]:
    """The names in *node* or in what it calls."""
    names: list[str] = []
    while True:
        match node:
            case ast.Expr(value=inner) | ast.Call(func=inner) | ast.Subscript(value=inner):
                node = inner
            case ast.Await(value=inner):
                node = inner
            case ast.Attribute(value=inner, attr=name):
                names.append(name)
                node = inner
            case ast.Name(id=name):
                return (name, *reversed(names))
            case _:
                return ()


def _imports(body: list[ast.stmt]) -> Iterator[Import]:
    """The imports that run with the module."""
    for node in body:
        if isinstance(node, ast.Import):
            for each in node.names:
                bound = each.asname or each.name.partition(".")[0]
                yield Import(each.name, 0, (), (bound,))
        elif isinstance(node, ast.ImportFrom):
            names = tuple(each.name for each in node.names)
            bound_to = tuple(each.asname or each.name for each in node.names)
            yield Import(node.module or "", node.level, names, bound_to)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports([each for each in _children(node) if isinstance(each, ast.stmt)])


def binding(source: bytes, file: str, name: str) -> tuple[list[Statement], list[Import]]:
    """The statements of a module that bind *name*, and the imports that do.

    Raises
    ------
    SyntaxError, ValueError
        It is not Python.
    """
    tree = parsed(source, file)
    reading = _Reading(file, None)
    reading.prepare(tree)
    reading.strip_functions(tree)
    reading.strip_classes(tree)
    statements = [
        reading.statement(node)
        for node in tree.body
        if not isinstance(node, ast.Import | ast.ImportFrom) and _binds(node, name)
    ]
    return statements, [each for each in _imports(tree.body) if name in each.variables]


def _binds(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    return any(
        isinstance(each, ast.Name) and each.id == name and not isinstance(each.ctx, ast.Load)
        for each in ast.walk(node)
    )
