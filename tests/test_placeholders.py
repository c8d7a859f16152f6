"""Stand-ins: what is refused, with its line and a way out, and what is passed on."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from bodies import HEAD, problems_of, the_problem
from modules import line_of, module_of

import mxm
from mxm.pipeline.tracing.placeholders import TracingError

FORBIDDEN = {
    "if": ("if s: pass", "decision"),
    "while": ("while s: pass", "decision"),
    "not": ("not s", "decision"),
    "and": ("s and 1", "decision"),
    "bool": ("bool(s)", "decision"),
    "assert": ("assert s", "decision"),
    "comprehension condition": ("[1 for _ in (1,) if s]", "decision"),
    "==": ("s == 1", "compare"),
    "reflected ==": ("1 == s", "compare"),
    "!=": ("s != 1", "compare"),
    "<": ("s < 1", "compare"),
    ">=": ("s >= 1", "compare"),
    "in a list": ("s in [1]", "compare"),
    "max": ("max(s, 1)", "compare"),
    "in": ("1 in s", "look inside"),
    "len": ("len(s)", "len()"),
    "hash": ("hash(s)", "list item"),
    "set": ("{s}", "list item"),
    "dict key": ("{s: 1}", "list item"),
    "str": ("str(s)", "text"),
    "f-string": ("f'{s}'", "text"),
    "f-string with a format": ("f'{s:.2f}'", "text"),
    "percent": ("'%s' % s", "text"),
    "format": ("'{}'.format(s)", "text"),
    "print": ("print(s)", "text"),
    "bytes": ("bytes(s)", "text"),
    "for": ("for _ in s: pass", "constants"),
    "unpacking": ("a, b = s", "constants"),
    "star": ("load(*s)", "constants"),
    "list": ("list(s)", "constants"),
    "next": ("next(s)", "constants"),
    "reversed": ("reversed(s)", "constants"),
    "sum": ("sum(s)", "constants"),
    "double star": ("load(**s)", "'keys'"),
    "+": ("s + 1", "calculate"),
    "reflected -": ("1 - s", "calculate"),
    "+=": ("s += 1", "calculate"),
    "//": ("s // 2", "calculate"),
    "**": ("2 ** s", "calculate"),
    "@": ("s @ s", "calculate"),
    "divmod": ("divmod(s, 2)", "calculate"),
    "&": ("s & 1", "calculate"),
    "<<": ("1 << s", "calculate"),
    "minus": ("-s", "calculate"),
    "invert": ("~s", "calculate"),
    "abs": ("abs(s)", "calculate"),
    "round": ("round(s)", "calculate"),
    "int": ("int(s)", "calculate"),
    "float": ("float(s)", "calculate"),
    "complex": ("complex(s)", "calculate"),
    "range": ("range(s)", "calculate"),
    "as an index": ("[1, 2][s]", "calculate"),
    "ceil": ("__import__('math').ceil(s)", "calculate"),
    "attribute": ("s.shape", "'shape'"),
    "method": ("s.mean()", "'mean'"),
    "private attribute": ("s._x", "'_x'"),
    "hasattr": ("hasattr(s, 'shape')", "'shape'"),
    "call": ("s()", "call it"),
    "set attribute": ("s.x = 1", "change a value"),
    "delete attribute": ("del s.x", "change a value"),
    "set item": ("s[0] = 1", "change a value"),
    "delete item": ("del s[0]", "change a value"),
    "slice": ("s[1:2]", "constant"),
    "float index": ("s[1.5]", "constant"),
    "bool index": ("s[True]", "constant"),
    "None index": ("s[None]", "constant"),
    "index by a value of the run": ("s[s]", "index inside"),
    "with": ("with s: pass", "open it"),
    "copy": ("__import__('copy').copy(s)", "copy it"),
    "deepcopy": ("__import__('copy').deepcopy([s])", "copy it"),
    "pickle": ("__import__('pickle').dumps(s)", "copy it"),
    "path": ("__import__('os').fspath(s)", "open the file"),
    "path through a library": ("__import__('os').path.join(s, 'x')", "open the file"),
    "open": ("open(s)", "open the file"),
    "a library's attribute": (
        "__import__('pandas').date_range(s, periods=2)",
        "use pandas inside",
    ),
    "double star of a dict": ("dict(s)", "'keys'"),
    "Path": ("__import__('pathlib').Path(s)", "open the file"),
    "mean": ("__import__('statistics').mean(s)", "constants"),
    "numpy array": ("__import__('numpy').asarray(s)", "array"),
    "numpy ufunc": ("__import__('numpy').add(s, 1)", "array"),
    "numpy function": ("__import__('numpy').mean(s)", "array"),
    "numpy operator": ("__import__('numpy').float64(1) + s", "array"),
    "log text": ("logging.makeLogRecord({'msg': '%s', 'args': (s,)}).getMessage()", "text"),
    "named tuple": ("load(namedtuple('T', 'a')(s))", "plain list"),
    "ordered dict deep inside": ("load([OrderedDict(a=s)])", "plain list"),
    "dataclass": ("load(Window(s))", "plain list"),
    "namespace deep inside": ("load({'k': [SimpleNamespace(a={'b': s})]})", "plain list"),
    "deque": ("load(deque([s]))", "plain list"),
    "partial": ("load(partial(max, s))", "plain list"),
    "closure": ("load(lambda: s)", "plain list"),
    "default of a function": ("load(lambda a=s: a)", "plain list"),
    "bound method": ("load(deque([s]).pop)", "plain list"),
    "array of objects": ("load(objects(s))", "plain list"),
    "series": ("load(__import__('pandas').Series(objects(s)))", "plain list"),
    "frame": ("load(__import__('pandas').DataFrame({'a': objects(s)}))", "plain list"),
    "through **": ("load(**{'k': Window(s)})", "plain list"),
}


@pytest.mark.parametrize("caught", [False, True], ids=["let go", "caught"])
@pytest.mark.parametrize("origin", ["x", "load(x)", "load(x)['k']"])
@pytest.mark.parametrize(("statement", "hint"), FORBIDDEN.values(), ids=list(FORBIDDEN))
def test_a_forbidden_use_is_a_problem_with_its_line_and_a_way_out(
    statement: str, hint: str, origin: str, caught: bool, tmp_path: Path
) -> None:
    lines = ["@mxm.flow", "def risk(x):", f"    s = {origin}", "    try:"]
    lines += [f"        {statement}", "    except ZeroDivisionError: pass"]
    if caught:
        lines[-1:] = ["    except Exception: pass"]
    text = HEAD + "\n".join([*lines, "    return load(x)"])
    module = module_of(tmp_path, text)

    # A call of a task inside the `try` is another problem.
    (problem,) = [p for p in problems_of(module.risk) if p.code != "MXM305"]

    assert problem.code == "MXM301"
    assert problem.source is not None
    assert problem.source.file == module.__file__
    assert problem.source.line == line_of(module, f"        {statement}")
    assert hint in (problem.hint or "")
    assert problem.flow == "risk"


@pytest.mark.parametrize(
    ("statement", "hint"),
    [
        ("async with x: pass", "open it"),
        ("async for _ in x: pass", "iterate"),
        ("[_ async for _ in x]", "iterate"),
    ],
)
def test_what_only_async_bodies_can_do_is_refused_too(
    statement: str, hint: str, tmp_path: Path
) -> None:
    module = module_of(
        tmp_path, HEAD + f"@mxm.flow\nasync def risk(x):\n    {statement}\n    return load(x)\n"
    )
    problem = the_problem(module.risk)
    assert problem.code == "MXM301"
    assert problem.source is not None
    assert problem.source.line == line_of(module, statement)
    assert hint in (problem.hint or "")


def test_every_forbidden_use_that_the_body_gets_to_is_told_but_each_place_once(
    tmp_path: Path,
) -> None:
    module = module_of(
        tmp_path,
        HEAD
        + """
