"""What the shell offers after Tab, as Typer's scripts ask for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from command import call, invoke, write

from mxm.pipeline.cli.completion import answer_the_first_tab, join_words

FLOWS = """
    print("noise of a module")
    import enum
    from typing import Literal
    import mxm
    from mxm.pipeline import AssetDecl
    from pydantic import SecretStr

    class Mode(enum.Enum):
        FAST = "fast"
        FINE = "fine"

    @mxm.task(produces=AssetDecl("prices"))
    def load(symbol: str, window: int = 20, dry: bool = False) -> int:
        return window

    @mxm.task
    def report(n: int, token: SecretStr, mode: Mode = Mode.FAST) -> int:
        return n

    @mxm.flow
    def risk(symbol: str, token: SecretStr = SecretStr("s3cret"), mode: Mode = Mode.FAST,
             dry: bool = False, window: int = 20, side: Literal["buy", "sell"] = "buy"):
        "End-of-day risk."
        return report(load(symbol, window, dry), token, mode)

    @mxm.task
    def double(amount: float) -> float:
        return 2 * amount

    @mxm.flow
    def rates(amount: float = 1.5):
        return double(amount)
    """


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"pyproject.toml": "[tool.mxm.pipeline]\n", "flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(shell: str, line: str, words: list[str]) -> dict[str, str]:
    if shell == "bash":  # which cuts the line at = and :
        return {"COMP_WORDS": "\n".join(words), "COMP_CWORD": str(len(words) - 1)}
    return {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}


def cut(line: str) -> list[str]:
    """*line* as bash cuts it."""
    words: list[str] = []
    for word in line.split(" "):
        words += word.replace("=", "\0=\0").replace(":", "\0:\0").split("\0")
        while len(words) > 1 and words[-1] == "" and words[-2] in "=:":
            words.pop()
    return words


def tab(line: str, shell: str = "bash") -> list[str]:
    """What is offered after *line*."""
    line = f"mxm-pipeline {line}"
    env = {"_MXM_PIPELINE_COMPLETE": f"complete_{shell}", **asked(shell, line, cut(line))}
    with pytest.MonkeyPatch.context() as patched:
        for name, value in env.items():
            patched.setenv(name, value)
        join_words()
        try:
            ran = invoke()
        finally:
            if sys.modules.get("rich", "not loaded") is None:
                del sys.modules["rich"]
    assert (ran.code, ran.err) == (0, "")
    return ran.out.split("\n")[:-1] if ran.out != "\n" else []


def test_verbs_and_their_commands(project: Path) -> None:
    assert {"list", "run", "resume", "runs"} <= set(tab(""))
    assert tab("repo") == ["report"]
    assert tab("runs d") == ["diff"]


def test_flows(project: Path) -> None:
    assert tab("run ") == ["rates", "risk"]
    assert tab("plan ri") == ["risk"]
    assert tab("graph risk ra") == ["rates"]
    assert tab("run ri", "fish") == ["risk\tEnd-of-day risk."]


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("run risk -p ", ["symbol=", "symbol=@", "token=", "token=@", "mode=fast", "mode=fine",
                          "dry=true", "dry=false", "window=", "window=20", "side=buy", "side=sell"]),
        ("run risk -p mo", ["mode=fast", "mode=fine"]),
        ("run risk -p win", ["window=", "window=20"]),
        ("run risk -p mode=", ["fast", "fine"]),  # bash has put `mode=` before it
        ("run risk -p mode=fi", ["fine"]),
        ("run risk -p window=1 --param side=s", ["sell"]),
        ("plan rates -p ", ["amount=", "amount=1.5"]),
        ("run rates -p symbol=", []),
    ],
)  # fmt: skip
def test_parameters_and_their_values(project: Path, typed: str, offered: list[str]) -> None:
    assert tab(typed) == offered


def test_other_shells_get_whole_words(project: Path) -> None:
    assert tab("run risk -p mode=fi", "fish") == ["mode=fine"]
    assert "mode=fine" in tab("run risk -p mode=fi", "zsh")[0]


def test_tasks(project: Path) -> None:
    assert tab("run risk --select ") == ["load", "report"]
    assert tab("run risk --force-task re") == ["report"]
    assert tab("run risk --exclude +lo") == ["+load"]


def test_choices_of_options_and_assets(project: Path) -> None:
    assert tab("run risk --runner ") == ["sequential", "threads", "processes", "dask", "ray"]
    assert tab("runs list --state c") == ["cancelled", "crashed"]
    assert tab("assets show ") == ["prices"]


def test_runs(project: Path) -> None:
    assert tab("runs show ") == []
    invoke("run", "rates", "--backend", "inline", "-q")
    first, second = tab("report ")
    assert first == "last"
    assert tab(f"runs diff last {second[:4]}") == [second]
    assert tab("resume ", "fish")[1].endswith("\trates succeeded")


def test_answer_is_kept_until_a_file_changes(project: Path) -> None:
    invoke("run", "rates", "--backend", "inline", "-q")  # makes the store
    assert tab("run ") == ["rates", "risk"]
    (kept,) = Path(os.environ["MXM_HOME"]).rglob("completion.json")
    text = kept.read_text("utf-8")
    kept.write_text(text.replace('"rates"', '"planted"'), "utf-8")
    assert tab("run ") == ["planted", "risk"]  # the project is not imported
    write(project, {"more.py": "import mxm\n@mxm.flow\ndef third(): ..."})
    assert tab("run ") == ["rates", "risk", "third"]
    write(project, {"more.py": "import mxm\n@mxm.flow\ndef renamed(): ..."})
    assert tab("run ") == ["rates", "renamed", "risk"]
    kept.write_text("[1", "utf-8")
    assert tab("run ") == ["rates", "renamed", "risk"]


def test_project_that_cannot_be_imported_offers_nothing(project: Path) -> None:
    write(project, {"flows.py": "import mxm\nraise SystemExit(3)"})
    assert tab("run ") == []
    write(project, {"pyproject.toml": "[tool.mxm.pipeline]\nmodules = 3"})
    assert tab("run ") == []


def test_no_engine_is_loaded(project: Path) -> None:
    write(project, {"flows.py": "import sys, mxm, atexit\n@mxm.flow\ndef one(): ...\n"
        "heavy = ['prefect', 'rich']\n"
        "def engines():\n    open('loaded.txt', 'w').write(repr([*filter(sys.modules.get, heavy)]))\n"
        "atexit.register(engines)"})  # fmt: skip
    line = "mxm-pipeline run "
    env = {"_MXM_PIPELINE_COMPLETE": "complete_bash", **asked("bash", line, cut(line))}
    ran = call(cwd=project, env=env)
    assert (ran.code, ran.out, ran.err) == (0, "one\n", "")
    assert (project / "loaded.txt").read_text() == "[]"


def test_help_is_shown_as_it_is_and_without_rich(project: Path) -> None:
    write(project, {"flows.py": "import mxm, rich\n@mxm.flow\ndef one(): 'Prices [EUR].'\n"})
    line = "mxm-pipeline run "
    env = {"_MXM_PIPELINE_COMPLETE": "complete_fish", **asked("fish", line, cut(line))}
    ran = call(cwd=project, env=env)
    assert (ran.code, ran.out, ran.err) == (0, "one\tPrices [EUR].\n", "")


def test_zsh_completes_at_the_first_tab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    answer_the_first_tab()  # nothing is installed
    file = tmp_path / ".zfunc" / "_mxm-pipeline"
    file.parent.mkdir()
    script = "#compdef mxm-pipeline\ncompdef _mxm_pipeline_completion mxm-pipeline"
    file.write_text(script, "utf-8")
    answer_the_first_tab()
    answer_the_first_tab()
    added = '\n[[ -n $CURRENT ]] && _mxm_pipeline_completion "$@"\n'
    assert file.read_text("utf-8") == script + added
