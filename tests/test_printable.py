"""Control characters in names and values: no verb, error, table or drawing hands them on."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from command import invoke, write
from hypothesis import given
from hypothesis import strategies as st

from mxm.pipeline.process.printable import in_json, in_one_line, printable, without_sequences

UNSAFE = "\x1b[31m \x9b2J \x07 \x00 \x7f \r \u202e \u2028 \u200f"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e]")


@given(st.text())
def test_escaped_text_has_no_control_characters_and_other_text_is_unchanged(text: str) -> None:
    assert not CONTROL.search(printable(text))
    assert not re.search(r"[\n\t]", in_one_line(text))
    if not CONTROL.search(text) and not re.search("[\u061c\u2066-\u2069\ufeff]", text):
        assert printable(text) == text
    assert in_one_line(text).isprintable() or not text.isprintable()


@given(st.recursive(st.text() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_escaped_json_means_the_same(value: Any) -> None:
    document = in_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(document) == value
    assert not CONTROL.search(document)


def test_what_moves_a_terminal_is_dropped() -> None:
    assert (
        without_sequences("\x1b[1;31ma\x1b[0mb\x1b]0;t\x07c\x1b]8;;u\x1b\\d\x1b[?2026h") == "abcd"
    )
    assert without_sequences("\x1b") == "\x1b"


FLOWS = """
    import mxm
    from mxm.pipeline import AssetDecl, FlowSpec, TaskSpec, register_flow

    UNSAFE = {unsafe!r} + "\\nline"
    NAME = "load" + UNSAFE

    def load(limit: int = 3, text: str = UNSAFE) -> str:
        print(UNSAFE)
        return text

    def failing(text: str) -> None:
        raise ValueError(UNSAFE)

    load.__doc__ = UNSAFE
    failing.__doc__ = UNSAFE
    asset = AssetDecl("asset" + UNSAFE, partition_key="text")
    first = TaskSpec(NAME, load, produces=asset, tags=[UNSAFE])
    after = TaskSpec("after" + UNSAFE, load, after=[NAME])
    register_flow(FlowSpec("good", [first, after]))
    register_flow(FlowSpec("good" + UNSAFE, [first, after]))
    register_flow(FlowSpec("failing", [first, TaskSpec("fails" + UNSAFE, failing, upstream=[NAME])]))
    register_flow(FlowSpec("wrong", [
        TaskSpec(NAME, load),
        TaskSpec(NAME, load),
        TaskSpec("circle" + UNSAFE, failing, upstream=["circle" + UNSAFE]),
        TaskSpec("lost", failing, upstream=["lost" + UNSAFE]),
    ]))
    """
VERBS = [
    ["list"],
    ["list", "--json"],
    ["check"],
    ["check", "--json"],
    ["check", "--format", "github"],
    *(
        [verb, flow, *more]
        for flow in ("good", "failing", "wrong", f"good{UNSAFE}\nline".replace("\0", ""), "nosuch\x1b[2J")
        for verb, *more in (
            ["show"],
            ["show", "--json"],
            ["graph"],
            ["graph", "--format", "mermaid"],
            ["graph", "--format", "dot"],
            ["run", "--help"],
            ["run", "--backend", "inline"],
            ["run", "--backend", "inline", "--json"],
            ["run", "--backend", "inline", "-q", "-p", "text=\x1b[2J\u202e"],
            ["run", "--backend", "inline", "-p", "limit=\x1b[2J"],
            ["run", "--backend", "inline", "-p", "limt\x1b[2J=3"],
            ["run", "-p", "limit=@\x1b[2J"],
            ["run", "-p", "limit=@env:\x1b[2J"],
            ["run", "--params-file", "unsafe.toml", "--backend", "inline"],
        )
    ),
    ["\x1b[2J"],
    ["run", "--\x1b[2J"],
    ["--\x1b[2J"],
    ["run", "good", "\x1b[2J=3"],
    ["run", "good", "--backend", "\x1b[2J"],
    ["run", "good", "--workers", "\x1b[2J"],
    ["graph", "good", "--format", "\x1b[2J"],
    ["show", "good", "\x1b[2J"],
    ["explain", "\x1b[2J"],
    ["list", "-m", "\x1b[2J"],
]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unsafe")
    write(folder, {"flows.py": FLOWS.format(unsafe=UNSAFE)})
    write(
        folder,
        {"bad\x1b[2J.py": "import mxm\nraise ValueError('\x1b[2J')\n@mxm.flow\ndef f(): ...\n"},
    )
    (folder / "unsafe.toml").write_text('limit = "\\u001b[2J"\n"k\\u001b" = 3\n')
    return folder


@pytest.mark.parametrize("arguments", VERBS, ids=lambda a: ascii(" ".join(a)))
def test_no_verb_hands_control_characters_to_the_terminal(
    project: Path, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    ran = invoke(*arguments)
    assert ran.out + ran.err
    assert not CONTROL.search(ran.out), ascii(ran.out)
    assert not CONTROL.search(ran.err), ascii(ran.err)
    assert "Traceback" not in ran.err or "failing" in arguments
    if "--json" in arguments and ran.out:
        assert isinstance(json.loads(ran.out), dict)


@pytest.mark.parametrize("form", ["tree", "mermaid", "dot"])
def test_a_name_of_several_lines_adds_no_line_to_a_drawing(
    project: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    unsafe = invoke("graph", "good", "--format", form).out
    assert "\nline" not in unsafe


@pytest.mark.parametrize("flow", ["good", "failing"])
def test_a_name_of_several_lines_adds_no_line_to_what_a_run_says(
    project: Path, flow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    said, _, _ = invoke("run", flow, "--backend", "inline").err.partition("error: ")
    assert re.search(r"load.*\\nline", said)
    assert "\nline" not in said
