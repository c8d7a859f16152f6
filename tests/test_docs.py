"""What the README, docs/language.md and docs/comparison.md show is what is printed."""

from __future__ import annotations

import contextlib
import io
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pages import is_shown, shell

from mxm.pipeline.api import compile_flow
from mxm.pipeline.registry import get_flow

ROOT = Path(__file__).parents[1]


@dataclass
class Block:
    """One fenced block of a document."""

    kind: str
    text: str
    line: int


def blocks(path: Path) -> list[Block]:
    text = path.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 2) for m in found]


def programs(path: Path) -> Iterator[tuple[Block, str]]:
    """Each block of Python, and the text that is shown below it."""
    found = blocks(path)
    for block, following in zip(found, [*found[1:], None]):
        if block.kind == "python":
            shown = following.text if following and following.kind == "text" else ""
            yield block, shown


def output(text: str, folder: Path, name: str = "example") -> str:
    """What the program *text* prints, and the end of its traceback where it has one."""
    file = folder / f"{name}.py"
    file.write_text(text, encoding="utf-8")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        try:
            code = compile(text, str(file), "exec", dont_inherit=True)  # as an import does
            exec(code, {"__name__": name})
        except Exception as error:
            print("".join(traceback.format_exception_only(error)), end="")
    return printed.getvalue()


PROGRAMS = list(programs(ROOT / "docs" / "language.md"))


@pytest.mark.parametrize(
    ("block", "shown"), PROGRAMS, ids=[f"line {block.line}" for block, _ in PROGRAMS]
)
def test_program_of_the_language_prints_what_is_shown(
    block: Block, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown, "a program without output shows nothing"
    assert output(block.text, tmp_path) == shown


# The README


README = blocks(ROOT / "README.md")


def sessions() -> Iterator[tuple[str, str, Block | None]]:
    """Each command line of the README's consoles, what is shown below it, and the module above."""
    module: Block | None = None
    for block in README:
        if block.kind == "python" and re.match(r"# \w+\.py\n", block.text):
            module = block
        elif block.kind == "console":
            _, *parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
            for part in parts:
                line, _, shown = part.partition("\n")
                yield line, shown, module


def risk_program() -> str:
    (program,) = [b.text for b in README if b.text.startswith("# risk.py\n")]
    return program


SESSIONS = list(sessions())


@pytest.mark.parametrize(
    ("line", "shown", "module"), SESSIONS, ids=[line for line, _, _ in SESSIONS]
)
def test_command_of_the_readme_prints_what_is_shown(
    line: str, shown: str, module: Block, tmp_path: Path, home: Path
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    name = module.text.partition("\n")[0].removeprefix("# ")
    (folder / name).write_text(module.text, encoding="utf-8")
    printed = shell(line, folder)
    assert is_shown(shown, printed), printed


def test_the_first_flow_takes_three_commands_and_ten_lines() -> None:
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## ")[1]
    (program,) = re.findall(r"^```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    lines = [line for line in program.splitlines() if line and not line.startswith("#")]
    commands = re.findall(r"^(?:\$ |pip )", section, re.MULTILINE)
    assert (len(lines), len(commands)) == (10, 3)


def test_programs_of_the_readme_run_one_after_the_other() -> None:
    scope: dict[str, Any] = {"__name__": "readme"}
    for block in README:
        if block.kind == "python":
            exec(compile(block.text, "README.md", "exec"), scope)
            # What the flow by hand calls its functions.
            if "returns" in scope:
                scope |= {"load_fn": scope["load"].fn, "returns_fn": scope["returns"].fn}
    assert scope["risk"].spec.traced
    assert scope["run"].value() == scope["risk"]("QQQ")
    assert [task.name for task in get_flow("risk").tasks] == ["load", "returns"]
    results = compile_flow(get_flow("risk"), backend="inline").run().values
    assert results["returns"] == scope["returns"](scope["load"]("SPY"))


# The comparison


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("upstream=load", 'upstream="lod"'),
        ("@mxm.task\ndef load", '@mxm.task(after="volatility")\ndef load'),
        ("series: list[float]", "series: str"),
    ],
    ids=["misspelt", "cycle", "type"],
)
def test_comparison_quotes_what_is_said_of_a_mistake(
    right: str, wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert right in risk_program()
    told = output(risk_program().replace(right, wrong) + "\nrisk.run()\n", tmp_path, "risk")
    head, problem, *_, hint = told.splitlines()
    assert head.endswith("flow 'risk' has 1 problem")
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    assert f"| mxm-pipeline | before the run | `{problem}`" in page
    if "did you mean" in hint:
        assert f"`{problem}`, `{hint.strip()}` |" in page
