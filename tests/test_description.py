"""What the package index shows of the README: whole, and with no link that leads nowhere."""

from __future__ import annotations

import importlib.util
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PICTURE = re.compile(r"<picture>.*?</picture>", re.DOTALL)
# What its pictures show, in words.
SHOWN = [one or other for one, other in re.findall(r'!\[([^\]]+)\]|<img alt="([^"]+)"', README)]
REPOSITORY = "https://forge.example/owner/name"


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> Any:
    """hatch_build.py, which the build loads beside hatchling."""
    interface = types.ModuleType("hatchling.metadata.plugin.interface")
    interface.MetadataHookInterface = type("MetadataHookInterface", (), {"root": str(ROOT)})
    for name in ("hatchling", "hatchling.metadata", "hatchling.metadata.plugin"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, interface.__name__, interface)
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.MULTILINE | re.DOTALL)


def targets(text: str) -> list[str]:
    return re.findall(r'\]\(([^)\s]+)\)|(?:src|srcset)="', without_code(text))


def test_links_and_pictures_lead_to_the_repository(hook: Any) -> None:
    made = hook.description(README, REPOSITORY, "1.2.3")
    assert len(targets(made)) == len(targets(PICTURE.sub("![](x)", README))) > 20
    for target in targets(made):
        place = re.fullmatch(rf"{REPOSITORY}/(?:blob|raw)/v1\.2\.3/(.+)", target)
        assert place is not None, target
        assert (ROOT / place[1]).exists()
    assert re.findall(r"!\[([^\]]+)\]", made) == SHOWN


def test_without_a_repository_links_are_text(hook: Any) -> None:
    made = hook.description(README, None, "1.2.3")
    assert targets(made) == []
    assert all(f"*{each}*" in made for each in SHOWN)
    assert "| docs/tutorial.md |" in made
    assert "<picture>" not in made


def test_all_else_stays(hook: Any) -> None:
    made = hook.description(README, REPOSITORY, "1.2.3")
    code = re.findall(r"^```.*?^```$", README, re.MULTILINE | re.DOTALL)
    assert re.findall(r"^```.*?^```$", made, re.MULTILINE | re.DOTALL) == code
    text = "see `a[0](b)`, [one](https://x.example), [two](#part), [three](c.md)\n"
    assert hook.description(text, None, "1") == text.replace("[three](c.md)", "three")


@pytest.mark.parametrize("repository", [None, REPOSITORY])
def test_metadata_has_the_links_of_the_project(
    hook: Any, monkeypatch: pytest.MonkeyPatch, repository: str | None
) -> None:
    monkeypatch.setenv("MXM_REPOSITORY", repository or "")
    metadata: dict[str, Any] = {"version": "1.2.3"}
    hook.Hook().update(metadata)
    assert metadata["readme"]["content-type"] == "text/markdown"
    urls = metadata.get("urls", {})
    assert set(urls) == ({"Source", "Documentation", "Changelog"} if repository else set())
    for url in urls.values():
        path = url.removeprefix(REPOSITORY).removeprefix("/blob/v1.2.3").strip("/")
        assert (ROOT / path).exists()
