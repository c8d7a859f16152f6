"""`deploy`, `undeploy` and `serve` as far as no server is needed: what is sent, and what refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command import invoke, write
from test_doctor import OTHERS, closed_port, listening

from mxm.pipeline import FlowSpec, TaskSpec
from mxm.pipeline.adapters.deployment_names import OPTIONS, entrypoint_for, target_in
from mxm.pipeline.discovery.search import find_flow
from mxm.pipeline.errors import BackendError

pytest.importorskip("prefect")

FLOWS = """
import datetime
from typing import Literal
from pydantic import SecretStr
import mxm

@mxm.task
def load(symbol: str, day: datetime.date, kind: Literal["eod", "live"], limit: int = 3) -> int:
    return limit

@mxm.task
def login(key: SecretStr, user: str = "desk") -> int:
    return len(key.get_secret_value())

@mxm.flow(schedule_cron="0 18 * * 1-5", timezone="Europe/London", name="end of.day/100%")
def risk(symbol: str = "SPY", day: datetime.date = datetime.date(2026, 1, 2), kind="eod"):
    \"\"\"End-of-day risk.\"\"\"
    return load(symbol, day, kind)

@mxm.flow
def secret(key: SecretStr, user: str = "desk"):
    return login(key, user)

@mxm.flow
def plain(symbol: str, day: datetime.date = datetime.date(2026, 1, 2)):
    return load(symbol, day, "eod")

@mxm.flow(schedule_cron="0 1 * * *", timezone="UTC")
def needy(symbol: str):
    return load(symbol, datetime.date(2026, 1, 2), "eod")

@mxm.flow
def wrong(symbol: str = "SPY"):
    return login(symbol, usr="x")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS, "pyproject.toml": '[tool.mxm.pipeline]\npaths = ["."]\n'})
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return tmp_path


def sent(*arguments: str) -> dict[str, Any]:
    ran = invoke("deploy", *arguments, "--work-pool", "desk", "--dry-run")
    assert ran.code == 0, ran.err
    [deployment] = json.loads(ran.out)["deployments"]
    found: dict[str, Any] = deployment
    return found


def test_a_dry_run_prints_all_that_a_server_would_get(project: Path) -> None:
    made = sent("end of.day/100%", "-p", "day=2026-05-01", "-p", "limit=4")
    assert made["name"] == "end of.day_100_/mxm"
    assert made["schedule"] == {"cron": "0 18 * * 1-5", "timezone": "Europe/London"}
    assert made["parameters"] == {"day": "2026-05-01", "limit": 4}
    assert made["pull_steps"] == [
        {"prefect.deployments.steps.set_working_directory": {"directory": str(project.resolve())}}
    ]
    schema = made["parameter_openapi_schema"]
    assert schema["additionalProperties"] is False
    types = {name: (p.get("type"), p.get("format")) for name, p in schema["properties"].items()}
    assert types["day"] == ("string", "date")
    assert types["limit"] == ("integer", None)
    assert "extra" not in types


@pytest.mark.parametrize(
    "target", ["end of.day/100%", "flows:risk", "flows.py:risk", "flows.py:end of.day/100%"]
)
def test_the_entry_point_finds_the_target_again(target: str, project: Path) -> None:
    entry = entrypoint_for(target)
    module, _, attribute = entry.rpartition(".")
    assert module == "mxm.pipeline.adapters.prefect_deployed"
    assert re.fullmatch(r"[\w%~-]+", attribute)  # neither a dot nor a colon, where Prefect splits
    assert target_in(attribute) == target
    assert sent(target)["entrypoint"] == entry
    assert find_flow(target).spec().name == "end of.day/100%"


