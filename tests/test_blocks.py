"""Calls of tasks inside try, with and threads: a run does not pass through what stands around them."""

from __future__ import annotations

import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest
from bodies import problems_of, the_problem
from modules import line_of, module_of

import mxm

HEAD = """
import asyncio, concurrent.futures, contextlib, functools, threading
import mxm

lock = threading.Lock()
POOL = concurrent.futures.ThreadPoolExecutor()

@mxm.task
def load(x=1, *rest, **more):
    return x

@mxm.task
async def fetch(x=1):
    return x

@mxm.flow
def inner(x):
    return load(x)

@contextlib.contextmanager
def session():
    yield 1

class Session:
    async def __aenter__(self): return self
    async def __aexit__(self, *error): return None

def read(x=1):
    return {}

def simple(x):
    return load(x)

def guarded(x):
    try:
        return load(x)  # helper
    except KeyError:
        return None

def chained(x):
    return guarded(x)

def locked(x):
    with lock:
        yield load(x)  # generator

def retried(fn):
    @functools.wraps(fn)
    def wrapper(*args):
        try:
            return fn(*args)  # wrapper
        except KeyError:
            return fn(*args)
    return wrapper

@retried
def decorated(x):
    return load(x)

again = retried(load)

@session()
def in_session(x):
    return load(x)  # session

def spare(x):
    spy = load.named("spy")
    return spy(x)
"""


def body(folder: Path, text: str, kind: str = "") -> ModuleType:
    lines = "\n".join(f"    {line}" for line in text.splitlines())
    return module_of(
        folder, f"{HEAD}\n@mxm.flow\n{kind}def risk(x):\n{lines}\n    return load(x)\n"
    )


TRY = """try:
    {}  # here
except Exception:
    pass"""
FINALLY = """try:
    {}  # here
finally:
    pass"""
WITH = """with lock:
    {}  # here"""
IN_BLOCKS = {
    "try": (TRY, "try"),
    "try with finally": (FINALLY, "try"),
    "except*": (TRY.replace("except", "except*"), "try"),
    "with": (WITH, "with"),
    "suppress": (WITH.replace("lock", "contextlib.suppress(KeyError)"), "with"),
    "a context of the module's own": (WITH.replace("lock", "session() as s"), "with"),
    "ExitStack": (
        "with contextlib.ExitStack() as stack:\n    stack.enter_context(lock)\n    {}  # here",
        "with",
    ),
    "ExitStack without with": (
        "stack = contextlib.ExitStack()\nstack.enter_context(lock)\n{}  # here\nstack.close()",
        "with",
    ),
    "two at once": (WITH.replace("lock", "lock, session() as s"), "with"),
    "one line": ("with lock: {}  # here", "with"),
    "inside a loop": ("try:\n    for i in (1,):\n        {}  # here\nexcept KeyError: pass", "try"),
    "a loop inside": ("for i in (1,):\n    with lock:\n        {}  # here", "with"),
    "try within with": (
        "with lock:\n    try:\n        {}  # here\n    except KeyError: pass",
        "try",
    ),
    # What the body does not get to while it is read.
    "except": ("try:\n    read()\nexcept Exception:\n    {}  # here", "except"),
    "the second except": (
        "try:\n    read()\nexcept KeyError:\n    pass\nexcept Exception as e:\n    {}  # here",
        "except",
    ),
    "else": ("try:\n    read()\nexcept KeyError:\n    pass\nelse:\n    {}  # here", "else"),
    "finally": ("try:\n    read()\nfinally:\n    {}  # here", "finally"),
    "behind what raises": (
        "try:\n    read()['k']\n    {}  # here\nexcept KeyError:\n    pass",
        "try",
    ),
    "a branch that is not taken": ("if read():\n    with lock:\n        {}  # here", "with"),
}
CALLS = {
    "a task": ("load(x)", "task 'load' is called"),
    "by name": ("load(k=load)", "task 'load' is called"),
    "in a list": ("[load(s) for s in 'ab']", "task 'load' is called"),
    "in a dict": ("{s: load(s) for s in 'ab'}", "task 'load' is called"),
    "in an argument": ("read(load(x))", "task 'load' is called"),
    "under a name": ("load.named('spy')(x)", "task '(spy|load)' is called"),
    "with options": ("load.with_options(retries=2)(x)", "task 'load' is called"),
    "a flow": ("inner(x)", "flow 'inner' is called"),
    "a helper": ("simple(x)", "task 'load' is called|'simple', which calls tasks"),
    "a helper with a name for a task": ("spare(x)", "task 'spy' is called|'spare', which calls"),
    "a lambda": ("(lambda: load(x))()", "task 'load' is called|a lambda, which calls tasks"),
}


