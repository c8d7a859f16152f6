"""A secret is shown nowhere: one test for each place where a value might appear."""

from __future__ import annotations

import json
import logging
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType, Optional, TypedDict

import httpx
import pytest
from command import Outcome, invoke, write
from hypothesis import given
from hypothesis import strategies as st
from ids import stable_id
from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr

import mxm
from mxm.pipeline import FlowSpec, TaskSpec, compile_flow
from mxm.pipeline.adapters.prefect_adapter import build_prefect_flow
from mxm.pipeline.adapters.prefect_answers import Answers
from mxm.pipeline.bindings import Bindings, Collection, Param
from mxm.pipeline.checks.declarations import find_problems
from mxm.pipeline.errors import ParameterError, SpecError
from mxm.pipeline.execution.plans.plan import make_plan
from mxm.pipeline.introspection.annotations import Unresolved
from mxm.pipeline.params.declared import parameters_of, secret_names
from mxm.pipeline.params.resolve import resolve
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.spec import AssetDecl
from mxm.pipeline.specdict import flow_from_dict, flow_to_dict
from mxm.pipeline.values.conversion import Sourced, Text
from mxm.pipeline.values.secrets import MASK, Masked, is_secret, mask, signature_text, unmask

CANARY = "canary-7f3a"
BACKENDS = ["inline", "prefect"]


@dataclass
class Login:
    user: str
    password: SecretStr


class Model(BaseModel):
    token: SecretStr


class Options(TypedDict):
    key: SecretStr


class Pair(NamedTuple):
    key: SecretStr
    limit: int


@dataclass
class Tree:
    value: int
    left: Optional[Tree] = None


@dataclass
class Lost:
    key: SecretStr
    other: Elsewhere  # noqa: F821 - what cannot be resolved


Key = NewType("Key", SecretStr)


@pytest.mark.parametrize(
    ("annotation", "secret"),
    [
        (SecretStr, True),
        (SecretBytes, True),
        (Secret[int], True),
        (SecretStr | None, True),
        (Optional[SecretStr], True),
        (Annotated[SecretStr, Field(min_length=3)], True),
        (Annotated[SecretStr, ["unhashable"]], True),
        (list[SecretStr], True),
        (dict[str, list[SecretStr]], True),
        (Key, True),
        (Login, True),
        (list[Login], True),
        (Model, True),
        (Options, True),
        (Pair, True),
        (Lost, True),
        (Unresolved("Hidden | SecretStr"), True),
        (Unresolved("pydantic.SecretBytes"), True),
        (Unresolved("Secretary"), False),
        (str, False),
        (Tree, False),
        (Literal["Secret"], False),
        (Annotated[str, "Secret"], False),
        (Any, False),
        (list, False),
    ],
    ids=stable_id,
)
def test_which_annotations_are_secret(annotation: Any, secret: bool) -> None:
    assert is_secret(annotation) is secret


@dataclass
class Hidden:
    keys: list[SecretStr]


@given(kinds=st.lists(st.sampled_from(["int", "list[int]", "dict[str, int]", "Hidden"])))
def test_a_secret_is_found_whatever_stands_beside_it(kinds: list[str]) -> None:
    # Annotations that are text are objects anew each time they are read, as list[int] is.
    kind = make_dataclass("Made", [(f"f{i}", text) for i, text in enumerate(kinds)])
    kind.__module__ = __name__
    assert is_secret(kind) is ("Hidden" in kinds)


def test_a_masked_value_shows_as_the_mask_and_gives_its_value() -> None:
    masked = mask(CANARY)
    assert {str(masked), repr(masked), f"{masked}"} == {MASK}
    assert unmask(masked) == CANARY
    assert unmask(pickle.loads(pickle.dumps(masked))) == CANARY
    assert mask(None) is None
    secret = SecretStr(CANARY)
    assert mask(secret) is secret
    assert unmask(secret) is secret


