"""Follows the names that code reads to their values."""

from __future__ import annotations

import builtins
import contextlib
import importlib
import re
import sys
from types import CellType, CodeType, ModuleType
from typing import Any

from mxm.pipeline.values.fingerprint import impure
from mxm.pipeline.values.fingerprint.chains import module_name, values_of
from mxm.pipeline.values.fingerprint.constants import words_of
from mxm.pipeline.values.fingerprint.instructions import Chain, CodeFacts, codes_in, line_of
from mxm.pipeline.values.fingerprint.items import Reason
from mxm.pipeline.values.fingerprint.lazy import is_lazy
from mxm.pipeline.values.fingerprint.nodes import MISSING, Graphed, Node
from mxm.pipeline.values.fingerprint.places import OF_PROJECT

__all__ = ["Names"]


_READS_ANNOTATIONS = {
    "__annotations__", "get_type_hints", "get_annotations", "signature", "getfullargspec",
    "__signature__", "__annotate__",
}  # fmt: skip
# Docstrings, source and lines do not count anywhere else.
_READS_TEXT = frozenset(
    ["__doc__", "getdoc", "getsource", "getsourcelines", "getcomments", "findsource",
     "co_firstlineno", "co_lines", "co_positions", "f_lineno", "tb_lineno", "getline", "getlines"]
)  # fmt: skip
# Methods of frames that take an expression, which may name globals of the module that calls them.
_EXPRESSIONS = frozenset({"query", "eval"})
_OPERATION = re.compile(r"[<>=+*/@&|]")
_HOMES = ("HOME", "USERPROFILE")
_FRAMES = {"__globals__", "f_globals", "f_locals", "_getframe", "currentframe", "f_back"}

_BUILTINS = vars(builtins)


