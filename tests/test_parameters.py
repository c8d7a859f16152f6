"""Parameters from files and from the environment, and what is reported if they cannot be used."""

from __future__ import annotations

import builtins
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from command import Outcome, invoke, write

from mxm.pipeline.cli.parameters import given_params
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.spec import FlowSpec

FLOWS = """
from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import mxm


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


@dataclass
class Window:
    days: int
    unit: str = "d"


@mxm.task
def typed(
    day: date = date(2024, 1, 1),
    at: datetime = datetime(2024, 1, 1),
    price: Decimal = Decimal("1.5"),
    side: Side = Side.BUY,
    mode: Literal["fast", "slow"] = "fast",
    window: Window = Window(1),
    tags: list[str] = ["a"],
    limit: int = 3,
    either: list[int] | None = None,
    spans: dict[str, Window] = {},
    text: str = "t",
    flag: bool = False,
    bare=None,
) -> Any:
    return {k: f"{type(v).__name__} {v}" for k, v in locals().items()}


@mxm.flow
def f():
    return typed


@mxm.task
def needs(symbol: str, day: date, limit: int = 3):
    return symbol


@mxm.flow
def missing(symbol: str):
    return needs
"""
INLINE = ("--backend", "inline", "--quiet")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(*arguments: str) -> dict[str, str]:
    """What the task got, by parameter, each with its type."""
    ran = invoke("run", "f", *arguments, *INLINE)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    found: dict[str, str] = json.loads(ran.out)["typed"]
    return found


def refused(*arguments: str, flow: str = "f") -> str:
    """The message of a command that could not run."""
    ran: Outcome = invoke("run", flow, *arguments, *INLINE)
    assert ran.code == 2, ran.err + ran.out
    assert ran.out == ""
    assert "Traceback" not in ran.err
    return ran.err


TOML = """
    day = 2024-02-29
    at = 2024-02-29T09:30:00
    price = "0.10"
    side = "sell"
    mode = "slow"
    tags = ["x", "y"]
    limit = "7"
    either = [1, "2"]
    bare = "10"
    [window]
    days = "5"
    [spans.a]
    days = 2
    """
YAML = """
    day: 2024-02-29
    at: 2024-02-29T09:30:00
    price: "0.10"
    side: sell
    mode: slow
    tags: [x, y]
    limit: "7"
    either: [1, "2"]
    bare: "10"
    window: {days: "5"}
    spans: {a: {days: 2}}
    """
JSON = """
    {"day": "20240229", "at": "2024-02-29T09:30:00", "price": "0.10", "side": "sell",
     "mode": "slow", "tags": ["x", "y"], "limit": "7", "either": [1, "2"], "bare": "10",
     "window": {"days": "5"}, "spans": {"a": {"days": 2}}}
    """


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.toml", TOML), ("p.yaml", YAML), ("p.yml", YAML), ("p.json", JSON), ("P.JSON", JSON)],
)
def test_values_of_a_file_are_read_as_the_parameters_say(
    project: Path, name: str, text: str
) -> None:
    write(project, {name: text})
    assert read("--params-file", name) == {
        "day": "date 2024-02-29",
        "at": "datetime 2024-02-29 09:30:00",
        "price": "Decimal 0.10",
        "side": "Side Side.SELL",
        "mode": "str slow",
        "window": "Window Window(days=5, unit='d')",
        "tags": "list ['x', 'y']",
        "limit": "int 7",
        "either": "list [1, 2]",
        "spans": "dict {'a': Window(days=2, unit='d')}",
        "text": "str t",
        "flag": "bool False",
        "bare": "str 10",
    }


def test_a_string_in_a_file_is_no_json(project: Path) -> None:
    write(project, {"p.toml": """tags = '["a"]'"""})
    assert "'tags' (from p.toml) of task 'typed' takes list[str]" in refused(
        "--params-file", "p.toml"
    )
    assert read("-p", 'tags=["a"]')["tags"] == "list ['a']"


def test_what_is_typed_goes_before_the_file(project: Path) -> None:
    write(project, {"p.toml": "limit = 7\nflag = true\ntext = '@x'\n"})
    found = read("-p", "limit=9", "--params-file", "p.toml")
    assert (found["limit"], found["flag"], found["text"]) == ("int 9", "bool True", "str @x")


