"""Uses of tasks inside ``try`` and ``with``: a run does not pass through the block.

What a body carries out is seen where it happens, by the handlers that the interpreter has for the
instruction (`block_at`). What it does not get to, an ``except`` above all, is read in its text
(`calls_in_blocks`).
"""

from __future__ import annotations

import ast
import linecache
import opcode
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, TypeAlias, cast

from mxm.pipeline.introspection.decorated import FlowBase, TaskBase
from mxm.pipeline.introspection.parsing import parsed
from mxm.pipeline.introspection.signatures import unwrapped
from mxm.pipeline.problems import Source
from mxm.pipeline.task_options import CHECKED
from mxm.pipeline.tracing.placeholders import TracingError

__all__ = ["IN_PARALLEL", "Handlers", "block_error", "calls_in_blocks"]

IN_PARALLEL = "call it in the body: tasks run in parallel with --runner threads"
"""The advice for calls of tasks through a pool or a thread."""

_HANDLES = opcode.opmap["PUSH_EXC_INFO"]  # the first instruction of a handler of try or with
_LEAVES = opcode.opmap["WITH_EXCEPT_START"]  # and what follows it in one of with
_ENTERING = ("enter_context", "enter_async_context")  # of an ExitStack, which needs no with
_LEAVING = ("close", "aclose")


def block_error(
    what: str, word: str, source: Source | None, at: Source | None = None
) -> TracingError:
    """The error for a use of a task inside a block.

    Parameters
    ----------
    what
        The use: ``task 'load' is called``.
    word
        The block's keyword.
    source
        The line of the use.
    at
        The line of the block, where that is in another file.
    """
    place = f" at {at}" if at else ""
    error = TracingError(
        f"{what} inside `{word}`{place}, but the task runs later, outside of it",
        hint=_hint(word),
        source=source,
    )
    error.code = "MXM305"
    return error


def _hint(word: str) -> str:
    rules = "run_if" in CHECKED
    if word == "with":
        return "open it inside the task"
    if word == "finally":
        return "clean up inside the task" + (", or in a task with run_if='always'" if rules else "")
    fallback = "; a fallback is a task with run_if='failed', after one with allow_failure=True"
    return "catch exceptions inside the task, or try again with retries=" + fallback * rules


# Code that is executed.


class Handlers:
    """The blocks that instructions are in, by code; each code is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[CodeType, list[tuple[int, int, str]]]] = {}

    def around(self, frame: FrameType) -> str | None:
        """The keyword of the block that *frame* is in, ``try`` or ``with``, or None."""
        code = frame.f_code
        if not code.co_exceptiontable:
            return None
        # By identity: a code's own hash takes as long as it is.
        known = self._known.get(id(code))
        if known is None:
            known = self._known[id(code)] = (code, blocks_of(code))
        return next((word for start, end, word in known[1] if start <= frame.f_lasti < end), None)


def blocks_of(code: CodeType) -> list[tuple[int, int, str]]:
    """The instructions of *code* inside ``try`` and ``with``: from, to, and which; inner first."""
    instructions = code.co_code
    blocks: list[tuple[int, int, str]] = []
    for start, end, target in _table(code.co_exceptiontable):
        if instructions[target] == _HANDLES:  # not the end of a comprehension or an await
            word = "with" if instructions[target + 2] == _LEAVES else "try"
            blocks.append((start, end, word))
    return blocks


def _table(packed: bytes) -> Iterator[tuple[int, int, int]]:
    """The entries of a code's table of exceptions: from, to, and where the handler is."""
    numbers = _numbers(packed)
    for start in numbers:
        length, target, _ = next(numbers), next(numbers), next(numbers)
        yield 2 * start, 2 * (start + length), 2 * target


def _numbers(packed: bytes) -> Iterator[int]:
    number = 0
    for byte in packed:
        number = (number << 6) | (byte & 63)
        if not byte & 64:
            yield number
            number = 0


# Code as written.

_Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"
_MADE_FROM = ("named", "with_options")  # methods of a task that give a task
_CALLING = ("map", "outcomes")  # and those that call it


