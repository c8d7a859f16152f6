"""The law of traced flows: `flow(**p)` is the target's value in `flow.run(**p)`."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

from hypothesis import given, note, settings
from hypothesis import strategies as st

import mxm
from mxm.pipeline.authoring import Flow
from mxm.pipeline.checks.declarations import find_problems

# A parameter's value, and every task's result, has these parts, so that any of them may be taken.
PARTS = ("", "['k']", "[0]", "['k'][0]", "['k'][-1]", "[0]['k']")


def _made(*inputs: Any) -> dict[Any, Any]:
    """A value that tells what it was made of, with something at each of the PARTS."""
    print_ = hashlib.sha256(repr(inputs).encode()).hexdigest()[:8]
    return {"k": [print_ + "a", print_ + "b"], 0: {"k": print_}}


@mxm.task
def a(x=0, *more, k=1):
    return _made("a", x, more, k)


@mxm.task
def b(*args, **named):
    return _made("b", args, sorted(named.items()))


@mxm.task
async def c(x, y=2):
    await asyncio.sleep(0)
    return _made("c", x, y)


class Opened:
    """What a resource gives: alike in every plain call and run."""

    def __init__(self, of: str) -> None:
        self.made = _made("opened", of)


@mxm.resource
def base(of: str = "base") -> Iterator[Opened]:
    yield Opened(of)


@mxm.resource
async def upper(below: Opened = mxm.use(base)) -> AsyncIterator[Opened]:
    await asyncio.sleep(0)
    yield Opened(f"upper of {below.made['k'][0]}")


@mxm.task
def e(x, *more, opened: Opened = mxm.use(base)):
    return _made("e", x, more, opened.made)


@mxm.task
async def g(x, opened: Opened = mxm.use(upper), other: Opened = mxm.use(base)):
    await asyncio.sleep(0)
    return _made("g", x, opened.made, other.made)


class Pair(NamedTuple):
    left: Any
    right: tuple[Any, Any]


@mxm.task
def d(*args, k=1) -> tuple[Any, Pair]:
    return _made("d", args, k), Pair(_made("l", args), (_made("r", k), args))


CALLS = {  # how each task may be called, E standing for an expression
    "a": ("()", "(E)", "(E, E, E)", "(E, k=E)", "(x=E, k=E)", "(k=E)"),
    "b": ("()", "(E)", "(E, E)", "(E, z=E)", "(z=E, y=E, k=E)"),
    "c": ("(E)", "(E, E)", "(y=E, x=E)"),
    "d": ("()", "(E)", "(E, k=E)"),
    "e": ("(E)", "(E, E)", "(x=E)"),
    "g": ("(E)", "(x=E)"),
}
# How what `d` makes is unpacked: the form, how many names it takes, and which of them have the PARTS.
FORMS = (
    ("{}, {}", (True, False)),
    ("{}, ({}, ({}, {}))", (True, True, True, False)),
    ("{}, ({}, *{})", (True, True, False)),
    ("*{}, ({}, {})", (False, True, False)),
)
OPTIONS = (
    *("", "", ".named('{task}_{n}')", ".with_options(retries=1)"),
    *(
        ".with_options(name='{task}_{n}', tags=['x'])",
        ".named('{task}_{n}').with_options(retries=2)",
    ),
)
RULES = (
    *(".with_options(run_if='not_failed')", ".with_options(run_if='always')"),
    ".with_options(allow_failure=True)",
)
# How tasks and flows may be mapped, L standing for a list of two, W for one of values with the PARTS.
MAPS = {
    "a": (
        *(".map(L)", ".map(L, k=E)", ".map(L, k=mxm.each(L))", ".outcomes(L, k=E)"),
        ".with_options(on_item_error='skip').map(L)",
    ),
    "c": (".map(L)", ".map(L, y=E)", ".map(L, y=mxm.each(L))", ".outcomes(L)"),
    "e": (".map(L)", ".outcomes(L)"),
    "g": (".map(L)", ".outcomes(L)"),
}
FLOW_MAPS = (".map(W)", ".map(W, q=V)", ".map(W, q=V, r=mxm.each(W))", ".map(W, r=V)")
FLOW_CALLS = ("(E)", "(E, E)", "(E, r=E)", "(r=E, q=E, p=E)")
CONSTANTS = ("0", "-1.5", "'t'", "None", "True", "[]", "{}", "(1, [2])", "{'m': [3]}")


class Writer:
    """Writes one flow's body: statements in text, over the names they have made so far."""

    def __init__(
        self,
        draw: Any,
        name: str,
        is_async: bool,
        inner: dict[str, bool],
        *,
        is_mappable: bool = False,
        mappable: frozenset[str] = frozenset(),
    ) -> None:
        self.draw = draw
        self.name = name
        self.is_async = is_async
        self.inner = inner  # flows that may be called, and whether they are async
        self.results: list[str] = []  # names of results, which may be returned
        self.parted = ["p", "q", "r"]  # names that have the PARTS
        self.others: list[str] = []  # names of lists, and of what flows return
        self.lists: list[str] = []
        self.is_mappable = is_mappable  # it maps nothing, and returns what one task made
        self.mappable = mappable  # flows that may be mapped
        self.wholes = ["v0"]  # what one task made
        self.mapped: list[str] = []  # names of lists of two that were made by maps
        self.count = 0
        self.constants = False  # whether any is returned

    def one_of(self, *items: Any) -> Any:
        return self.draw(st.sampled_from(items))

    def fresh(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def expression(self, depth: int = 2) -> str:
        """Anything that a call may be given."""
        kinds = ["name", "name", "constant", *(["other"] if self.others else [])]
        if depth:
            kinds += ["list", "tuple", "dict", "call"]
        kind = self.one_of(*kinds)
        if kind == "name":
            return self.one_of(*self.parted) + self.one_of(*PARTS)
        if kind == "constant":
            return self.one_of(*CONSTANTS)
        if kind == "other":
            return self.one_of(*self.others)
        if kind == "call":
            return self.call(depth - 1)
        items = [self.expression(depth - 1) for _ in range(self.draw(st.integers(1, 2)))]
        return self.collection(kind, items)

    def collection(self, kind: str, items: list[str]) -> str:
        if kind == "list":
            return f"[{', '.join(items)}]"
        if kind == "tuple":
            return f"({', '.join(items)},)"
        return "{" + ", ".join(f"{key}: {i}" for key, i in zip(("'m'", "7"), items)) + "}"

    def whole(self) -> str:
        """What a flow may be given: something that has the PARTS."""
        kind = self.one_of("name", "name", "call", "made")
        if kind == "name":
            return self.one_of(*self.parted)
        if kind == "call":
            return self.call(1)
        first, second, third = (self.expression(1) for _ in range(3))
        return f"{{'k': [{first}, {second}], 0: {{'k': {third}}}}}"

    def filled(self, form: str, argument: Callable[[], str]) -> str:
        head, *rest = form.split("E")
        return head + "".join(argument() + text for text in rest)

    def call(self, depth: int = 2) -> str:
        """A call of a task, perhaps under a name of its own."""
        task = self.one_of("a", "a", "b", "b", "e", *("ccg" if self.is_async else ""))
        text = self.call_of(task, depth)
        return f"(await {text})" if task in "cg" else text

    def call_of(self, task: str, depth: int) -> str:
        form = self.one_of(*CALLS[task])
        self.count += 1
        # Among them chosen names, which counting must skip.
        options = self.one_of(*OPTIONS).format(task=task, n=self.count)
        return f"{task}{options}{self.filled(form, lambda: self.expression(depth))}"

    def unpacking(self) -> list[str]:
        """A result unpacked into names, in a statement or in a call."""
        call = self.call_of("d", 1)
        form, parted = self.one_of(*FORMS)
        names = [self.fresh() for _ in parted]
        for name, has_parts in zip(names, parted, strict=True):
            (self.parted if has_parts else self.others).append(name)
            if has_parts:
                self.results.append(name)
        lines = [f"{form.format(*names)} = {call}"]
        if self.draw(st.booleans()):
            name = self.fresh()
            lines.append(f"{name} = b(*{self.call_of('d', 1)}, z=list({self.call_of('d', 1)}))")
            self.others.append(name)
        return lines

    def map(self, depth: int = 1) -> str:
        """A map of a task."""
        task = self.one_of("a", "a", "e", *("ccg" if self.is_async else ""))
        text = task + self.mapping(self.one_of(*MAPS[task]), depth)
        return f"(await {text})" if task in "cg" else text

    def mapping(self, form: str, depth: int = 1) -> str:
        """*form* with its lists and values filled in."""
        fill = {
            "L": lambda: self.pair(depth),
            "W": lambda: self.pair_of_wholes(depth),
            "E": lambda: self.expression(1),
            "V": self.whole,
        }
        return re.sub("[LWEV]", lambda found: fill[found[0]](), form)

    def pair(self, depth: int) -> str:
        """A list of two items of any kind."""
        kind = self.one_of("part", "list", "tuple", "wholes")
        if kind == "part":
            return f"{self.one_of(*self.parted)}['k']"
        if kind == "wholes":
            return self.pair_of_wholes(depth)
        return self.collection(kind, [self.expression(depth), self.expression(depth)])

    def pair_of_wholes(self, depth: int) -> str:
        """A list of two items that have the PARTS."""
        kind = self.one_of("list", *(["mapped"] if self.mapped else []), *(["map"] * bool(depth)))
        if kind == "mapped":
            return self.one_of(*self.mapped)
        if kind == "map":
            return self.map(depth - 1)
        return f"[{self.whole()}, {self.whole()}]"

    def took(self, name: str) -> list[str]:
        """Take note of *name*, a list that a map made, and of an item of it."""
        self.mapped.append(name)
        self.others.append(name)
        item = self.fresh()
        self.parted.append(item)
        self.results += [item, name] if self.draw(st.booleans()) else [item]
        return [f"{item} = {name}[{self.one_of(0, 1, -1)}]"]

    def statement(self) -> list[str]:
        kinds = ["call", "call", "call", "loop", "list", "unpack"]
        kinds += ["grow"] if self.lists else []
        kinds += ["flow", "flow"] if self.inner else []
        if not self.is_mappable:
            kinds += ["map", "map", *(["map flow", "map flow"] if self.mappable else [])]
        kinds += ["rule", "not run"]
        kind = self.one_of(*kinds)
        if kind == "unpack":
            return self.unpacking()
        if kind == "map":
            text, name = self.map(), self.fresh()
            return [f"{name} = {text}", *self.took(name)]
        if kind == "map flow":
            flow, name = self.one_of(*sorted(self.mappable)), self.fresh()
            text = flow + self.mapping(self.one_of(*FLOW_MAPS))
            return [f"{name} = {'await ' if self.inner[flow] else ''}{text}", *self.took(name)]
        if kind == "not run":  # nothing upstream fails
            rule = ".with_options(run_if='failed')"
            return [f"a{rule}({self.one_of(*self.wholes)}, {self.expression(1)})"]
        if kind == "rule":
            task, name = self.one_of("a", "b"), self.fresh()
            rule = self.one_of(*RULES)
            text = f"{task}{rule}({self.expression()}, {self.one_of(*self.wholes)})"
            self.results.append(name)
            self.parted.append(name)
            self.wholes.append(name)
            return [f"{name} = {text}"]
        if kind == "grow":
            return [f"{self.one_of(*self.lists)}.append({self.call(1)})"]
        if kind == "list":
            text, name = f"[{self.call(1)}]", self.fresh()
            self.lists.append(name)
            self.others.append(name)
            return [f"{name} = {text}"]
        if kind == "flow":
            flow = self.one_of(*self.inner)
            text, name = f"{flow}{self.filled(self.one_of(*FLOW_CALLS), self.whole)}", self.fresh()
            self.others.append(name)
            return [f"{name} = {'await ' if self.inner[flow] else ''}{text}"]
        text, name = self.call(), self.fresh()
        self.wholes.append(name)
        lines = [f"{name} = {text}"]
        self.results.append(name)
        self.parted.append(name)
        if kind == "loop":
            lines += ["for i in range(2):", f"    {name} = a({name}, i)"]
        return lines

    def returned(self, depth: int = 2) -> str:
        """Results and parameters, or parts of them, in any containers, constants beside them."""
        kind = self.one_of("one", "one", *(["list", "tuple", "dict"] if depth else []))
        if kind == "one" and depth < 2 and self.draw(st.booleans()):
            self.constants = True
            return self.one_of(*CONSTANTS)
        if kind == "one":
            names = [*self.results, *(["p", "r"] if self.name == "flow" else [])]
            name = self.one_of(*names)
            return name + ("" if name in self.mapped else self.one_of(*PARTS))
        items = [self.returned(depth - 1) for _ in range(self.draw(st.integers(1, 2)))]
        return self.collection(kind, items)

    def write(self) -> str:
        lines = ["v0 = a(p)"]
        self.results.append("v0")
        self.parted.append("v0")
        for _ in range(self.draw(st.integers(0, 5))):
            lines += self.statement()
        returned = self.one_of(self.returned(), self.returned(), None)
        if self.is_mappable:
            self.constants, returned = False, self.one_of(*self.wholes)
        if self.constants and returned is not None:  # they may not be returned alone
            returned = f"({returned}, v0)"
        lines.append(f"return {returned}")
        kind = "async " if self.is_async else ""
        head = ["@mxm.flow", f"{kind}def {self.name}(p, q=Q, *, r=R):"]
        return "\n".join([*head, *(f"    {line}" for line in lines)])


@st.composite
def programs(draw: Any) -> str:
    """The text of a flow, and of those that it calls."""
    may_wait = draw(st.booleans())
    flows: dict[str, bool] = {}
    texts: list[str] = []
    mappable: set[str] = set()
    for name in [*("inner", "middle")[: draw(st.integers(0, 2))], "flow"]:
        # A body that calls an async flow must be async itself.
        is_async = may_wait and (name == "flow" or any(flows.values()) or draw(st.booleans()))
        is_mappable = name != "flow" and draw(st.booleans())
        # What a mapped flow calls may have no map, either.
        callable_ = {n: f for n, f in flows.items() if n in mappable or not is_mappable}
        writer = Writer(
            *(draw, name, is_async, callable_),
            is_mappable=is_mappable,
            mappable=frozenset(mappable),
        )
        texts.append(writer.write())
        flows[name] = is_async
        if is_mappable:
            mappable.add(name)
    return "\n\n".join(texts)


VALUES = st.sampled_from([_made("one"), _made("two")])
PARAMS = st.fixed_dictionaries({"p": VALUES}, optional={"q": VALUES, "r": VALUES})


@settings(
    max_examples=200, deadline=None, derandomize=True, database=None, report_multiple_bugs=False
)
@given(programs(), PARAMS)
def test_calling_a_traced_flow_and_running_it_give_the_same_value(
    program: str, params: dict[str, Any]
) -> None:
    note(program)
    scope: dict[str, Any] = {"mxm": mxm, "a": a, "b": b, "c": c, "d": d, "e": e, "g": g}
    scope |= {"Q": _made("q"), "R": _made("r"), "__name__": "law"}
    exec(compile(program, "<law>", "exec"), scope)
    flow: Flow = scope["flow"]

    called: Any = flow(**params)
    if inspect.iscoroutine(called):
        called = asyncio.run(called)

    assert find_problems(flow.spec) == []
    run = flow.with_options(backend="inline").run(**params)
    assert run.value() == called
    assert type(run.value()) is type(called)
    names = [task.name for task in flow.spec.tasks]
    assert list(run.tasks) == names, "the steps that ran are those that the graph shows, in order"