@mxm.flow
def risk(x, y):
    for s in (x, y):
        try:
            len(s)  # first
        except TypeError:
            pass
    return load(x + 1)  # second
""",
    )
    lines = [p.source.line for p in problems_of(module.risk) if p.source]
    assert lines == [line_of(module, "# first"), line_of(module, "# second")]


def test_what_follows_from_a_refusal_that_the_body_caught_is_not_told(tmp_path: Path) -> None:
    module = module_of(
        tmp_path,
        f"""{HEAD}
@mxm.flow
def risk(x):
    try:
        count = len(x)
    except TypeError:
        count = None
    return load(count + 1)
""",
    )
    assert the_problem(module.risk).code == "MXM301"


def test_a_refusal_shows_the_column_of_the_use(tmp_path: Path) -> None:
    module = module_of(tmp_path, HEAD + "@mxm.flow\ndef risk(x):\n    return load(1), load(x + 1)")
    source = the_problem(module.risk).source
    assert source is not None
    assert source.column == len("    return load(1), load(") + 1


def test_a_use_in_a_helper_of_another_module_is_told_at_the_line_of_the_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = module_of(tmp_path, "def double(x):\n    return x * 2\n", "helper")
    monkeypatch.setitem(__import__("sys").modules, "helper", helper)
    module = module_of(
        tmp_path,
        HEAD + "from helper import double\n@mxm.flow\ndef risk(x):\n    return load(double(x))\n",
    )
    source = the_problem(module.risk).source
    assert source is not None
    assert (source.file, source.line) == (module.__file__, line_of(module, "load(double(x))"))


def test_repr_and_logging_of_it_are_safe(caplog: pytest.LogCaptureFixture) -> None:
    @mxm.task
    def split(x):
        return x

    shown = []

    @mxm.flow
    def risk(x):
        part = split(x)["a"][0]
        shown.extend([repr(x), f"{part!r}"])
        with caplog.at_level(logging.INFO):
            logging.getLogger(__name__).info("have %r", x)
        return part

    assert problems_of(risk) == []
    assert "parameter 'x'" in shown[0]
    assert "task 'split'['a'][0]" in shown[1]
    assert "parameter 'x'" in caplog.text


def test_a_stand_in_that_escaped_its_body_still_refuses() -> None:
    escaped = []

    @mxm.task
    def load(x):
        return x

    @mxm.flow
    def risk(x):
        escaped.append(load(x))
        return escaped[0]

    with pytest.raises(TracingError, match="'load'") as caught:
        bool(escaped[0])
    assert caught.value.source is not None
    assert caught.value.source.file == __file__
    assert problems_of(risk) == []


@pytest.mark.parametrize(
    "value",
    [
        "Window(3)",
        "{'k': [date(2024, 1, 2)]}",
        "load",
        "inner",
        "partial(max, 1)",
        "logging",
        "date",
    ],
)
def test_objects_without_a_value_of_the_run_are_passed_on(value: str, tmp_path: Path) -> None:
    text = f"""