def calls_in_blocks(fn: Callable[..., Any]) -> Iterator[TracingError]:
    """Calls of tasks inside a block, in the text of *fn* and of the functions of its file it calls.

    Nothing if the text is not available.
    """
    body: Any = unwrapped(fn)
    if not isinstance(body, FunctionType) or not any(map(_has_blocks, _reached(body))):
        return
    linecache.checkcache(body.__code__.co_filename)  # the module may be reloaded
    lines = linecache.getlines(body.__code__.co_filename, body.__globals__)
    try:
        tree = parsed("".join(lines))
    except SyntaxError:  # the file has changed since
        return
    yield from _Text(tree, body.__code__.co_filename).calls(body)


def _has_blocks(fn: FunctionType) -> bool:
    codes = [fn.__code__]
    for code in codes:
        if blocks_of(code) or not set(_ENTERING).isdisjoint(code.co_names):
            return True
        codes.extend(const for const in code.co_consts if isinstance(const, CodeType))
    return False


def _reached(fn: FunctionType) -> list[FunctionType]:
    """*fn* and the functions of its file that it names, and so on."""
    functions = [fn]
    for function in functions:
        scope = _scope(function)
        codes = [function.__code__]
        for code in codes:
            codes.extend(const for const in code.co_consts if isinstance(const, CodeType))
            for name in (*code.co_names, *code.co_freevars):
                named = _plain(scope.get(name))
                beside = named and named.__code__.co_filename == fn.__code__.co_filename
                if named and beside and named not in functions:
                    functions.append(named)
    return functions


def _plain(named: Any) -> FunctionType | None:
    """The function that a name refers to, without its decorators, unless a task or a flow."""
    if isinstance(named, TaskBase | FlowBase) or not callable(named):
        return None
    function: Any = unwrapped(named)
    return function if isinstance(function, FunctionType) else None


def _scope(fn: FunctionType) -> Mapping[str, Any]:
    """What names mean in *fn*, as far as it is known before it runs."""
    if not fn.__closure__:
        return fn.__globals__
    closed: dict[str, Any] = {}
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__, strict=True):
        try:
            closed[name] = cell.cell_contents
        except ValueError:  # not defined yet
            pass
    return {**fn.__globals__, **closed}


class _Text:
    """Functions of one file, as they are written."""

    def __init__(self, tree: ast.Module, file: str) -> None:
        self.file = file
        self.functions: dict[tuple[str, int], _Function] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                line = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                self.functions[node.name, line] = node
        self._calling: dict[int, bool] = {}  # by function, whether it calls a task

    def written(self, fn: FunctionType) -> _Function | None:
        return self.functions.get((fn.__code__.co_name, fn.__code__.co_firstlineno))

    def calls(self, body: FunctionType) -> Iterator[TracingError]:
        for function in _reached(body):
            node = self.written(function)
            if node is not None:
                reader = _Reader(self, node, _scope(function))
                yield from reader.errors()

    def calls_a_task(self, node: _Function, scope: Mapping[str, Any]) -> bool:
        """Whether the function *node* calls one, by itself or by another function of the file."""
        if id(node) not in self._calling:
            self._calling[id(node)] = False  # while it is looked at: it may call itself
            reader = _Reader(self, node, scope)
            self._calling[id(node)] = any(
                isinstance(part, ast.Call) and reader.called(part) for part in ast.walk(node)
            )
        return self._calling[id(node)]


