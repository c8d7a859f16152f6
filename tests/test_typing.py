"""What type checkers see of the language: right.py passes, each wrong line of wrong.py does not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from environments import Artifact, environment
from typecheckers import completeness, type_check

PROGRAMS = Path(__file__).parent / "typing"
RIGHT, WRONG = PROGRAMS / "right.py", PROGRAMS / "wrong.py"

pytestmark = pytest.mark.parametrize(
    "python", ["installed here", pytest.param("wheel", marks=pytest.mark.slow)], indirect=True
)
checkers = pytest.mark.parametrize("checker", ["pyright", "mypy"])


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The interpreter for which the package is installed: this one, or one that has the wheel."""
    if request.param == "installed here":
        return sys.executable
    artifact: Artifact = request.getfixturevalue("artifact")
    place = environment(tmp_path_factory.mktemp("wheel") / "place", sys.executable)
    place.install(f"{artifact.wheel}[prefect,yaml]")
    return place.python


@checkers
def test_what_is_right_passes_and_what_is_wrong_is_told(
    checker: str, python: str, tmp_path: Path
) -> None:
    done = type_check(checker, python, tmp_path, RIGHT, WRONG)
    assert done.returncode == 0, done.stdout + done.stderr


@checkers
def test_a_comment_that_hides_no_error_is_one(checker: str, python: str, tmp_path: Path) -> None:
    # Otherwise wrong.py would prove nothing.
    text = WRONG.read_text().replace("mxm.tsk", "mxm.task")
    changed = tmp_path / "changed.py"
    changed.write_text(text)
    done = type_check(checker, python, tmp_path, changed)
    line = next(i for i, row in enumerate(text.splitlines(), 1) if row.startswith("mxm.task  "))
    assert done.returncode == 1
    assert f"{changed.name}:{line}:" in done.stdout
    assert 'Unnecessary "# pyright: ignore"' in done.stdout or "unused-ignore" in done.stdout


@checkers
def test_a_comment_that_names_another_reason_hides_no_error(
    checker: str, python: str, tmp_path: Path
) -> None:
    text = WRONG.read_text()
    text = text.replace("[attr-defined]", "[arg-type]", 1)
    text = text.replace("[reportAttributeAccessIssue, ", "[reportArgumentType, ", 1)
    changed = tmp_path / "changed.py"
    changed.write_text(text)
    done = type_check(checker, python, tmp_path, changed)
    assert done.returncode == 1
    assert '"tsk"' in done.stdout


@pytest.mark.parametrize("package", ["mxm", "mxm.pipeline"])
def test_every_public_name_has_a_known_type(package: str, python: str, tmp_path: Path) -> None:
    found: dict[str, Any] = completeness(package, python, tmp_path)
    names = {symbol["name"] for symbol in found["symbols"] if symbol["isExported"]}
    assert {f"{package}.task", "mxm.pipeline.api.compile_flow"} <= names
    told = {
        symbol["name"]: [diagnostic["message"] for diagnostic in symbol["diagnostics"]]
        for symbol in found["symbols"]
        if symbol["isTypeAmbiguous"] or not symbol["isTypeKnown"]
    }
    assert not told
    assert found["completenessScore"] == 1