from datetime import date

@mxm.flow
def inner(x):
    return load(x)

KEPT = {value}

@mxm.flow
def risk(x):
    return load(load(x), k=KEPT)
"""
    module = module_of(tmp_path, HEAD + text)
    assert problems_of(module.risk) == []
    assert module.risk.spec.tasks[1].bindings.kwargs["k"].value is module.KEPT or "{" in value


def test_an_object_that_refers_to_more_than_is_searched_is_passed_on(tmp_path: Path) -> None:
    text = """
@mxm.flow
def risk(x):
    return load(x, k=SimpleNamespace(rows=[SimpleNamespace(i=i) for i in range(20_000)]))
"""
    assert problems_of(module_of(tmp_path, HEAD + text).risk) == []


@pytest.mark.parametrize("use", ["','.join([x])", "json.dumps(x)", "os.environ.get(x)"])
def test_what_refuses_a_stand_in_by_its_type_is_told_without_our_names(
    use: str, tmp_path: Path
) -> None:
    text = f"""
import json, os

@mxm.flow
def risk(x):
    {use}  # here
    return load(x)
"""
    module = module_of(tmp_path, HEAD + text)
    problem = the_problem(module.risk)
    assert (problem.code, problem.hint) == ("MXM301", "do this inside a task")
    assert "StandIn" not in problem.message
    assert problem.source is not None
    assert problem.source.line == line_of(module, "# here")


def test_logging_a_value_of_the_run_prints_no_stack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """
@mxm.flow
def risk(x):
    logging.getLogger("body").warning("%s", x)
    return load(x)
"""
    handler = logging.StreamHandler()
    logging.getLogger("body").addHandler(handler)
    module = module_of(tmp_path, HEAD + text)
    logging.getLogger("body").removeHandler(handler)
    assert the_problem(module.risk).code == "MXM301"
    assert "Logging error" not in capsys.readouterr().err
    assert logging.raiseExceptions