class _Reader:
    """One function's text: what it calls inside which block."""

    def __init__(self, text: _Text, node: _Function, scope: Mapping[str, Any]) -> None:
        self.text = text
        self.node = node
        self.scope = scope
        self.locals: dict[str, ast.AST] = {}
        self.entered = False  # whether something was pushed on an ExitStack
        for part in ast.walk(node):
            if isinstance(part, ast.arg):
                self.locals[part.arg] = _UNKNOWN
            elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                self.locals.setdefault(part.id, _UNKNOWN)
            elif isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef) and part is not node:
                self.locals[part.name] = part
            elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Name):
                self.locals[part.targets[0].id] = part.value

    def errors(self) -> Iterator[TracingError]:
        """The calls of tasks inside a block."""
        for part, word in self._parts(self.node, None, top=True):
            source = Source(self.text.file, part.lineno)
            what = self.called(part)
            if what is not None:
                yield block_error(what, word, source)
                continue
            what = self._handed_on(part) if word == "with" else None
            if what is not None:  # to a pool
                error = block_error(what, word, source)
                error.hint = IN_PARALLEL
                yield error

    def _parts(
        self, node: ast.AST, word: str | None, *, top: bool = False
    ) -> Iterator[tuple[ast.Call, str]]:
        """The calls beneath *node* that are in a block, with its keyword."""
        if isinstance(node, _FUNCTIONS) and not top:
            word = None  # it executes where it is called
            if getattr(node, "decorator_list", ()):
                return  # a task, say, which may catch what it calls
        if isinstance(node, ast.Call):
            if word is None and isinstance(node.func, ast.Attribute):
                self.entered |= node.func.attr in _ENTERING
                self.entered &= node.func.attr not in _LEAVING
            word = word or ("with" if self.entered else None)
            if word is not None:
                yield node, word
        for field, child in _children(node):
            yield from self._parts(child, self._within(node, field) or word)

    def _within(self, node: ast.AST, field: str) -> str | None:
        """The keyword of the block that the children of *node* in *field* are in."""
        if isinstance(node, ast.Try | ast.TryStar):
            return {"body": "try", "handlers": "except", "orelse": "else"}.get(field, "finally")
        if isinstance(node, ast.With | ast.AsyncWith) and field == "body":
            # What asyncio makes here is a problem of its own.
            return None if any(map(self._of_asyncio, node.items)) else "with"
        return None

    def _of_asyncio(self, item: ast.withitem) -> bool:
        made = (
            self.value(item.context_expr.func) if isinstance(item.context_expr, ast.Call) else None
        )
        return str(getattr(made, "__module__", None)).partition(".")[0] == "asyncio"

    def called(self, call: ast.Call) -> str | None:
        """The description of *call*, if it calls a task; None otherwise."""
        func: ast.AST = call.func
        if isinstance(func, ast.Attribute) and func.attr in _CALLING:
            func = func.value
        made = self.task(func)
        if made is not None:
            return f"{'flow' if isinstance(made, FlowBase) else 'task'} {made.name!r} is called"
        function, scope = self.function(func)
        if function is not None and self.text.calls_a_task(function, scope):
            name = "a lambda" if isinstance(function, ast.Lambda) else repr(function.name)
            return f"{name}, which calls tasks, is called"
        return None

    def _handed_on(self, call: ast.Call) -> str | None:
        """The description of a *call* that takes a task as callable, as a pool does in ``with``."""
        for argument in call.args:
            made = self.task(argument)
            if made is not None:
                return f"task {made.name!r} is passed on to be called"
        return None

    def task(self, node: ast.AST | None, depth: int = 0) -> TaskBase | FlowBase | None:
        """The task or flow that *node* refers to, or is made from."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return self.task(node.func.value, depth) if node.func.attr in _MADE_FROM else None
        if isinstance(node, ast.Name) and node.id in self.locals and depth < _MOST_NAMES:
            return self.task(self.locals[node.id], depth + 1)
        value = self.value(node)
        return value if isinstance(value, TaskBase | FlowBase) else None

    def function(self, node: ast.AST | None) -> tuple[_Function | None, Mapping[str, Any]]:
        """The function of this file that *node* refers to, and the names visible in it."""
        if isinstance(node, ast.Name) and node.id in self.locals:
            node = self.locals[node.id]
        if isinstance(node, _FUNCTIONS):
            return node, self.scope
        named = _plain(self.value(node))
        if named is None or named.__code__.co_filename != self.text.file:
            return None, {}
        return self.text.written(named), _scope(named)

    def value(self, node: ast.AST | None) -> Any:
        """The object that *node*, a name or an attribute of a module, means; None if unknown."""
        if isinstance(node, ast.Name):
            return None if node.id in self.locals else self.scope.get(node.id)
        if isinstance(node, ast.Attribute):
            module = self.value(node.value)
            return vars(module).get(node.attr) if isinstance(module, ModuleType) else None
        return None


_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_UNKNOWN = ast.Pass()  # a value that is known only at run time
_MOST_NAMES = 10  # in a chain of aliases


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for field, value in ast.iter_fields(node):
        for child in cast("Iterable[Any]", value if isinstance(value, list) else [value]):
            if isinstance(child, ast.AST):
                yield field, child