def use(key: SecretStr) -> str:
    assert isinstance(key, SecretStr)
    return f"used {key.get_secret_value() == CANARY}"


def plain(key) -> str:  # type: ignore[no-untyped-def]
    assert isinstance(key, str)
    return f"plain {key == CANARY}"


def give_back(key: SecretStr) -> Any:
    return {"one": key, "many": [key], "keyed": {key: 1}, "bytes": SecretBytes(CANARY.encode())}


def failing(key: SecretStr) -> None:
    raise ValueError(f"cannot use {key}")


class Watched:
    """All that a test could see: streams, log records, warnings."""

    def __init__(self, capfd: Any, caplog: Any) -> None:
        self._capfd, self._caplog = capfd, caplog

    def text(self) -> str:
        out = self._capfd.readouterr()
        records = [f"{r.getMessage()} {r.__dict__}" for r in self._caplog.records]
        return out.out + out.err + "".join(records)


@pytest.fixture
def watched(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Watched:
    caplog.set_level(logging.DEBUG)
    return Watched(capfd, caplog)


def told(run: FlowRun) -> str:
    """Everything that a run says of itself."""
    notes = [str(getattr(t.error, "__notes__", "")) for t in run.tasks.values()]
    return "".join(
        [
            repr(run),
            json.dumps(run.to_dict()),
            repr(dict(run.params)),
            str(run.params),
            repr(run.flow),
            repr(run.warnings),
            *notes,
            *map(repr, run.tasks.values()),
        ]
    )


GIVEN: list[Mapping[str, Any]] = [
    {"key": Text(CANARY)},
    {"key": CANARY},
    {"key": SecretStr(CANARY)},
    {"key": Sourced(Text(CANARY), "key.txt")},
    {"key": Sourced(CANARY, "key.toml")},
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", GIVEN, ids=["typed", "str", "secret", "text file", "toml"])
def test_of_a_run_by_hand(backend: str, given: Mapping[str, Any], watched: Watched) -> None:
    run = compile_flow(FlowSpec("f", [TaskSpec("use", use)]), backend=backend).run(given)
    assert run.values == {"use": "used True"}
    assert run.params["key"].get_secret_value()
    assert run.to_dict()["params"] == {"key": MASK}
    assert CANARY not in told(run) + watched.text()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("order", [[use, plain], [plain, use]], ids=["before", "after"])
def test_where_another_task_takes_the_key_in_clear(
    backend: str, order: list[Callable[..., Any]], watched: Watched
) -> None:
    spec = FlowSpec("f", [TaskSpec(fn.__name__, fn) for fn in order])
    run = compile_flow(spec, backend=backend).run({"key": Text(CANARY)})
    assert run.values == {"use": "used True", "plain": "plain True"}
    assert CANARY not in told(run) + watched.text() + repr(resolve(spec, {"key": CANARY}))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("place", ["flow", "task", "default"])
def test_where_the_code_gives_it_in_clear(backend: str, place: str, watched: Watched) -> None:
    def default(key: SecretStr = CANARY) -> str:  # type: ignore[assignment]
        return "took"

    fn = default if place == "default" else use
    task = TaskSpec("t", fn, params={"key": CANARY} if place == "task" else None)
    spec = FlowSpec("f", [task], params={"key": CANARY} if place == "flow" else None)
    run = compile_flow(spec, backend=backend).run()
    assert run.state == "succeeded", run
    assert run.value() == ("took" if place == "default" else "used True")
    assert CANARY not in told(run) + repr(spec) + repr(task) + watched.text()
    assert CANARY not in repr(parameters_of(spec)) + str(build_prefect_flow(spec).__dict__)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "value", [Text(CANARY), CANARY, SecretStr(CANARY)], ids=lambda v: type(v).__name__
)
def test_in_a_body_that_passes_it_on(backend: str, value: Any, watched: Watched) -> None:
    uses = mxm.task(use)

    @mxm.flow
    def body(token):  # type: ignore[no-untyped-def]
        return uses(token), token

    assert secret_names(body.spec) == {"key", "token"}
    run = body.with_options(backend=backend).run(token=value)
    assert run.values == {"use": "used True"}
    assert CANARY not in told(run) + watched.text()
    given_back = run.value()[1]
    assert getattr(given_back, "get_secret_value", lambda: given_back)() == CANARY


@pytest.mark.parametrize("backend", BACKENDS)
def test_in_a_part_of_a_parameter_and_in_a_container(backend: str, watched: Watched) -> None:
    def many(keys: list[SecretStr], one: SecretStr) -> str:
        return f"{len(keys)} {one == CANARY}"

    body = Bindings((Collection(list, (Param("a"),)), Param("b", ("in",))))
    spec = FlowSpec("f", [TaskSpec("t", many, bindings=body)], fn=lambda a, b: None, traced=True)
    run = compile_flow(spec, backend=backend).run({"a": CANARY, "b": {"in": CANARY}})
    assert run.value() == "1 True"
    assert run.to_dict()["params"] == {"a": MASK, "b": MASK}
    assert CANARY not in told(run) + watched.text()


def test_given_the_very_object_that_is_the_default() -> None:
    def fn(key: SecretStr = CANARY) -> str:  # type: ignore[assignment]
        return type(key).__name__

    flow = compile_flow(FlowSpec("f", [TaskSpec("t", fn)]), backend="inline")
    assert flow.run({"key": CANARY}).value() == "SecretStr"


def test_of_what_a_file_gives() -> None:
    assert CANARY not in repr(Sourced(CANARY, "params.toml"))


def test_in_a_function_that_takes_any_key() -> None:
    def tokens(**keys: SecretStr) -> list[str]:
        return [type(k).__name__ for k in keys.values()]

    run = compile_flow(FlowSpec("f", [TaskSpec("t", tokens)]), backend="inline").run({"x": CANARY})
    assert run.value() == ["SecretStr"]
    assert CANARY not in told(run)


@pytest.mark.parametrize("annotation", [Login, Model, Options, dict[str, SecretStr]], ids=stable_id)
def test_in_a_dataclass_a_model_a_mapping(annotation: Any) -> None:
    def fn(login: Any) -> str:
        return "ok"

    fn.__annotations__ = {"login": annotation}
    names = {"user": "me", "password": CANARY, "token": CANARY, "key": CANARY}
    fields = getattr(annotation, "__annotations__", {"key": str})
    text = json.dumps({name: names[name] for name in fields})
    run = compile_flow(FlowSpec("f", [TaskSpec("t", fn)]), backend="inline").run(
        {"login": Text(text)}
    )
    assert run.value() == "ok"
    assert CANARY not in told(run)


def test_none_is_no_secret() -> None:
    def fn(key: SecretStr | None = None) -> None: ...

    spec = FlowSpec("f", [TaskSpec("t", fn)], params={"key": None})
    assert resolve(spec, {}).flow == {"key": None}
    assert [p.default for p in parameters_of(spec)] == [None]


# Errors and warnings


def checked(value: str) -> str:
    raise ValueError(f"{value} will not do")


@pytest.mark.parametrize(
    "value", [Text(CANARY), CANARY, Sourced(Text(CANARY), "key.txt")], ids=["typed", "str", "file"]
)
@pytest.mark.parametrize(
    "annotation",
    [
        Annotated[SecretStr, Field(min_length=99)],
        Annotated[SecretStr, Field(min_length=99)] | None,
        Secret[int],
        Secret[Literal["a"]],
        list[SecretStr],
        Login,
        SecretStr | Login,
    ],
    ids=stable_id,
)
def test_of_a_value_that_does_not_fit(annotation: Any, value: Any) -> None:
    def fn(key: Any) -> None: ...

    fn.__annotations__ = {"key": annotation}
    if annotation == SecretStr | Login:
        fn.__annotations__ = {"key": Annotated[SecretStr, Field(min_length=99)] | Login}
    with pytest.raises(ParameterError) as caught:
        resolve(FlowSpec("f", [TaskSpec("t", fn)]), {"key": value})
    assert "MXM402 parameter 'key'" in str(caught.value)
    assert "not the value given (a secret, not shown)" in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value) + repr(caught.value.problems)


