"""Runs the blocks of a page of the docs in one folder, and compares what they show.

- A block of any language whose first line is a comment with a path is a file: it is written.
- Another ``python`` block is a program; the ``text`` block right below it is what it prints.
- A ``console`` block has commands after ``$`` and what a terminal shows below each. A line ``...``
  stands for any lines, and times count as equal.
- A block with a ``title=`` is another engine's: it must be valid Python, and is not run.

``UPDATE_GOLDEN=1`` writes what was printed into the page.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from command import SCRIPT

FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|--|//) (?:file: )?([\w./-]+\.\w+|Makefile)\s*$")
SHELL = 'mxm-pipeline() {{ "{python}" "{script}" "$@"; }}; python() {{ "{python}" "$@"; }}\n{line}'


@dataclass
class Block:
    """One fenced block of a page."""

    kind: str
    info: str
    text: str
    start: int
    end: int

    @property
    def file(self) -> str | None:
        first = self.text.partition("\n")[0]
        named = FILE.match(first)
        return named[1] if named else None


def blocks(text: str) -> list[Block]:
    return [Block(m[1], m[2], m[3], m.start(3), m.end(3)) for m in FENCE.finditer(text)]


def shell(line: str, folder: Path) -> str:
    """What a terminal shows of *line*."""
    script = SHELL.format(python=sys.executable, script=SCRIPT, line=line)
    ran = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=200,
        env={**os.environ, "COLUMNS": "100"},
    )
    return ran.stdout.replace(f"{folder.resolve()}/", "").replace(str(folder), ".")


def program(text: str, folder: Path) -> str:
    (folder / "program.py").write_text(text, "utf-8")
    shown = shell("python program.py", folder)
    (folder / "program.py").unlink()
    return shown


def comparable(text: str) -> str:
    """*text* without what differs from run to run."""
    text = re.sub(
        r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \d\d \w\w\w (\d{4} )?\d\d:\d\d(:\d\d)?", "<day>", text
    )
    text = re.sub(r"\b\d\d:\d\d:\d\d\b", "<clock>", text)
    text = re.sub(r"\b\d{8}-\d{6}-[0-9a-f]{8}\b", "<run>", text)
    text = re.sub(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d[\d:.]*(\+00:00|Z)?", "<when>", text)
    text = re.sub(r"\b\d+(\.\d+)? ?s\b|\b\d+ ms\b", "<n> s", text)
    text = re.sub(r"just now|\d+ (second|minute)s? ago", "<ago>", text)
    text = re.sub(r"\b\d+(\.\d+)? k?B\b", "<size>", text)
    text = re.sub(r"<n> s to <n> s", "<n> s", text)
    text = re.sub(r"(?<=\S) {2,}", "  ", text)  # columns are as wide as what differs
    return "\n".join(line.rstrip() for line in text.rstrip("\n").split("\n"))


def is_shown(shown: str, printed: str) -> bool:
    """Whether *printed* is what the page shows."""
    parts = [
        re.escape(part) for part in re.split(r"^\.\.\.$", comparable(shown), flags=re.MULTILINE)
    ]
    return re.fullmatch("(?:.*\n)*?.*".join(parts), comparable(printed)) is not None


def run_page(page: Path, folder: Path) -> None:
    """Run the blocks of *page* from the top, in *folder*."""
    text = page.read_text("utf-8")
    update = bool(os.environ.get("UPDATE_GOLDEN"))
    edits: list[tuple[int, int, str]] = []
    wrong: list[str] = []

    def compare(what: str, at: int, end: int, printed: str) -> None:
        shown = text[at:end]
        line = text.count("\n", 0, at)
        if is_shown(shown, printed):
            return
        if "\n...\n" in f"\n{shown}":
            wrong.append(f"{page.name}:{line} {what}: shows\n{shown}\nprints\n{printed}")
        elif update:
            edits.append((at, end, printed.rstrip("\n") + "\n" if printed else ""))
        else:
            wrong.append(f"{page.name}:{line} {what}: shows\n{shown}\nprints\n{printed}")

    found = blocks(text)
    for number, block in enumerate(found):
        if "title=" in block.info:
            compile(block.text, f"{page.name}: {block.info}", "exec")
        elif block.file is not None:
            file = folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text, "utf-8")
        elif block.kind == "python":
            printed = program(block.text, folder)
            following = found[number + 1] if number + 1 < len(found) else None
            if (
                following is not None
                and following.kind == "text"
                and not text[block.end + 3 : following.start - 8].strip()
            ):
                compare("program", following.start, following.end, printed)
            elif printed:
                wrong.append(
                    f"{page.name}: a program prints what is not shown:\n{block.text}\n{printed}"
                )
        elif block.kind == "console":
            for part in re.finditer(
                r"^\$ (.*(?:\\\n.*)*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE
            ):
                printed = shell(part[1], folder)
                compare(
                    f"$ {part[1]}", block.start + part.start(2), block.start + part.end(2), printed
                )
    for at, end, printed in reversed(edits):
        text = text[:at] + printed + text[end:]
    if edits:
        page.write_text(text, "utf-8")
    assert not wrong, "\n\n".join(wrong)