def test_the_entry_point_is_a_flow_with_the_options_of_project_and_deployment(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.utilities.importtools import import_object

    write(
        project,
        {"pyproject.toml": '[tool.mxm.pipeline]\npaths = ["."]\nrunner = "threads"\nworkers = 3\n'},
    )
    made = sent("plain", "--workers", "2", "--limit", "bloomberg=2", "--env", "DESK=rates")
    variables = made["job_variables"]["env"]
    assert variables["DESK"] == "rates"
    monkeypatch.setenv(OPTIONS, variables[OPTIONS])
    flow: Any = import_object(entrypoint_for("plain"))
    assert (flow.name, flow.is_deployed) == ("plain", True)
    assert (flow.options.runner, flow.options.workers) == ("threads", 2)
    assert flow.options.limits == {"bloomberg": 2}
    assert flow.with_options(name="other").options is flow.options


@pytest.mark.parametrize(
    ("typed", "runner", "address"),
    [
        (["--address", "tcp://b:2"], "dask", "tcp://b:2"),
        (["--runner", "ray", "--address", "c:3"], "ray", "c:3"),
        (["--runner", "threads"], "threads", None),  # the project's address is of its runner
        (["--workers", "2"], "dask", "tcp://a:1"),
    ],
)
def test_runs_of_a_deployment_join_its_cluster(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    typed: list[str],
    runner: str,
    address: str | None,
) -> None:
    from prefect.utilities.importtools import import_object

    settings = '[tool.mxm.pipeline]\npaths = ["."]\nrunner = "dask"\naddress = "tcp://a:1"\n'
    write(project, {"pyproject.toml": settings})
    monkeypatch.setenv(OPTIONS, sent("plain", *typed)["job_variables"]["env"][OPTIONS])
    flow: Any = import_object(entrypoint_for("plain"))
    assert (flow.options.runner, flow.options.address) == (runner, address)


def test_code_from_a_repository_or_an_image(project: Path) -> None:
    made = sent("plain", "--git", "https://git.example/desk.git", "--branch", "main",
                "--git-token", "git-token")  # fmt: skip
    assert made["pull_steps"] == [
        {
            "prefect.deployments.steps.git_clone": {
                "repository": "https://git.example/desk.git",
                "branch": "main",
                "access_token": "{{ prefect.blocks.secret.git-token }}",
            }
        }
    ]
    made = sent("plain", "--image", "registry.example/desk:1", "--env", "KEY=@block:vendor-key")
    assert made["pull_steps"] == []
    assert made["job_variables"] == {
        "env": {"KEY": "{{ prefect.blocks.secret.vendor-key }}"},
        "image": "registry.example/desk:1",
    }


def test_a_secret_is_sent_by_reference_and_its_schema_takes_nothing_else(project: Path) -> None:
    made = sent("secret", "-p", "key=@env:VENDOR_KEY")
    assert made["parameters"] == {"key": "@env:VENDOR_KEY"}
    pattern = made["parameter_openapi_schema"]["properties"]["key"]["pattern"]
    for text, fits in {
        "@env:VENDOR_KEY": True,
        "@block:vendor-key": True,
        "canary": False,
        "@env:": False,
        "@env:A B": False,
        "@@env:X": False,
        "x@env:X": False,
        "@file.txt": False,
    }.items():
        assert bool(re.search(pattern, text)) == fits, text


REFUSED: dict[str, tuple[list[str], int, str]] = {
    "a secret in plain text": (["secret", "-p", "key=canary"], 2, "@env:NAME"),
    "a secret from a file": (["secret", "-p", "key=@canary.txt"], 2, "@env:NAME"),
    "a variable that is a secret": (["plain", "--env", "API_TOKEN=canary"], 2, "@block:NAME"),
    "a password in an address": (["plain", "--env", "DB=pg://me:canary@host/db"], 2, "@block:"),
    "a token in git's address": (["plain", "--git", "https://canary@host/x"], 2, "--git-token"),
    "a variable without a value": (["plain", "--env", "DESK"], 2, "NAME=VALUE"),
    "two places of the code": (["plain", "--git", "https://x/y", "--image", "z"], 2, "keep one"),
    "a branch of nothing": (["plain", "--branch", "main"], 2, "for --git"),
    "a wrong type": (["plain", "-p", "day=someday", "-p", "symbol=A"], 2, "date"),
    "a misspelt parameter": (["plain", "-p", "symbl=SPY"], 2, "did you mean 'symbol'"),
    "one of two that are needed": (["plain", "-p", "day=2026-01-02"], 2, "also needs 'symbol'"),
    "nothing for a schedule": (["needy"], 2, "-p symbol=VALUE"),
    "an unknown flow": (["plan"], 2, "did you mean 'plain'"),
    "a flow that is wrong": (["wrong"], 4, "MXM104"),
    "one flow twice": (["plain", "flows.py:plain"], 2, "named twice"),
    "a bad cron": (["plain", "--cron", "0 18 * *"], 2, "4 fields, not five"),
    "a bad zone": (["plain", "--cron", "0 18 * * *", "--timezone", "London"], 2, "Europe/London"),
    "a bad runner": (["plain", "--runner", "thread"], 2, "did you mean 'threads'"),
    "an address of no cluster": (["plain", "--address", "tcp://h:1"], 2, "has no address"),
    "no workers": (["plain", "--workers", "0"], 2, "positive"),
    "a name that Prefect rejects": (["plain", "--name", "a/b"], 2, "must not contain"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_deployed_is_refused_before_anything_is_sent(
    case: str, project: Path
) -> None:
    arguments, code, said = REFUSED[case]
    ran = invoke("deploy", *arguments, "--work-pool", "desk", "--dry-run")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert "canary" not in ran.err


@pytest.mark.parametrize("verb", ["deploy", "serve", "undeploy"])
def test_without_a_server_it_says_how_to_start_one(verb: str, project: Path) -> None:
    pool = ["--work-pool", "desk"] if verb == "deploy" else []
    ran = invoke(verb, "plain", *pool)
    assert (ran.code, ran.out) == (2, "")
    assert "no Prefect server is configured" in ran.err
    assert "prefect server start" in ran.err


SERVED: dict[str, tuple[list[str], str]] = {
    "two whens": (["plain", "--cron", "0 1 * * *", "--interval", "5"], "keep one"),
    "too often": (["plain", "--interval", "0"], "at least 1 second"),
    "never": (["plain", "--interval", "inf"], "finite"),
    "not a number": (["plain", "--interval", "nan"], "finite"),
    "nothing for an interval": (["plain", "--interval", "60"], "needs 'symbol'"),
    "nothing for a schedule": (["needy"], "needs 'symbol'"),
    "no run at once": (["plain", "--runs-at-once", "0"], "runs-at-once"),
    "a bad cron": (["plain", "--cron", "@daily"], "'0 0 * * *'"),
}


@pytest.mark.parametrize("case", SERVED)
def test_what_cannot_be_served_is_refused(case: str, project: Path) -> None:
    arguments, said = SERVED[case]
    ran = invoke("serve", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


@pytest.mark.parametrize("verb", ["deploy", "serve", "undeploy"])
@pytest.mark.parametrize("other", [None, "another protocol", "another web server"])
def test_what_answers_instead_of_a_server_is_one_error(
    verb: str, other: str | None, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    pool = ["--work-pool", "desk"] if verb == "deploy" else []
    with listening(OTHERS[other or "one that hangs up"]) as port:
        url = f"http://127.0.0.1:{port if other else closed_port()}/api"
        with temporary_settings({PREFECT_API_URL: url}):
            ran = invoke(verb, "plain", *pool)
    assert (ran.code, ran.out) == (2, "")
    assert ("is not a Prefect server" if other else "nothing answers at") in ran.err


def secret_flow() -> FlowSpec:
    from pydantic import SecretStr

    def login(key: SecretStr) -> int:
        return len(key.get_secret_value())

    return FlowSpec("f", [TaskSpec("login", login)])


def test_a_reference_becomes_the_secret_where_the_run_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from mxm.pipeline.adapters.prefect_leaving import dereferenced
    from mxm.pipeline.execution.plans.plan import make_plan

    monkeypatch.setenv("VENDOR_KEY", "canary")
    spec = secret_flow()
    given = dereferenced(spec, {"key": "@env:VENDOR_KEY", "other": "@env:VENDOR_KEY"})
    assert given["other"] == "@env:VENDOR_KEY"  # it is not a secret, so it stays text
    plan = make_plan(spec, {"key": given["key"]})
    assert plan.params["key"].get_secret_value() == "canary"


@pytest.mark.parametrize("value", ["canary", "@env:NOT_SET_HERE", 5, "@file.txt"])
def test_a_secret_in_clear_or_from_nowhere_ends_the_run(value: Any) -> None:
    from mxm.pipeline.adapters.prefect_leaving import dereferenced

    with pytest.raises(BackendError) as caught:
        dereferenced(secret_flow(), {"key": value})
    assert "'key'" in str(caught.value)
    assert "canary" not in str(caught.value)


def test_a_name_that_prefect_cannot_pass_is_refused() -> None:
    from mxm.pipeline.adapters.prefect_deployments import schema_of

    with pytest.raises(BackendError, match="a name that Prefect cannot pass"):
        schema_of(FlowSpec("f", [TaskSpec("a", lambda return_state: 1)]))


def test_two_flows_of_one_name_to_prefect_are_refused() -> None:
    from mxm.pipeline.adapters.prefect_deployments import Deployment, deploy, serve

    wanted = [
        Deployment(FlowSpec(name, [TaskSpec("a", int)]), "m.f", "mxm") for name in ("a/b", "a_b")
    ]
    with pytest.raises(BackendError, match="'a/b' and 'a_b' would both be named 'a_b' at Prefect"):
        deploy(wanted, "desk")
    with pytest.raises(BackendError, match="'a/b' and 'a_b' would both be named 'a_b' at Prefect"):
        serve(wanted, at_once=1)


def test_a_server_of_another_major_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from mxm.pipeline.adapters import prefect_deployments
    from mxm.pipeline.adapters.answering import Server

    def answer(url: str) -> Server:
        return Server(url, "2.20.1")

    monkeypatch.setattr(prefect_deployments, "ask_server", answer)
    with temporary_settings({PREFECT_API_URL: "http://there/api"}):
        with pytest.raises(BackendError, match=r"runs Prefect 2\.20\.1, but Prefect 3"):
            prefect_deployments.require_server()
