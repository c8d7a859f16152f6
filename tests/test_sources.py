"""What may follow @ and --params-file: files and streams that end, up to a limit."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command import SCRIPT, Outcome, call, invoke, write

FLOWS = """
    import mxm

    @mxm.task
    def length(text: str = "", other: str = "", data: dict = {}) -> list[int]:
        return [len(text), len(other), len(data)]

    @mxm.flow
    def f():
        return length
    """
INLINE = ("--backend", "inline", "--quiet")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, {"flows.py": FLOWS})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell(line: str, folder: Path) -> Outcome:
    """*line* in bash, where ``run`` runs the flow; it is killed, and fails, where it hangs."""
    run = f'run() {{ "{sys.executable}" "{SCRIPT}" run f {" ".join(INLINE)} "$@"; }}\n'
    ran = subprocess.run(
        ["bash", "-c", run + line], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return Outcome(ran.returncode, ran.stdout, ran.stderr)


@pytest.mark.parametrize(
    ("line", "lengths"),
    [
        ("run -p text=@<(echo hello)", [5, 0, 0]),
        ("run -p text=@<(echo hello) -p other=@<(echo abc)", [5, 3, 0]),
        ("echo hello | run -p text=@-", [5, 0, 0]),
        ("echo hello | run -p text=@/dev/stdin", [5, 0, 0]),
        ("run -p text=@/dev/fd/0 <<< hello", [5, 0, 0]),
        ("run -p text=@/dev/fd/7 7<<< hello", [5, 0, 0]),
        ("run -p text=@flows.py < /dev/null", [len(FLOWS), 0, 0]),
        ("""echo '{"text": "ab"}' | run --params-file -""", [2, 0, 0]),
        ("""run --params-file <(echo '{"data": {"a": 1}}')""", [0, 0, 1]),
    ],
)
def test_files_and_streams_are_read(project: Path, line: str, lengths: list[int]) -> None:
    write(project, {"flows.py": FLOWS})
    ran = shell(line, project)
    assert (ran.code, ran.err) == (0, "")
    if "flows.py" in line:
        lengths = [len((project / "flows.py").read_text()) - 1, 0, 0]
    assert json.loads(ran.out)["length"] == lengths


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("run -p text=@fifo", "parameter 'text': 'fifo' is a FIFO, not a file"),
        ("run --params-file fifo.json", "--params-file: 'fifo.json' is a FIFO, not a file"),
        ("run -p text=@link", "parameter 'text': 'link' is a FIFO, not a file"),
        ("run -p text=@socket", "parameter 'text': 'socket' is a socket, not a file"),
        ("run -p text=@/dev/zero", "parameter 'text': '/dev/zero' is a device, not a file"),
        ("run -p text=@/dev/tty", "parameter 'text': '/dev/tty' is a device, not a file"),
        ("run -p text=@.", "parameter 'text': '.' is a folder, not a file"),
        ("run -p text=@- < /dev/zero", "parameter 'text': '-' is larger than 64 MB"),
        ("run -p text=@/dev/fd/5 5< /dev/zero", "'/dev/fd/5' is larger than 64 MB"),
        ("run -p text=@/dev/fd/9", "parameter 'text': no such file: '/dev/fd/9'"),
        ("run -p text=@- <&-", "parameter 'text': cannot read '-': standard input is closed"),
        (
            "run -p text=@- -p other=@/dev/stdin <<< a",
            "parameter 'text' has already read '/dev/stdin'",
        ),
        ("run -p text=@- --params-file - <<< {}", "--params-file has already read '-'"),
        ("run --params-file - <<< 'a: 1'", "-:1:1: not valid JSON"),
    ],
)
def test_what_may_never_end_is_refused(project: Path, line: str, told: str) -> None:
    for name in ("fifo", "fifo.json"):
        os.mkfifo(project / name)
    (project / "link").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        ran = shell(line, project)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("verb", [["list"], ["check"], ["show", "f"], ["run", "f", *INLINE]])
def test_a_fifo_that_looks_like_a_module_is_passed_over(project: Path, verb: list[str]) -> None:
    os.mkfifo(project / "pipe.py")
    os.mkfifo(project / "pyproject.toml")
    assert call(*verb, cwd=project).code == 0


def test_a_fifo_given_as_a_target_is_named(project: Path) -> None:
    os.mkfifo(project / "pipe.py")
    for target in ("pipe.py", "pipe.py:f"):
        ran = invoke("run", target)
        assert (ran.code, ran.out) == (2, "")
        assert "'pipe.py' is not a regular file" in ran.err


# Limits


def sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize(
    "arguments",
    [["-p", "text=@large.txt"], ["-p", "data=@large.json"], ["--params-file", "large.json"]],
)
def test_a_file_beyond_the_limit_is_refused_before_it_is_read(
    project: Path, arguments: list[str]
) -> None:
    for name in ("large.txt", "large.json"):
        sparse(project / name, 10**9)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (700 * 10**6, 700 * 10**6))

    ran = subprocess.run(
        [sys.executable, SCRIPT, "run", "f", *arguments, *INLINE],
        cwd=project,
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=60,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert (
        f"'{arguments[-1].partition('@')[2] or arguments[-1]}' is larger than 64 MB" in ran.stderr
    )
    assert "read the file in a task" in ran.stderr


def test_a_module_beyond_the_limit_is_passed_over(project: Path) -> None:
    sparse(project / "large.py", 10**9)
    assert invoke("list").code == 0


def bomb(levels: int) -> str:
    """YAML of a few hundred bytes that expands to 9 ** *levels* values and more."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]")
    return "\n".join(lines)