@pytest.mark.parametrize("text", ["", "# limit: 3\n", "---\n"])
def test_an_empty_file_gives_nothing(project: Path, text: str) -> None:
    write(project, {"p.yaml": text, "p.toml": text if text != "---\n" else ""})
    assert read("--params-file", "p.yaml")["limit"] == "int 3"
    assert read("--params-file", "p.toml")["limit"] == "int 3"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"one\n", "one"),
        (b"one\r\n", "one"),
        (b"one\r", "one\r"),
        (b" one\n\n", " one\n"),
        ("\ufeffné".encode(), "né"),
        (b'"one"', '"one"'),
        (b"@env:HOME", "@env:HOME"),
        (b"", ""),
    ],
)
def test_a_file_of_text_is_the_value_without_its_last_end_of_line(
    project: Path, content: bytes, text: str
) -> None:
    (project / "note.txt").write_bytes(content)
    assert read("-p", "text=@note.txt")["text"] == f"str {text}"


def test_text_of_a_file_or_a_variable_is_read_as_though_typed(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"limit": "12\n", "tags.txt": '["a", "b"]\n', "bare.csv": "10\n"})
    monkeypatch.setenv("MY_DAY", "20240229")
    found = read(
        *("-p", "limit=@limit", "-p", "tags=@tags.txt", "-p", "bare=@bare.csv"),
        *("-p", "day=@env:MY_DAY"),
    )
    assert found["limit"] == "int 12"
    assert found["tags"] == "list ['a', 'b']"
    assert found["bare"] == "int 10"
    assert found["day"] == "date 2024-02-29"


@pytest.mark.parametrize(
    ("name", "text", "shown"),
    [
        ("w.json", '{"days": 4}', "Window Window(days=4, unit='d')"),
        ("w.toml", "days = 4", "Window Window(days=4, unit='d')"),
        ("w.yaml", "days: 4", "Window Window(days=4, unit='d')"),
    ],
)
def test_a_value_in_a_file_of_its_own(project: Path, name: str, text: str, shown: str) -> None:
    write(project, {f"deep/{name}": text})
    assert read("-p", f"window=@deep/{name}")["window"] == shown
    assert read("-p", f"window=@{project}/deep/{name}")["window"] == shown


def test_a_tilde_is_the_home_folder(project: Path, home: Path) -> None:
    write(home, {"note.txt": "hello", "p.toml": "limit = 5"})
    found = read("-p", "text=@~/note.txt", "--params-file", "~/p.toml")
    assert (found["text"], found["limit"]) == ("str hello", "int 5")


def test_text_that_no_stream_can_write_is_escaped(project: Path) -> None:
    write(project, {"p.json": '{"text": "\\ud800"}'})
    ran = invoke("run", "f", "--params-file", "p.json", "--json", *INLINE)
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["params"] == {"text": "\ud800"}


@pytest.mark.parametrize(("value", "text"), [("@@joe", "@joe"), ("@@", "@"), ("@@@x", "@@x")])
def test_two_at_signs_are_one(project: Path, value: str, text: str) -> None:
    assert read("-p", f"text={value}")["text"] == f"str {text}"


