"""Sources are parsed although the interpreter confuses two threads that do so at once."""

from __future__ import annotations

import ast
from typing import Any

import pytest

from mxm.pipeline.introspection.parsing import compiled, parsed


def test_a_tree_that_another_thread_confused_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    parse, calls = ast.parse, list[str]()

    def confused(source: Any, file: str) -> ast.Module:
        calls.append(file)
        if len(calls) < 4:
            raise SystemError("AST constructor recursion depth mismatch (before=210, after=52)")
        return parse(source, file)

    monkeypatch.setattr(ast, "parse", confused)
    tree = parsed("x = '\\d'", "a.py")
    assert calls == ["a.py"] * 4
    space: dict[str, Any] = {}
    exec(compiled(tree, "a.py"), space)
    assert space["x"] == "\\d"


def test_a_fault_that_stays_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> ast.Module:
        raise SystemError("broken")

    monkeypatch.setattr(ast, "parse", broken)
    with pytest.raises(SystemError, match="broken"):
        parsed("x = 1")