class Names:
    """Links a node with what its code reaches.

    Parameters
    ----------
    graph
        What asks it.
    """

    def __init__(self, graph: Graphed) -> None:
        self._graph = graph
        self._loaders = impure.loaders()
        self._quiet: set[tuple[Chain, int]] = set()  # nothing to record about these

    def follow(
        self, node: Node, facts: CodeFacts, namespace: Any, code: Any = None, *, cells: Any = None
    ) -> None:
        """Make *node* depend on everything that *facts* reach from *namespace*."""
        local, named = self._graph.imported(node, facts, namespace)
        held: dict[str, CellType] = cells or {}
        for name, cell in held.items():
            with contextlib.suppress(ValueError):
                local[name] = cell.cell_contents
        done: set[tuple[str, int, bool]] = set()  # what is linked already
        for chain in facts.chains:
            root = chain.names[0]
            if chain.scope == "l":
                value = local.get(root, MISSING)
                if root in named:
                    self.note_named(node, chain, named[root], code)
                elif value is not MISSING:
                    self._reach(node, chain, value, facts, namespace, code, done)
                continue
            value = namespace.get(root, MISSING)
            self._graph.bind(node, namespace, root, value)
            if value is MISSING:
                value = _BUILTINS.get(root, MISSING)
                if value is MISSING:
                    continue
            self._reach(node, chain, value, facts, namespace, code, done)
        for name in facts.stored:
            self._graph.bind(node, namespace, name, namespace.get(name, MISSING))
        for word in facts.words:
            value = namespace.get(word, MISSING)
            if value is not MISSING and not (word.startswith("__") and word.endswith("__")):
                self._word(node, word, value, namespace)
        if isinstance(code, CodeType) and not _EXPRESSIONS.isdisjoint(facts.attributes):
            self._expression(node, code, namespace)
        names = {*facts.attributes, *(chain.names[0] for chain in facts.chains)}
        node.reads_annotations |= bool(names & _READS_ANNOTATIONS)
        node.reads_text |= not _READS_TEXT.isdisjoint(facts.attributes)
        if "expanduser" in names:
            node.environment |= dict.fromkeys(_HOMES)
        if "expandvars" in names:
            text = "reads the environment by names in a text"
            self._dynamic(node, text, code, "expandvars")
        for name in sorted(names & _FRAMES):
            self._dynamic(node, f"reads {name}", code, name)
        if "__subclasses__" in names:
            self._subclasses(node)

    def _expression(self, node: Node, code: CodeType, namespace: Any) -> None:
        """``frame.query(text)``, whose text comes from elsewhere: it may name any constant here."""
        texts = [each for one in codes_in(code) for each in one.co_consts if isinstance(each, str)]
        whole = any(_OPERATION.search(each) for each in texts)
        if whole and not any(each.rstrip().endswith("@") for each in texts):
            return
        for name, value in list(namespace.items()):
            if not (name.startswith("__") or callable(value) or isinstance(value, ModuleType)):
                self._word(node, name, value, namespace)

    def _word(self, node: Node, word: str, value: Any, namespace: Any) -> None:
        self._graph.bind(node, namespace, word, value)
        if isinstance(value, ModuleType):
            self._graph.module(node, word, value, None)
        else:
            self._graph.link(node, word, value, namespace)

    def _reach(
        self,
        node: Node,
        chain: Chain,
        value: Any,
        facts: CodeFacts,
        space: Any,
        code: Any,
        done: set[tuple[str, int, bool]],
    ) -> None:
        """Follow one name and its attributes."""
        values = values_of(chain, value)
        last = len(values) == len(chain.names)
        self.note(node, chain, values, space, code)
        root = chain.names[0]
        key = (root, id(values[-1]) if isinstance(values[-1], ModuleType) else id(value), last)
        if key in done:
            return
        done.add(key)
        if root in ("__builtins__", "__spec__", "__loader__") and value is space.get(root):
            self._dynamic(node, f"reads {root}", code, root)
            return
        if isinstance(value, ModuleType):
            end = values[-1]
            whole = chain.names[len(values) : len(values) + 1] == ("__dict__",)
            bare = whole or (last and isinstance(end, ModuleType))
            self._graph.module(node, root, value, facts, end if bare else None)
            return
        scope = space if chain.scope == "g" and root in space else None
        self._graph.link(node, root, value, scope)
        for text in words_of(value):
            other = space.get(text, MISSING)
            if other is not MISSING and other is not value:
                self._word(node, text, other, space)

    def note(self, node: Node, chain: Chain, values: list[Any], space: Any, code: Any) -> None:
        """Note impure, dynamic and environment reads among the names of *chain*."""
        key = (chain, id(values[0]))
        if key in self._quiet:
            return
        before = len(node.reasons), len(node.environment), len(node.edges)
        self._note(node, chain, values, space, code)
        if before == (len(node.reasons), len(node.environment), len(node.edges)):
            self._quiet.add(key)

    def _note(self, node: Node, chain: Chain, values: list[Any], space: Any, code: Any) -> None:
        read = impure.environment_of(chain, values)
        if read is not None:
            self._environment(node, read, space, code, chain)
        owner: Any = None
        modules: list[str] = []
        for number, value in enumerate(values):
            name = chain.names[number]
            at_end = number == len(chain.names) - 1
            reason = impure.kind_of(owner, name, value, chain if at_end else None)
            if reason is not None:
                self._reason(node, reason[0], f"reads {reason[1]}", code, name)
            what = impure.is_dynamic(value) or self._loaders.get(id(value))
            if what is not None:
                self._dynamic(node, f"calls {what}", code, name)
            elif value is builtins.globals or value is sys.modules:
                self._own_module(node, chain, value, space, code, name)
            elif value is importlib.import_module or value is builtins.__import__:
                self._import_by_text(node, chain, space, code, name)
            elif value is sys.argv:
                self._reason(node, "process", "reads sys.argv", code, name)
            if not number or isinstance(owner, ModuleType):
                modules.append(module_name(value) or "")
            owner = value
        if len(values) < len(chain.names) and isinstance(owner, ModuleType):
            rest = chain.names[len(values) :]  # its module creates it on demand
            late = impure.kind_of_name(".".join((owner.__name__, *rest)), chain)
            if late is not None:
                self._reason(node, late[0], late[1], code, rest[-1])
        kinds = {impure.kind_of_package(name): name.partition(".")[0] for name in modules}
        for kind, name in kinds.items():
            if kind is not None and self._graph.origin_of(values[0]) not in OF_PROJECT:
                self._reason(node, kind, f"uses {name}", code, chain.names[0])

    def note_named(self, node: Node, chain: Chain, name: str, code: Any) -> None:
        """Note the same for a name of a module that is not loaded yet."""
        full = ".".join((name, *chain.names[1:]))
        if full in impure.LOADERS:
            self._dynamic(node, f"calls {full}", code, chain.names[-1])
        reason = impure.kind_of_name(full, chain)
        if reason is not None:
            self._reason(node, reason[0], reason[1], code, chain.names[-1])

    def _reason(self, node: Node, kind: str, text: str, code: Any, name: str) -> None:
        line = line_of(code, name) if isinstance(code, CodeType) else node.line
        node.reasons.append(Reason(kind, text, node.file, line))

    def _dynamic(self, node: Node, text: str, code: Any, name: str) -> None:
        self._reason(node, "dynamic", text, code, name)

    def _environment(self, node: Node, read: str, space: Any, code: Any, chain: Chain) -> None:
        kind, _, name = read.partition(":")
        if kind == "g":
            value = space.get(name)
            name = value if isinstance(value, str) else ""
        if kind == "?" or not name:
            text = "reads the environment by a name that is not constant"
            self._dynamic(node, text, code, chain.names[-1])
        else:
            node.environment[name] = None

    def _own_module(
        self, node: Node, chain: Chain, value: Any, space: Any, code: Any, name: str
    ) -> None:
        """``globals()`` or ``sys.modules[...]``."""
        if value is sys.modules and chain.after != ("g", "__name__"):
            if chain.after[:1] == ("c",):
                self._module_by_name(node, chain.after[1], code, name)
            else:
                self._dynamic(node, "reads sys.modules by a name that is not constant", code, name)
            return
        self._graph.widen(node, "globals()", space)

    def _import_by_text(self, node: Node, chain: Chain, space: Any, code: Any, name: str) -> None:
        text = chain.after[1] if len(chain.after) == 2 else None
        if text is not None and chain.after[0] == "g":
            value = space.get(text)
            text = value if isinstance(value, str) else None
        if text is None or text.startswith("."):
            self._dynamic(node, "imports a module whose name is not constant", code, name)
        else:
            self._module_by_name(node, text, code, name)

    def _module_by_name(self, node: Node, name: str, code: Any, at: str) -> None:
        module = sys.modules.get(name)
        if module is not None and not is_lazy(name):
            if self._graph.places.of_module(module)[0] in OF_PROJECT:
                self._graph.widen(node, f"module {name}", vars(module))
            else:
                self._graph.foreign_module(node, name)
        elif not self._graph.unloaded_module(node, name):
            self._dynamic(node, f"imports {name}, which is not found", code, at)

    def _subclasses(self, node: Node) -> None:
        """Every class below those that *node* is or names."""
        stack: list[type] = [
            kept
            for kept, known in list(self._graph.nodes.values())
            if isinstance(kept, type) and (known is node or known in node.edges.values())
        ]
        while stack:
            cls = stack.pop()
            below: list[type] = type.__subclasses__(cls)
            for each in below:
                key = f"subclass {each.__module__}.{each.__qualname__}"
                if key not in node.edges:
                    self._graph.link(node, key, each)
                    stack.append(each)