# What cannot be read


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("@", ["parameter 'text': @ needs a file name", "-p text=@FILE", "-p text=@@"]),
        ("@env:", ["parameter 'text': @env: needs a variable name", "-p text=@@env:"]),
        ("@nosuch.txt", ["no such file: 'nosuch.txt'", "-p text=@@nosuch.txt"]),
        ("@flows.pi", ["no such file: 'flows.pi'", "did you mean 'flows.py'?"]),
        ("@no/such/file", ["no such file: 'no/such/file'"]),
        ("@folder", ["'folder' is a folder"]),
        ("@a\0b", ["cannot read"]),
        ("@bad.bin", ["bad.bin:2: not UTF-8"]),
        ("@env:MY_SECRT", ["variable 'MY_SECRT' is not set", "did you mean 'MY_SECRET'?"]),
        (
            "@env:nothing.like.it",
            ["variable 'nothing.like.it' is not set", "export nothing.like.it"],
        ),
    ],
)
def test_what_at_cannot_read(
    project: Path, value: str, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SECRET", "canary")
    (project / "folder").mkdir()
    (project / "bad.bin").write_bytes(b"a\n\xff")
    told = refused("-p", f"text={value}")
    for part in parts:
        assert part in told, told
    assert "canary" not in told


WRONG = [
    ("a.json", '{"a": 1,\n "b"}', "a.json:2:5: not valid JSON: Expecting ':' delimiter"),
    ("a.json", '{"a": 1, "a": 2}', "a.json: not valid JSON: duplicate key 'a'"),
    ("a.json", '{"a": NaN}', "a.json: not valid JSON: NaN is not JSON"),
    ("a.json", "[" * 100_000, "a.json: not valid JSON: nested too deeply"),
    ("a.json", "", "a.json:1:1: not valid JSON"),
    ("a.json", "[1]", "a.json: its top level is a list, not a mapping"),
    ("a.json", "null", "a.json: its top level is null, not a mapping"),
    ("a.json", "3", "a.json: its top level is a single value, not a mapping"),
    ("a.toml", "a = 1\nb = canary\n", "a.toml:2:5: not valid TOML: Invalid value"),
    ("a.toml", "a = 1\na = 2\n", "a.toml:2:6: not valid TOML"),
    ("a.toml", "a = [1,", "a.toml: not valid TOML: Invalid value at the end"),
    ("a.toml", "a = " + "[" * 100_000, "a.toml: not valid TOML: nested too deeply"),
    ("a.yaml", "a: 1\nb: c: d\n", "a.yaml:2:5: not valid YAML: mapping values are not allowed"),
    ("a.yaml", "a: 1\nb:\n  c: 1\n  c: 2\n", "a.yaml:4:3: not valid YAML: duplicate key 'c'"),
    ("a.yaml", "a: 2024-13-45\n", "a.yaml: not valid YAML: month must be in 1..12"),
    ("a.yaml", "b: *canary\n", "a.yaml:1:4: not valid YAML: found undefined alias"),
    ("a.yaml", "b: !canary x\n", "a.yaml:1:4: not valid YAML: could not determine"),
    ("a.yaml", "a: 1\nb: \x01\n", "a.yaml:2: not valid YAML: the character U+0001"),
    ("a.yaml", "a: " + "[" * 100_000, "a.yaml: not valid YAML: nested too deeply"),
    ("a.yaml", "- 1\n", "a.yaml: its top level is a list, not a mapping"),
    ("a.yaml", "1: 2\n", "a.yaml: the name 1 is not text"),
    ("a.yaml", "on: 2\n", "a.yaml: the name True is not text"),
    ("a.yaml", "? [1]\n: 2\n", "a.yaml:1:3: not valid YAML: found unhashable key"),
    ("a.yaml", "a: 1\n---\nb: 2\n", "a.yaml:2:1: not valid YAML"),
    ("a.ini", "a = 1", "cannot tell the format of 'a.ini'"),
]


@pytest.mark.parametrize(("name", "text", "part"), WRONG, ids=[w[2][:50] for w in WRONG])
def test_what_is_wrong_in_a_file(project: Path, name: str, text: str, part: str) -> None:
    (project / name).write_text(text, encoding="utf-8")
    told = refused("--params-file", name)
    assert part in told
    assert "canary" not in told


def test_a_file_that_may_not_be_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"p.toml": "limit = 1"})
    opened = builtins.open

    def refuse(file: Any, *arguments: Any, **options: Any) -> Any:
        if file == "p.toml":
            raise PermissionError(13, "Permission denied")
        return opened(file, *arguments, **options)

    monkeypatch.setattr(builtins, "open", refuse)  # who runs the tests may read everything
    assert "cannot read 'p.toml': Permission denied" in refused("--params-file", "p.toml")


def test_the_params_file_that_is_not_there(project: Path) -> None:
    write(project, {"params.toml": ""})
    told = refused("--params-file", "param.toml")
    assert "--params-file: no such file: 'param.toml'" in told
    assert "did you mean 'params.toml'?" in told
    (project / "folder.toml").mkdir()
    assert "'folder.toml' is a folder" in refused("--params-file", "folder.toml")


