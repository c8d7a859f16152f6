"""Parameters as words or options, and a flow without `run`: the hint is the command that works."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from command import invoke, write

FLOWS = """
    from datetime import date

    import mxm
    from pydantic import SecretStr

    @mxm.task
    def load(symbols: list[str], window: int, day: date | None, all_days: bool, token: SecretStr) -> str:
        return f"{symbols} {window} {day} {all_days}"

    @mxm.task
    def until(end: date = None) -> str:
        return str(end)

    @mxm.flow
    def ending(end: date = None):
        return until(end)

    @mxm.flow
    def risk(
        symbols: list[str] = ["SPY"],
        window: int = 20,
        day: date | None = None,
        all_days: bool = False,
        token: SecretStr = "none",
    ):
        return load(symbols, window, day, all_days, token)
    """


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("typed", "meant", "result"),
    [
        ("run risk window=5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("run risk window 5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("run risk windw=5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("run risk --window 5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("run risk --window=5 -q", "run risk -p window=5 -q", "['SPY'] 5 None False"),
        ("run --window 5 risk", "run -p window=5 risk", "['SPY'] 5 None False"),
        ("run flows.py:risk --window -5", "run flows.py:risk -p window=-5", "['SPY'] -5 None False"),
        ("run risk --all-days", "run risk -p all_days=true", "['SPY'] 20 None True"),
        ("run --all-days risk", "run -p all_days=true risk", "['SPY'] 20 None True"),
        ("run risk -p window 5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("run risk -p window= 5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("risk", "run risk", "['SPY'] 20 None False"),
        ("risk window=5", "run risk -p window=5", "['SPY'] 5 None False"),
        ("flows.py:risk -p window=5", "run flows.py:risk -p window=5", "['SPY'] 5 None False"),
        ("run risk symbols=A symbols=B", "run risk -p symbols=A -p symbols=B", "['A', 'B'] 20 None False"),
        ("""run risk 'symbols=["A"]'""", """run risk -p 'symbols=["A"]'""", "['A'] 20 None False"),
        ("run risk -p window=5 day=2024-01-31", "run risk -p window=5 -p day=2024-01-31", "['SPY'] 5 2024-01-31 False"),
    ],
)  # fmt: skip
def test_the_hint_is_the_command_that_was_meant(
    project: Path, typed: str, meant: str, result: str
) -> None:
    ran = invoke(*shlex.split(typed))
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[-1] == f"  hint: mxm-pipeline {meant}"
    again = invoke(*shlex.split(meant), "--backend", "inline")
    assert json.loads(again.out) == {"load": result}


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        (
            "run risk -p symbols=A,B",
            'write -p symbols=A -p symbols=B, or -p symbols=\'["A", "B"]\'',
        ),
        ("run risk -p symbols=A", "write -p symbols='[\"A\"]'"),
        ("run risk -p day=", "for None write -p day=null"),
        ("run ending -p end=", "for None write -p end=null"),
    ],
)
def test_the_hint_is_the_parameter_that_was_meant(project: Path, typed: str, hint: str) -> None:
    ran = invoke(*shlex.split(typed), "--backend", "inline")
    assert f"\n  hint: {hint}\n" in ran.err
    for way in hint.removeprefix("write ").removeprefix("for None write ").split(", or "):
        again = invoke("run", typed.split()[1], *shlex.split(way), "--backend", "inline")
        assert again.code == 0, again.err


@pytest.mark.parametrize(
    "typed",
    [
        "run risk hunter2",
        "run risk token=hunter2",
        "run risk tokn=hunter2",
        "run risk token hunter2",
        "run risk --token hunter2",
        "run risk --token=hunter2",
        "run risk --tokn hunter2",
        "run risk -p token=hunter2 window=5",
        "run risk -p tokn=hunter2 window=5",
        "run risk -p hunter2 window=5",
        "run risk -p hunter2",
        "run risk -p window=1 -p hunter2",
        "run risk -p =hunter2",
        "run risk -p token hunter2",
        "run risk -p token= hunter2",
        "run risk -p token=@hunter2",
        "run risk -p token=@hunter2.json",
        "run risk -p token=@env:hunter2",
        "run risk -p tokn=@hunter2",
        "run risk -p password=@hunter2",
        "run risk -p password=@env:hunter2",
        "run risk -p token.field=hunter2",
        "run risk -p token.field=@hunter2",
        "run risk -p token=hunter2 -p token=hunter2",
        "run risk --params-file token=hunter2",
        "run token=hunter2",
        "run token=hunter2 risk",
        "show token=hunter2",
        "graph token=hunter2",
        "check token=hunter2",
        "show risk token=hunter2",
        "token=hunter2",
        "risk token=hunter2",
        "nosuch token=hunter2",
    ],
)
@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["", "debug"])
def test_the_value_of_a_secret_is_in_no_error_whatever_form_it_has(
    project: Path, typed: str, debug: list[str]
) -> None:
    ran = invoke(*debug, *shlex.split(typed))
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err
    assert "hunter2" not in ran.err


def test_a_word_after_p_is_named_only_if_it_is_a_parameter(project: Path) -> None:
    assert "error: -p window has no value" in invoke("run", "risk", "-p", "window").err
    assert "error: -p needs NAME=VALUE" in invoke("run", "risk", "-p", "abc").err
    told = invoke("run", "risk", "-p", "window=1", "-p", "abc").err
    assert "error: the 2nd -p needs NAME=VALUE" in told


def test_a_word_that_is_neither_a_verb_nor_a_flow_has_no_hint(project: Path) -> None:
    ran = invoke("nosuch")
    assert ran.code == 2
    assert "No such command 'nosuch'." in ran.err
    assert "hint" not in ran.err


def test_a_misspelt_verb_imports_nothing(project: Path) -> None:
    write(
        project, {"loud.py": "import mxm\nraise SystemExit('imported')\n@mxm.flow\ndef f(): ...\n"}
    )
    ran = invoke("shwo", "risk")
    assert "Did you mean 'show'?" in ran.err
    assert "imported" not in ran.err


# --debug


@pytest.mark.parametrize(
    "arguments",
    [
        ["--debug", "show", "nosuch"],
        ["show", "nosuch", "--debug"],
        ["show", "--debug", "nosuch"],
        ["graph", "nosuch", "--debug"],
        ["check", "nosuch", "--debug"],
        ["run", "nosuch", "--debug"],
        ["explain", "nosuch", "--debug"],
    ],
    ids=" ".join,
)
def test_debug_goes_before_the_verb_and_after_it(project: Path, arguments: list[str]) -> None:
    ran = invoke(*arguments)
    plain = invoke(*(a for a in arguments if a != "--debug"))
    assert ran.err.startswith("Traceback (most recent call last):\n")
    assert ran.err.endswith(plain.err)
    assert (ran.code, plain.code, "Traceback" in plain.err) == (2, 2, False)


def test_every_verb_has_debug_in_its_help(project: Path) -> None:
    for verb in ("list", "show", "graph", "check", "explain", "run"):
        assert "--debug" in invoke(verb, "--help").out, verb