def test_of_a_value_that_does_not_fit_another_task() -> None:
    def number(key: int) -> None: ...

    spec = FlowSpec("f", [TaskSpec("n", number), TaskSpec("u", use)])
    with pytest.raises(ParameterError) as caught:
        resolve(spec, {"key": Text(CANARY)})
    assert "takes int, not the value given" in str(caught.value)
    assert CANARY not in str(caught.value)
    bound = Bindings((Param("token"),))
    tasks = [TaskSpec("n", lambda other: 1, bindings=bound), TaskSpec("u", use, bindings=bound)]
    tasks[0].fn.__annotations__["other"] = int
    traced = FlowSpec("f", tasks, fn=lambda token: None, traced=True)
    with pytest.raises(ParameterError) as caught:
        resolve(traced, {"token": Text(CANARY)})
    assert CANARY not in str(caught.value)


def test_of_a_misspelt_key() -> None:
    resolved = resolve(FlowSpec("f", [TaskSpec("u", use, params={"key": "x"})]), {"kye": CANARY})
    assert "did you mean 'key'?" in str(resolved.warnings[0])
    assert CANARY not in repr(resolved.flow) + repr(resolved.warnings)
    other = resolve(FlowSpec("f", [TaskSpec("u", use, params={"key": "x"})]), {"window": 3})
    assert other.flow["window"] == 3