def test_yaml_without_pyyaml(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"p.yaml": "limit: 1"})
    monkeypatch.setitem(sys.modules, "yaml", None)
    for arguments in (["--params-file", "p.yaml"], ["-p", "window=@p.yaml"]):
        assert "pip install 'mxm-pipeline[yaml]'" in refused(*arguments)


def test_yaml_merges_and_aliases_are_no_duplicates(project: Path) -> None:
    write(project, {"p.yaml": "window: &w {days: 1}\nspans: {a: {<<: *w, days: 2}, b: *w}\n"})
    found = read("--params-file", "p.yaml")["spans"]
    assert found == "dict {'a': Window(days=2, unit='d'), 'b': Window(days=1, unit='d')}"


@pytest.mark.parametrize(
    ("item", "part"),
    [
        ("=canary", "-p needs NAME=VALUE"),
        ("window.=canary", "-p needs NAME=VALUE: a name is empty"),
        (".days=canary", "-p needs NAME=VALUE: a name is empty"),
        ("limit", "-p limit has no value\n  hint: write -p limit=VALUE"),
        ("window.days", "-p window.days has no value\n  hint: write -p window.days=VALUE"),
        ("canary", "error: -p needs NAME=VALUE\n  hint: known: at, bare, day"),
    ],
)
def test_a_parameter_without_a_name_or_a_value(project: Path, item: str, part: str) -> None:
    told = refused("-p", item)
    assert part in told
    assert "canary" not in told


# What does not fit


