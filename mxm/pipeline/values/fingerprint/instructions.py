"""Reads code objects: a digest of what they do, and every name by which they reach further."""

from __future__ import annotations

import dis
import hashlib
import re
import sys
from collections.abc import Iterator
from types import CodeType
from typing import Any, NamedTuple, cast

__all__ = [
    "MOMENTS",
    "WORD",
    "Chain",
    "CodeFacts",
    "Import",
    "codes_in",
    "facts_of",
    "line_of",
    "raw_digest",
]

WORD = re.compile(r"[^\W\d]\w*")


class Chain(NamedTuple):
    """A name and the attributes read from it: ``os.environ.get``.

    Parameters
    ----------
    names
        The name first.
    scope
        ``g`` for a global, ``l`` for a variable of the function.
    after
        What follows one that takes a name as a text: ``c`` and the text, or ``g`` and a global;
        ``()`` for a call without arguments, or with nothing but None; empty for anything else.
    """

    names: tuple[str, ...]
    scope: str
    after: tuple[str, ...]


class Import(NamedTuple):
    """An import: its module, level and names, and the variables that they are bound to."""

    module: str
    level: int
    names: tuple[str, ...]
    variables: tuple[str, ...]


class CodeFacts(NamedTuple):
    """What a code object, with those inside it, does and reads.

    Parameters
    ----------
    digest
        Of what it does: no positions, no docstrings.
    chains
        Every name that it reads, with the attributes read from it.
    attributes
        Every attribute that it reads or sets on anything.
    stored
        The globals that it binds.
    imports
        What it imports.
    words
        The words of its texts that may be names.
    """

    digest: str
    chains: tuple[Chain, ...]
    attributes: tuple[str, ...]
    stored: tuple[str, ...]
    imports: tuple[Import, ...]
    words: tuple[str, ...]

    def to_json(self) -> list[Any]:
        """As JSON."""
        return list(self)

    @classmethod
    def from_json(cls, data: list[Any]) -> CodeFacts:
        """Read the output of `to_json`."""
        digest, chains, attributes, stored, imports, words = data
        return cls(
            digest,
            tuple(Chain(tuple(names), scope, tuple(after)) for names, scope, after in chains),
            tuple(attributes),
            tuple(stored),
            tuple(Import(m, level, tuple(names), tuple(to)) for m, level, names, to in imports),
            tuple(words),
        )


