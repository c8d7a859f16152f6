"""docs/licences.md lists what a release depends on, and names every licence that is not permissive."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PERMISSIVE = re.compile(
    r"\b(?:MIT|0?BSD|Apache|ISC|PSF|Python Software Foundation|NCSA|Zlib|CC0|CNRI-Python|HPND|Unlicense)\b"
)
WORDS = re.compile(r"\s+(?:AND|OR|WITH)\s+|;|[()]")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def listed() -> dict[str, str]:
    """By distribution, the licence that the page gives it."""
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([\w-]+) \| [^|]* \| ([^|]+) \|$", page, re.MULTILINE)
    return {name: licence for name, licence in rows if name != "distribution"}


def asked_for() -> dict[str, Requirement]:
    """What the core and the extras of users ask for; tools of development are not among them."""
    extras = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in ("dev", "docs")}
    lines = [*PROJECT["dependencies"], *(line for part in extras.values() for line in part)]
    return {normal(r.name): r for r in map(Requirement, lines)}


def installed_with(asked: dict[str, Requirement]) -> dict[str, Distribution]:
    """The distributions *asked* for that are installed, and all that these need."""
    found: dict[str, Distribution] = {}
    waiting = list(asked.values())
    while waiting:
        one = waiting.pop()
        name = normal(one.name)
        try:
            if name not in found:
                found[name] = distribution(name)
                for line in found[name].requires or ():
                    needed = Requirement(line)
                    wanted = [{"extra": extra} for extra in (*one.extras, "")]
                    if not needed.marker or any(map(needed.marker.evaluate, wanted)):
                        waiting.append(needed)
        except PackageNotFoundError:
            pass  # an extra that is not installed here, or a library for another platform
    return found


def licence_of(found: Distribution) -> str:
    """What its metadata say, the precise field first."""
    about = found.metadata
    classified = [
        re.sub(r" \([A-Z]\w+\)$", "", c.rpartition(" :: ")[2])
        for c in about.get_all("Classifier") or ()
        if "License ::" in c
    ]
    return about["License-Expression"] or "; ".join(classified) or str(about["License"])


def is_permissive(licence: str) -> bool:
    """Whether each of the licences that it names is."""
    return all(PERMISSIVE.search(part) for part in WORDS.split(licence) if part.strip())


def test_what_users_install_is_listed() -> None:
    assert set(asked_for()) - set(listed()) == set()


def test_every_licence_is_permissive_or_named_on_the_page() -> None:
    found = {name: licence_of(one) for name, one in installed_with(asked_for()).items()}
    assert {"typer", "pydantic", "annotated-types"} <= set(found)
    assert {
        n: licence
        for n, licence in found.items()
        if not is_permissive(licence) and n not in listed()
    } == {}


def test_a_listed_licence_is_that_of_the_metadata() -> None:
    for name, one in installed_with(asked_for()).items():
        if name in listed():
            first = re.split(r"[ -]", listed()[name])[0]
            licence = (
                licence_of(one)
                .replace("Mozilla Public License", "MPL")
                .replace("Python Software Foundation", "PSF")
            )
            assert first in licence, f"{name}: {licence}"


def test_the_wheel_is_to_have_the_licence() -> None:
    assert PROJECT["license"] == "MIT"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_a_licence_that_asks_for_more_is_noticed() -> None:
    assert is_permissive("MIT-CMU")
    assert is_permissive("BSD-3-Clause AND 0BSD AND (Apache-2.0 OR MIT)")
    assert not is_permissive("MIT AND GPL-3.0-or-later")
    assert not is_permissive("GNU Affero General Public License v3")
    assert not is_permissive("PERMITTED USE ONLY")
    assert not is_permissive("None")