def test_a_value_that_does_not_fit_says_where_it_came_from(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_LIMIT", "many")
    write(project, {"p.json": '{"limit": "ten"}', "limit.txt": "few\n", "mixed.toml": "limti = 3"})
    assert "parameter 'limit' (from p.json) of task 'typed' takes int, not 'ten'" in refused(
        "--params-file", "p.json"
    )
    assert "parameter 'limit' (from limit.txt) of task 'typed' takes int, not 'few'" in refused(
        "-p", "limit=@limit.txt"
    )
    assert (
        "parameter 'limit' (from environment variable MY_LIMIT) of task 'typed' takes"
        in refused("-p", "limit=@env:MY_LIMIT")
    )
    ran = invoke("run", "f", "--params-file", "mixed.toml", *INLINE)
    assert "parameter 'limti' (from mixed.toml) is not used" in ran.err
    assert "did you mean 'limit'?" in ran.err


@pytest.mark.parametrize(
    ("item", "message", "hint"),
    [
        ("mode=fats", "takes Literal['fast', 'slow'], not 'fats'", "did you mean 'fast'? allowed: fast, slow"),
        ("mode=zzz", "takes Literal['fast', 'slow'], not 'zzz'", "allowed: fast, slow"),
        ("side=sel", "takes Side, not 'sel'", "did you mean 'sell'? allowed: buy, sell"),
        ("day=31.1.2024", "takes date, not '31.1.2024'", "write -p day=2024-01-31"),
        ("at=noon", "takes datetime, not 'noon'", "write -p at=2024-01-31T09:30"),
        ("tags=a,b", "takes list[str], not 'a,b'", """write -p tags=a -p tags=b, or -p tags='["a", "b"]'"""),
        ("tags=a", "takes list[str], not 'a'", """write -p tags='["a"]'"""),
        ("tags=", "takes list[str], not ''", """write -p tags='["a", "b"]'"""),
        ("tags=[a", "takes list[str], not '[a'", """write -p tags='["a", "b"]'"""),
        ("either=1,2", "takes list[int] | None, not '1,2'", "write -p either=1 -p either=2, or -p either='[1, 2]'"),
        ("either=", "takes list[int] | None, not ''", "for None write -p either=null"),
        ("either=x", "takes list[int] | None, not 'x'", "write -p either='[1, 2]'"),
        ("window=5", "takes Window, not '5'", """write -p window='{"days": 1, "unit": "a"}'"""),
        ("window={}", "['days'] Field required", """write -p window='{"days": 1, "unit": "a"}'"""),
        ("spans=1", "takes dict[str, Window]", """write -p spans='{"a": {"days": 1, "unit": "a"}}'"""),
        ("flag=si", "takes bool, not 'si'", "write -p flag=true"),
        ("limit=ten", "takes int, not 'ten'", None),
        ("price=dear", "takes Decimal, not 'dear'", None),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_shows_one_that_does(
    project: Path, item: str, message: str, hint: str | None
) -> None:
    told = refused("-p", item)
    name = item.partition("=")[0]
    line = FLOWS.strip().splitlines().index("@mxm.task") + 1
    assert told.startswith(f"error: flow 'f': a parameter cannot be used\nflows.py:{line}: MXM402")
    assert f"parameter {name!r} of task 'typed' " in told
    assert message in told
    told, _, more = told.rpartition("more: ")
    assert more == "mxm-pipeline explain MXM402\n"
    assert told.partition("hint: ")[2].rstrip() == (hint or "")
    if hint and hint.startswith("write -p ") and "true" not in hint:
        for way in hint.removeprefix("write ").split(", or "):
            assert read(*shlex.split(way))[name]


def test_what_is_missing_is_told_all_at_once_and_as_missing(project: Path) -> None:
    told = refused(flow="missing")
    assert told.startswith("error: flow 'missing': 2 parameters are missing\n")
    assert "MXM401 missing parameter 'symbol': flow 'missing' needs it (str)" in told
    assert "MXM401 missing parameter 'day': task 'needs' needs it (date)" in told
    assert "-p symbol=VALUE, or .run(symbol=...) from Python" in told
    told = refused("-p", "day=2024-01-31", flow="missing")
    assert told.startswith("error: flow 'missing': a parameter is missing\n")
    told = refused("-p", "day=x", "-p", "limit=x", flow="missing")
    assert told.startswith(
        "error: flow 'missing': a parameter is missing, and 2 parameters cannot be used\n"
    )


def test_from_python_the_example_is_a_value(project: Path) -> None:
    from mxm.pipeline.errors import ParameterError
    from mxm.pipeline.params.resolve import resolve
    from mxm.pipeline.spec import FlowSpec, TaskSpec

    def fn(tags: list[int]) -> None: ...

    with pytest.raises(ParameterError) as caught:
        resolve(FlowSpec("f", [TaskSpec("t", fn)]), {"tags": "a"})
    assert caught.value.problems[0].hint == "for example [1, 2]"


def test_params_are_documented_in_the_help(project: Path) -> None:
    ran = invoke("run", "--help")
    assert "--params-file" in ran.out
    assert "@env:VARIABLE" in ran.out
    assert os.path.exists("flows.py")


@pytest.mark.parametrize(
    ("name", "text"),
    [("p.json", '{"x": [1e400]}'), ("p.toml", "x = [1e400]"), ("p.yaml", "x: [1.0e+400]")],
)
def test_a_number_too_large_for_a_float_is_refused_in_every_kind_of_file(
    tmp_path: Path, name: str, text: str
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(PipelineError, match="a number is too large for a float"):
        given_params([], str(tmp_path / name), FlowSpec("f"))


@pytest.mark.parametrize(
    "text",
    [
        'p.json\n{"price": 0.1234567890123456789, "rate": 0.10, "loose": {"a": [0.10]}}',
        "p.toml\nprice = 0.1234567890123456789\nrate = 0.10\nloose = {a = [0.10]}",
        "p.yaml\nprice: 0.1234567890123456789\nrate: 0.10\nloose: {a: [0.10]}",
    ],
    ids=["json", "toml", "yaml"],
)
def test_decimals_take_all_digits_of_a_file_and_others_plain_floats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    name, _, document = text.partition("\n")
    flows = """
        from decimal import Decimal

        import mxm


        @mxm.task
        def shown(price: Decimal, rate: float, loose) -> str:
            return f"{price} {rate!r} {type(rate).__name__} {type(loose['a'][0]).__name__}"


        @mxm.flow
        def traced(price: Decimal, rate: float, loose):
            return shown(price, rate, loose)


        @mxm.flow(tasks=[shown])
        def declared(): ...
    """
    write(tmp_path, {"flows.py": flows, name: document})
    monkeypatch.chdir(tmp_path)
    for flow in ("traced", "declared"):
        done = invoke("run", flow, "--params-file", name, "--backend", "inline", "--value", "-q")
        assert (done.code, done.out) == (0, '"0.1234567890123456789 0.1 float float"\n'), done.err