def codes_in(code: CodeType) -> Iterator[CodeType]:
    """*code* and every code object inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


def raw_digest(code: CodeType) -> str:
    """A quick digest of *code*, including docstrings, but not its place in a file."""
    return hashlib.sha256(_raw(code).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _raw(code: CodeType) -> str:
    return repr(
        (*_header(code), code.co_names, code.co_code, [_constant(c, _raw) for c in code.co_consts])
    )


def _header(code: CodeType) -> tuple[Any, ...]:
    return (
        code.co_name, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
        code.co_flags & ~_DOCUMENTED, code.co_varnames, code.co_freevars, code.co_cellvars,
        code.co_exceptiontable,
    )  # fmt: skip


_DOCUMENTED = 0x4000000  # CO_HAS_DOCSTRING, since Python 3.13


def _constant(value: Any, of_code: Any) -> str:
    if isinstance(value, CodeType):
        return str(of_code(value))
    if isinstance(value, frozenset):  # without an order of its own
        members = sorted(_constant(each, of_code) for each in value)  # pyright: ignore[reportUnknownVariableType]
        return f"frozenset{members}"
    return f"{type(value).__name__} {value!r}"


_OPERATIONS = dis.opname
_CONSTANT = frozenset(dis.hasconst)
_NAMED = frozenset(dis.hasname)
_LOCAL = frozenset(dis.haslocal)
_FREE = frozenset(dis.hasfree)
_SILENT = {dis.opmap[name] for name in ("NOP", "CACHE", "EXTENDED_ARG") if name in dis.opmap}
_EXTENDED = dis.opmap["EXTENDED_ARG"]
# How far the index of a name is shifted: the low bits of the argument have another meaning.
_SHIFT = {
    dis.opmap[name]: bits
    for name, bits in (
        ("LOAD_GLOBAL", 1),
        ("LOAD_ATTR", 1 if sys.version_info >= (3, 12) else 0),
        ("LOAD_SUPER_ATTR", 2),
    )
    if name in dis.opmap
}
_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTE = {"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"}
_OTHER_ATTRIBUTE = {"STORE_ATTR", "DELETE_ATTR", "IMPORT_FROM"}
_STORED = {"STORE_GLOBAL", "DELETE_GLOBAL"}
# What classes contain in addition to what their authors wrote.
_WRITTEN_BY_PYTHON = {"__doc__", "__firstlineno__", "__static_attributes__"}
_WHILE_IMPORTING = {"IMPORT_FROM", "POP_TOP", "SWAP", "COPY", "ROT_TWO"}
_TAKES_NAMES = {"CALL_KW", "IMPORT_NAME"}
# Functions that take a name as a string.
_BY_TEXT = {
    "environ", "environb", "getenv", "getenvb", "import_module", "__import__", "modules",
}  # fmt: skip
MOMENTS = frozenset({"now", "today"})
"""Strings that mean the current time to a date parser."""
_BETWEEN = {"PUSH_NULL", "PRECALL", "COPY"}


class _Step(NamedTuple):
    name: str
    number: int  # the argument
    value: Any  # what the argument means


def _steps(code: CodeType) -> list[_Step]:
    steps: list[_Step] = []
    data, names, constants = code.co_code, code.co_names, code.co_consts
    extended = 0
    for at in range(0, len(data), 2):
        operation = data[at]
        number = data[at + 1] | extended
        extended = number << 8 if operation == _EXTENDED else 0
        if operation in _SILENT:
            continue
        value: Any = None
        if operation in _CONSTANT:
            value = constants[number]
        elif operation in _NAMED:
            value = names[number >> _SHIFT.get(operation, 0)]
        steps.append(_Step(_OPERATIONS[operation], number, value))
    return steps


def facts_of(code: CodeType) -> CodeFacts:
    """The facts about *code*, with the code inside it."""
    return _Reading().facts(code)


class _Reading:
    def __init__(self) -> None:
        self.chains: dict[Chain, None] = {}
        self.attributes: dict[str, None] = {}
        self.stored: dict[str, None] = {}
        self.imports: dict[Import, None] = {}
        self.words: dict[str, None] = {}
        self.modules: set[str] = set()  # variables that may hold one

    def facts(self, code: CodeType) -> CodeFacts:
        self.modules.update(code.co_freevars)
        digest = self._read(code)
        chains = (c for c in self.chains if c.scope == "g" or c.names[0] in self.modules)
        return CodeFacts(
            digest, tuple(chains), tuple(self.attributes), tuple(self.stored),
            tuple(self.imports), tuple(sorted(self.words)),
        )  # fmt: skip

    def _read(self, code: CodeType) -> str:
        steps = _steps(code)
        parts: list[str] = []
        for at, step in enumerate(steps):
            name, number, value = step
            following = steps[at + 1] if at + 1 < len(steps) else None
            if name in _CONSTANTS:
                if following is not None and following.name == "STORE_NAME" and (
                    following.value in _WRITTEN_BY_PYTHON
                ):  # fmt: skip
                    continue
                parts.append(f"{name} {_constant(value, self._read)}")
                # The last one before a call may be the names of its keywords.
                if name == "LOAD_CONST" and not (
                    following
                    and (following.name in _TAKES_NAMES or following.value == "__qualname__")
                ):
                    self._texts(value)
                continue
            if name == "STORE_NAME" and value in _WRITTEN_BY_PYTHON:
                continue
            shift = _SHIFT.get(dis.opmap[name], 0)
            low = number & ((1 << shift) - 1)
            parts.append(f"{name} {number}" if value is None else f"{name} {value} {low}")
            if name in _GLOBAL:
                if following is not None and following.value == "__module__":
                    continue  # the head of a class
                if value == "__annotations__" and _is_annotating(steps, at):
                    continue
                self._chain(steps, at, str(value), "g")
            elif name in _ATTRIBUTE or name in _OTHER_ATTRIBUTE:
                self.attributes[str(value)] = None
            elif name in _STORED:
                self.stored[str(value)] = None
            elif name == "IMPORT_NAME":
                self._import(code, steps, at, str(value))
            elif "LOAD_FAST" in name or name in _DEREFERENCED:
                for variable in _variables(code, name, number):
                    self._chain(steps, at, variable, "l")
        text = repr((_header(code), parts))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]

    def _chain(self, steps: list[_Step], at: int, root: str, scope: str) -> None:
        names = [root]
        end = at + 1
        while end < len(steps) and steps[end].name in _ATTRIBUTE:
            names.append(steps[end].value)
            end += 1
        after = _after(steps, at, end)
        if after and after[0] != "()" and _BY_TEXT.isdisjoint(names) and after[1] not in MOMENTS:
            after = ()  # a string may be a secret, and is not needed
        self.chains[Chain(tuple(names), scope, after)] = None

    def _import(self, code: CodeType, steps: list[_Step], at: int, module: str) -> None:
        names = steps[at - 1].value if at else ()
        level = (steps[at - 2].value or steps[at - 2].number) if at > 1 else 0
        if steps[at - 2].name == "LOAD_CONST":
            level = steps[at - 2].value
        variables: list[str] = []
        for step in steps[at + 1 :]:
            if step.name.startswith("STORE_"):
                at_name = step.name in ("STORE_NAME", "STORE_GLOBAL")
                bound = [step.value] if at_name else _variables(code, step.name, step.number)
                variables += bound[:1]
            elif step.name not in _WHILE_IMPORTING:
                break
        taken = tuple(names) if isinstance(names, tuple) else ()  # pyright: ignore[reportUnknownArgumentType]
        self.imports[Import(module, level or 0, taken, tuple(variables))] = None
        self.modules.update(variables)

    def _texts(self, value: Any) -> None:
        if isinstance(value, str):
            self.words.update(dict.fromkeys(WORD.findall(value)))
        elif isinstance(value, tuple | frozenset):
            for each in cast("tuple[Any, ...]", value):
                self._texts(each)


_CONSTANTS = {_OPERATIONS[number] for number in _CONSTANT}
_DEREFERENCED = {"LOAD_DEREF", "LOAD_CLASSDEREF", "LOAD_FROM_DICT_OR_DEREF"}


def _variables(code: CodeType, name: str, number: int) -> list[str]:
    """The variables that an operation loads, or the one that it stores first."""
    local = code.co_varnames
    if name == "STORE_FAST_LOAD_FAST":  # the caller wants one of them; both are harmless
        return [local[number >> 4], local[number & 15]]
    if name == "STORE_FAST_STORE_FAST":
        return [local[number >> 4]]
    if name.startswith(("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST")):
        return [local[number >> 4], local[number & 15]]
    both = [*local, *(each for each in code.co_cellvars if each not in local), *code.co_freevars]
    return both[number : number + 1]


def _is_annotating(steps: list[_Step], at: int) -> bool:
    """Whether ``__annotations__`` is loaded to write down one of a class."""
    return len(steps) > at + 2 and steps[at + 2].name == "STORE_SUBSCR"


def _after(steps: list[_Step], start: int, end: int) -> tuple[str, ...]:
    while end < len(steps) and steps[end].name in _BETWEEN:
        end += 1
    if end >= len(steps):
        return ()
    step = steps[end]
    if step.name == "CONTAINS_OP" and start and isinstance(steps[start - 1].value, str):
        before = steps[start - 1]
        return ("c", before.value) if before.name == "LOAD_CONST" else ()
    if step.name == "LOAD_CONST" and isinstance(step.value, str):
        return ("c", step.value)
    if step.name in _GLOBAL:
        more = end + 1 < len(steps) and steps[end + 1].name in _ATTRIBUTE
        return () if more else ("g", str(step.value))
    if step.name == "LOAD_CONST" and step.value is None:  # the seed that is none
        return ("()",) if _calls_with_one(steps, end + 1) else ()
    return ("()",) if step.name == "CALL" and step.number == 0 else ()


def _calls_with_one(steps: list[_Step], at: int) -> bool:
    """Whether a call with one argument begins at *at*, by position or by name."""
    for step in steps[at : at + 3]:
        if step.name in ("CALL", "CALL_KW"):
            return step.number == 1
        if step.name not in ("KW_NAMES", "PRECALL") and not (
            step.name == "LOAD_CONST" and isinstance(step.value, tuple)
        ):
            return False
    return False


def line_of(code: CodeType, name: str) -> int:
    """The first line of *code* that reads *name*, or else its first line."""
    for each in codes_in(code):
        if name in each.co_names or name in each.co_varnames or name in each.co_freevars:
            for instruction in dis.get_instructions(each):
                loads = (
                    instruction.opname.startswith("LOAD_") and instruction.opname != "LOAD_CONST"
                )
                if loads and _is_of(instruction.argval, name):
                    return (instruction.positions and instruction.positions.lineno) or (
                        each.co_firstlineno
                    )
    return code.co_firstlineno


def _is_of(value: Any, name: str) -> bool:
    return value == name if isinstance(value, str) else isinstance(value, tuple) and name in value