def merge_bomb(levels: int) -> str:
    lines = ["a0: &a0 {x: 1}"]
    for n in range(1, levels):
        lines.append(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.yaml", bomb(9), "p.yaml: more than 1,000,000 values after its aliases are expanded"),
        ("p.yaml", merge_bomb(9), "p.yaml: more than 1,000,000 values after its aliases"),
        ("p.yaml", "a: &a [*a]\n", "p.yaml:1:4: not valid YAML: a value that contains itself"),
        ("p.yaml", "a: &a {b: {c: *a}}\n", "p.yaml:1:4: not valid YAML: a value that contains"),
        ("p.json", f'{{"a": [{"0," * 1_000_000}0]}}', "p.json: more than 1,000,000 values"),
        ("p.json", f'{{"a": [{"{}," * 1_000_000}0]}}', "p.json: more than 1,000,000 values"),
        ("p.toml", f"a = [{'0,' * 1_000_000}]", "p.toml: more than 1,000,000 values"),
    ],
    ids=["aliases", "merges", "itself", "itself below", "json", "json of tables", "toml"],
)
def test_a_document_of_too_many_values_is_refused(
    project: Path, name: str, text: str, told: str
) -> None:
    write(project, {name: text})
    for arguments in (["--params-file", name], ["-p", f"data=@{name}"]):
        ran = invoke("run", "f", *arguments)
        assert (ran.code, ran.out) == (2, "")
        assert told in ran.err


def test_yaml_of_too_many_nodes_is_refused_while_it_is_read(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mxm.pipeline.cli.files._MOST_VALUES", 100)
    write(project, {"p.yaml": f"a: [{'0, ' * 100}]\n", "q.yaml": f"data: {{a: [{'0, ' * 90}]}}\n"})
    assert "p.yaml: more than 100 values" in invoke("run", "f", "--params-file", "p.yaml").err
    assert invoke("run", "f", "--params-file", "q.yaml", *INLINE).code == 0


def test_aliases_and_merges_within_the_limit_are_read(project: Path) -> None:
    write(project, {"p.yaml": "data: {base: &b {x: 1}, one: {<<: *b, y: 2}, two: *b}\n" + bomb(3)})
    ran = invoke("run", "f", "--params-file", "p.yaml", *INLINE)
    assert (ran.code, json.loads(ran.out)["length"]) == (0, [0, 0, 3])


@pytest.mark.parametrize(
    "value", ["!!int canary", "!!float canary", "!!bool canary", "!!timestamp canary", "!!binary ä"]
)
def test_a_tag_that_does_not_fit_its_value_is_an_error_without_the_value(
    project: Path, value: str
) -> None:
    write(project, {"p.yaml": f"text: {value}\n"})
    ran = invoke("run", "f", "--params-file", "p.yaml")
    assert (ran.code, ran.out) == (2, "")
    assert "p.yaml: not valid YAML: " in ran.err or "p.yaml:1" in ran.err
    assert "canary" not in ran.err