def test_of_a_signature_in_an_error() -> None:
    def fn(a: int, key: SecretStr = CANARY, limit: int = 3) -> int:  # type: ignore[assignment]
        return 1

    tasks = [TaskSpec("a", lambda: 1), TaskSpec("t", fn, upstream={"nosuch": "a"})]
    problems = find_problems(FlowSpec("f", tasks))
    assert "MXM104" in {p.code for p in problems}
    assert "limit=3" in str(problems)
    assert CANARY not in str(problems) + repr(problems)
    assert signature_text(fn) == f"(a: int, key: SecretStr = {MASK}, limit: int = 3) -> int"
    task = mxm.task(fn)

    @mxm.flow
    def body():  # type: ignore[no-untyped-def]
        return task(1, 2, 3, 4)

    assert "MXM104" in str(body.spec.problems)
    assert CANARY not in str(body.spec.problems)


def test_of_a_task_that_fails() -> None:
    for backend in BACKENDS:
        run = compile_flow(FlowSpec("f", [TaskSpec("t", failing)]), backend=backend).run(
            {"key": Text(CANARY)}
        )
        assert MASK in str(run.error)
        assert CANARY not in told(run)
        with pytest.raises(ValueError, match="cannot use") as caught:
            run.raise_for_failure()
        assert "task 't' of flow 'f'" in str(caught.value.__notes__)
        assert CANARY not in str(caught.value.__notes__)