@pytest.mark.parametrize(("call", "told"), CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize(("block", "word"), IN_BLOCKS.values(), ids=list(IN_BLOCKS))
def test_a_call_inside_a_block_is_a_problem_at_its_line(
    block: str, word: str, call: str, told: str, tmp_path: Path
) -> None:
    module = body(tmp_path, block.format(call))
    problem = the_problem(module.risk)
    assert problem.code == "MXM305"
    assert re.match(f"({told}).* inside `{word}`, but the task runs later", problem.message)
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")
    assert "inside the task" in (problem.hint or "")


# What the body reaches by other functions, wherever the block is.

REACHED = {
    "a helper": ("guarded(x)", "# helper", "try"),
    "a helper's helper": ("chained(x)", "# helper", "try"),
    "a generator": ("list(locked(x))", "# generator", "with"),
    "a decorated helper": ("decorated(x)", "# wrapper", "try"),
    "a decorated task": ("again(x)", "# wrapper", "try"),
    "a callback": ("list(map(guarded, 'a'))", "# helper", "try"),
    "a nested helper": (
        "def nested():\n    with lock:\n        load(x)  # nested\nnested()",
        "# nested",
        "with",
    ),
}


@pytest.mark.parametrize(("call", "mark", "word"), REACHED.values(), ids=list(REACHED))
def test_a_block_in_a_helper_of_the_module_is_a_problem_at_its_line(
    call: str, mark: str, word: str, tmp_path: Path
) -> None:
    module = body(tmp_path, call)
    problems = problems_of(module.risk)
    assert {p.code for p in problems} == {"MXM305"}
    (problem,) = [p for p in problems if p.source and p.source.line == line_of(module, mark)]
    assert f"inside `{word}`" in problem.message


def test_a_decorator_of_the_standard_library_is_named_with_its_place(tmp_path: Path) -> None:
    module = body(tmp_path, "in_session(x)")
    problem = the_problem(module.risk)
    assert re.search(r"inside `with` at .*contextlib\.py:\d+, but", problem.message)
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# session")


def test_a_block_in_another_module_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = module_of(
        tmp_path, "def tried(fn, x):\n    try:\n        return fn(x)\n    finally: pass\n", "other"
    )
    monkeypatch.setitem(sys.modules, "other", other)
    module = body(tmp_path, "from other import tried\ntried(load, x)  # here")
    problem = the_problem(module.risk)
    assert f"inside `try` at {other.__file__}:3, but" in problem.message
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_a_wrapper_of_the_body_itself_is_what_stands_around_its_calls(tmp_path: Path) -> None:
    module = module_of(tmp_path, HEAD + "@mxm.flow\n@retried\ndef risk(x):\n    return load(x)\n")
    assert {p.code for p in problems_of(module.risk)} == {"MXM305"}


ASYNC = {
    "async with": ("async with Session():\n    await fetch(x)  # here", "with"),
    "awaited elsewhere": (
        "made = fetch(x)\ntry:\n    await made  # here\nfinally:\n    pass",
        "try",
    ),
    "try": ("try:\n    await fetch(x)  # here\nexcept KeyError:\n    pass", "try"),
    "except": ("try:\n    read()\nexcept KeyError:\n    await fetch(x)  # here", "except"),
}


@pytest.mark.parametrize(("text", "word"), ASYNC.values(), ids=list(ASYNC))
def test_blocks_of_async_bodies_are_seen_as_well(text: str, word: str, tmp_path: Path) -> None:
    module = body(tmp_path, text, "async ")
    problem = the_problem(module.risk)
    assert problem.code == "MXM305"
    assert f"inside `{word}`" in problem.message
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


@pytest.mark.parametrize("use", ["v = made['close']", "a, b = pair", "list(pair)", "made[0]['k']"])
def test_a_part_that_is_taken_inside_a_block_is_a_problem(use: str, tmp_path: Path) -> None:
    text = f"""
{HEAD}
@mxm.task
def split(x) -> tuple[int, int]:
    return x, x

@mxm.flow
def risk(x):
    made, pair = load(x), split(x)
    try:
        {use}  # here
    except KeyError:
        pass
    return load(x)
"""
    module = module_of(tmp_path, text)
    problem = the_problem(module.risk)
    assert (problem.code, problem.message.partition(" inside")[0]) == (
        "MXM305",
        "a result is indexed or unpacked",
    )


# What is no such call.

FINE = {
    "try around other code": "try:\n    k = read()\nexcept KeyError:\n    k = {}\nload(x, k)",
    "with around other code": "with lock:\n    k = read()\nload(x, k)",
    "finally without a task": "try:\n    k = read()\nfinally:\n    read()\nload(x, k)",
    "a helper that is defined in a block": "with lock:\n    def late():\n        return load(x)\nlate()",
    "a lambda that is made in a block": "with lock:\n    late = lambda: load(x)\nlate()",
    "a task that is named in a block": "try:\n    spy = load.named('spy')\nexcept KeyError:\n    spy = load\nspy(x)",
    "a spec in a block": "try:\n    print(load.spec)\nexcept KeyError:\n    pass",
    "the function in a block": "try:\n    load.fn(1)\nexcept KeyError:\n    pass",
    "a generator that reads in a block": "def rows():\n    with lock:\n        yield from 'ab'\nfor row in rows(): load(x, row)",
    "a comprehension": "[load(s) for s in 'ab']; {load.named(s)(s): 1 for s in ()}",
    "a parameter of the name": "def use(load):\n    with lock:\n        return load(1)\nuse(str)",
    "a name that is assigned": "for load2 in (str,):\n    with lock:\n        load2(1)",
    "a task of the body's own": "@mxm.task\ndef own(x):\n    try:\n        return load(x)\n    except KeyError: pass\nown(x)",
    "a flow of the body's own": "@mxm.flow\ndef own(x):\n    return load(x)\nown(x)",
    "raise in except": "try:\n    read()\nexcept KeyError as e:\n    raise ValueError from e",
    "match": "match 1:\n    case 1: load(x)\n    case _: pass",
    "for and else": "for i in (1,): load(x)\nelse: load(x)",
    "while": "while True:\n    load(x)\n    break",
    "assert": "assert load\nload(x)",
    "a cached property": "class C:\n    @functools.cached_property\n    def made(self): return load(x)\nC().made",
}


@pytest.mark.parametrize("text", FINE.values(), ids=list(FINE))
def test_what_stands_around_no_call_is_fine(text: str, tmp_path: Path) -> None:
    assert problems_of(body(tmp_path, text).risk) == []


@pytest.mark.parametrize(
    "text",
    [
        "async for v in Waits():\n    await fetch(v)",
        "made = [await fetch(v) for v in 'ab']",
        "made = [await fetch(v) async for v in Waits()]",
        "await fetch(await fetch(x))",
        "try:\n    pass\nfinally:\n    pass\nawait fetch(x)",
    ],
)
def test_what_async_bodies_are_made_of_is_no_block(text: str, tmp_path: Path) -> None:
    waits = """
class Waits:
    def __init__(self): self.left = [1, 2]
    def __aiter__(self): return self
    async def __anext__(self):
        if not self.left: raise StopAsyncIteration
        return self.left.pop()
"""
    lines = "\n".join(f"    {line}" for line in text.splitlines())
    flow = f"@mxm.flow\nasync def risk(x):\n{lines}\n    return load(x)\n"
    assert problems_of(module_of(tmp_path, HEAD + waits + flow).risk) == []


def test_a_task_may_catch_what_it_calls() -> None:
    @mxm.task
    def risky(x):
        raise KeyError(x)

    @mxm.task
    def safe(x):
        try:
            return risky(x)
        except KeyError:
            return "caught"

    @mxm.flow
    def f(x):
        return safe(x)

    assert problems_of(f) == []
    assert f(1) == f.with_options(backend="inline").run(x=1).value() == "caught"


def test_a_declared_flow_has_no_calls_and_may_have_blocks(tmp_path: Path) -> None:
    assert problems_of(body(tmp_path, "try:\n    return load\nfinally:\n    pass").risk) == []


def test_without_its_text_a_body_is_looked_at_as_it_is_carried_out() -> None:
    scope = {"mxm": mxm}
    text = """
@mxm.task
def load(x=1):
    return x

@mxm.flow
def risk(x):
    with open(__import__('os').devnull):
        return load(x)
"""
    exec(compile(text, "<nowhere>", "exec"), scope)
    problem = the_problem(scope["risk"])
    assert (problem.code, problem.source.line if problem.source else 0) == ("MXM305", 9)


# Threads.

STARTED = {
    "a pool": "list(concurrent.futures.ThreadPoolExecutor(1).map(load, ['a']))  # here",
    "a pool that is there": "POOL.submit(load, 'a').result()  # here",
    "a flow": "POOL.submit(inner, 'a').result()  # here",
    "a thread": "t = threading.Thread(target=quietly(load)); t.start(); t.join()  # here",
    "a pool in with": "with concurrent.futures.ThreadPoolExecutor() as p: p.map(load, ['a'])  # here",
    "processes in with": "with concurrent.futures.ProcessPoolExecutor() as p: [load]; (1 if True else p.map(load, ['a']))  # here",
}


@pytest.mark.parametrize("text", STARTED.values(), ids=list(STARTED))
def test_a_call_in_a_thread_that_the_body_starts_is_a_problem_and_runs_nothing(
    text: str, tmp_path: Path
) -> None:
    head = """
ran = []

@mxm.task
def load(x=1):
    ran.append(x)
    return x

def quietly(fn):
    def call():
        try:
            fn()
        except TypeError:
            pass
    return call
"""
    flow = f"@mxm.flow\ndef risk(x):\n    {text}\n    return load(x)\n"
    module = module_of(tmp_path, HEAD + head + flow)
    module.POOL.shutdown()
    problem = the_problem(module.risk)
    assert (problem.code, module.ran) == ("MXM305", [])
    assert "--runner threads" in (problem.hint or "")
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_other_threads_call_tasks_while_a_body_is_read() -> None:
    @mxm.task
    def load(x):
        return x

    go, done, found = threading.Event(), threading.Event(), []

    def work() -> None:
        go.wait(60)
        found.append(load(5))
        done.set()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(work)
        while not pool._threads:
            pass

        @mxm.flow
        def f(x):
            go.set()
            done.wait(60)
            return load(x)

    assert (found, problems_of(f)) == ([5], [])


def test_the_text_of_a_module_that_is_imported_again_is_read_again(tmp_path: Path) -> None:
    fine = body(tmp_path, "try:\n    read()\nexcept KeyError:\n    pass")
    assert problems_of(fine.risk) == []
    wrong = body(tmp_path, "\n\ntry:\n    read()\nexcept KeyError:\n    load(x)  # here")
    problem = the_problem(wrong.risk)
    assert problem.source is not None
    assert problem.source.line == line_of(wrong, "# here")