def test_of_the_partition_of_an_asset(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asset = AssetDecl("keys", partition_key="key")
    for params in ({"key": CANARY}, {"key": Text(CANARY)}, {}):
        for fn in (plain, use):
            tasks = [
                TaskSpec("t", fn, produces=asset, params={"key": CANARY}),
                TaskSpec("u", use, params={"key": CANARY}),
            ]
            compile_flow(FlowSpec("f", tasks), backend="inline").run(params)
    bound = Bindings((Param("token"),))
    named = AssetDecl("days", partition_key="day")
    tasks = [
        TaskSpec("t", lambda day: day, bindings=bound, produces=named),
        TaskSpec("u", use, bindings=bound),
    ]
    traced = FlowSpec(
        "f",
        tasks,
        fn=lambda token: None,
        traced=True,
    )
    compile_flow(traced, backend="inline").run({"token": CANARY})
    assert f"partition=key:{MASK}" in caplog.text
    assert f"partition=day:{MASK}" in caplog.text
    assert CANARY not in caplog.text


# Specs


def test_of_the_dict_form() -> None:
    tasks = [
        TaskSpec("t", use, params={"key": CANARY}),
        TaskSpec("p", plain, params={"key": CANARY}),
    ]
    spec = FlowSpec("f", tasks, params={"key": CANARY, "limit": 1})
    plainly = flow_to_dict(spec)
    assert CANARY not in json.dumps(plainly)
    assert plainly["params"]["limit"] == {"const": 1}
    with pytest.raises(
        SpecError, match="parameter 'key' is a secret.*pass it to the run"
    ) as caught:
        flow_from_dict(plainly)
    assert CANARY not in str(caught.value)
    given = FlowSpec("f", [TaskSpec("t", use)], params={"key": SecretStr(CANARY)})
    assert CANARY not in json.dumps(flow_to_dict(given))


def test_of_a_constant_in_a_body() -> None:
    task = mxm.task(use)

    @mxm.flow(params={"key": CANARY})
    def inner():  # type: ignore[no-untyped-def]
        return task

    @mxm.flow
    def outer():  # type: ignore[no-untyped-def]
        return inner(), task(CANARY), task(key=[CANARY, task])  # type: ignore[arg-type]

    spec = outer.spec
    assert len(spec.tasks) == 3
    assert CANARY not in repr(spec)
    plainly = flow_to_dict(spec)
    assert CANARY not in json.dumps(plainly)
    assert "a secret has no plain form" in json.dumps(plainly)


# Prefect


@pytest.mark.parametrize(
    "value", [Text(CANARY), CANARY, SecretStr(CANARY)], ids=lambda v: type(v).__name__
)
def test_of_all_that_prefect_asks_its_api(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    answer = Answers.answer

    def record(self: Answers, request: httpx.Request, **options: Any) -> httpx.Response:
        sent.append(request.content)
        return answer(self, request, **options)

    monkeypatch.setattr(Answers, "answer", record)
    tasks = [TaskSpec("use", use), TaskSpec("plain", plain), TaskSpec("failing", failing)]
    spec = FlowSpec("f", tasks, params={"key": CANARY})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = compile_flow(spec).run({"key": value} if value is not CANARY else {})
        flow = build_prefect_flow(spec)
    assert [t.state.value for t in run.tasks.values()].count("failed") >= 1
    bodies = b"".join(sent).decode()
    assert f'"key":"{MASK}"' in bodies.replace(" ", "")
    assert CANARY not in bodies
    assert CANARY not in flow.parameters.model_dump_json() + repr(flow) + str(vars(flow))
    assert MASK in flow.parameters.model_dump_json()


def test_of_the_result_of_a_prefect_flow() -> None:
    flow = build_prefect_flow(FlowSpec("f", [TaskSpec("t", give_back)]))
    result = flow(key=CANARY)
    assert result == {"t": {"one": MASK, "many": [MASK], "keyed": {MASK: 1}, "bytes": MASK}}


# The command

FLOWS = """
import logging
import os
from dataclasses import dataclass

import mxm
from pydantic import SecretStr


@dataclass
class Login:
    user: str
    password: SecretStr


@mxm.task
def connect(key: SecretStr, limit: int = 3) -> SecretStr:
    print("connects with", key)
    logging.getLogger("mine").warning("uses %s and %r", key, key)
    assert key.get_secret_value() == "canary" + "-7f3a"
    return key


@mxm.task(after=connect)
def plain(key):
    return len(key)


@mxm.task(after=plain)
def broken(key: SecretStr | None = None, login: Login | None = None):
    raise ValueError(f"refused: {key} {login}")


@mxm.flow
def keyed():
    return broken


@mxm.task
def preset(key: SecretStr = os.environ.get("PRESET", "")):
    return 1


@mxm.flow(params={"login": Login("me", os.environ.get("PRESET", ""))})
def presets():
    return preset, broken
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    login = json.dumps({"user": "me", "password": CANARY})
    files = {"flows.py": FLOWS, "key.txt": CANARY + "\n", "login.json": login,
             "params.toml": f'key = "{CANARY}"\n'}  # fmt: skip
    write(tmp_path, files)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOKEN", CANARY)
    monkeypatch.setenv("PRESET", CANARY)
    return tmp_path


def assert_hidden(ran: Outcome, code: int, *parts: str) -> None:
    assert ran.code == code, ran.err
    for part in parts:
        assert part in ran.out + ran.err
    assert CANARY not in ran.out + ran.err


GIVEN = {
    "typed": ["-p", f"key={CANARY}"],
    "file": ["-p", "key=@key.txt"],
    "variable": ["-p", "key=@env:TOKEN"],
    "params file": ["--params-file", "params.toml"],
    "misspelt": ["-p", f"key={CANARY}", "-p", f"kye={CANARY}", "-p", "login=@login.json"],
}
# Each way on each backend, and every two of backend, runner and form; not all of all.
PAIRS = [
    (how, backend, ["sequential", "threads"][i % 2], ["--json", "-vv"][(i + j) % 2])
    for i, how in enumerate(GIVEN)
    for j, backend in enumerate(BACKENDS)
]


@pytest.mark.parametrize(("how", "backend", "runner", "form"), PAIRS, ids=map(" ".join, PAIRS))
def test_of_run(project: Path, how: str, backend: str, runner: str, form: str) -> None:
    ran = invoke("run", "keyed", *GIVEN[how], form, "--backend", backend, "--runner", runner)
    assert_hidden(ran, 1, "refused", MASK, "connects with **********")
    document = json.loads(ran.out)
    if form == "--json":
        assert document["params"]["key"] == MASK
        assert [t["result"] for t in document["tasks"]] == [MASK, len(CANARY), None]
    else:
        assert document == {"connect": MASK, "plain": len(CANARY)}


def test_of_run_in_processes(project: Path) -> None:
    ran = invoke(
        "run", "keyed", "-p", "key=@env:TOKEN", "--runner", "processes", "--backend", "inline", "-v"
    )
    assert_hidden(ran, 1, MASK)
    assert json.loads(ran.out)["connect"] == MASK


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "keyed", "-p", "key=@env:TOKEN", "-p", "login=@key.txt"], 2),
        (["run", "keyed", "-p", "key=@env:TOKEN", "-p", f"login={CANARY}"], 2),
        (["run", "keyed", "-p", "key=@login.json"], 2),
        (["run", "keyed", "-p", "key=@env:TOKEN", "-p", "limit=@env:TOKN"], 2),
        (
            [
                "--debug",
                "run",
                "keyed",
                "-p",
                "key=@env:TOKEN",
                "--strict-params",
                "-p",
                f"keyy={CANARY}",
            ],
            2,
        ),
        (["run", "presets", "--help"], 0),
        (["show", "presets"], 0),
        (["show", "presets", "--json"], 0),
        (["graph", "presets"], 0),
        (["graph", "presets", "--json"], 0),
        (["check", "presets", "--json"], 0),
        (["list", "--json"], 0),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_of_the_command(project: Path, arguments: list[str], code: int) -> None:
    if "--debug" in arguments:
        ran = invoke(*arguments)
        assert (ran.code, CANARY in ran.out + ran.err) == (2, False)
        return
    ran = invoke(*arguments, *(["--backend", "inline"] if arguments[0] == "run" else []))
    assert_hidden(
        ran, code, MASK if "presets" in arguments and arguments[0] in ("run", "show") else ""
    )


def test_masked_is_what_it_says() -> None:
    assert isinstance(mask("x"), Masked)
    assert make_plan(FlowSpec("f", [TaskSpec("t", use)]), {"key": "x"}).secrets == {"key"}
