"""Installed distributions: which one a module belongs to, its version, what it requires."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from types import ModuleType
from typing import Any, NamedTuple

from mxm.pipeline.values.fingerprint.items import hash_of
from mxm.pipeline.values.fingerprint.memory import FileMemory

__all__ = ["Package", "Packages"]


class Package(NamedTuple):
    """An installed distribution.

    Parameters
    ----------
    name
        As it was installed: ``pandas``.
    digest
        Version and the digest of its list of files: ``2.2.3 5f3a...``.
    requires
        Names of the distributions that it needs, as far as they are known.
    """

    name: str
    digest: str
    requires: tuple[str, ...]


_NAME = re.compile(r"[-_.]+")
_REQUIRED = re.compile(r"^Requires-Dist: *([A-Za-z0-9._-]+)([^\n]*)$", re.MULTILINE)
# They say how and where it was installed, not its content.
_OF_INSTALLER = ("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json", "/uv_cache.json")


def _normal(name: str) -> str:
    return _NAME.sub("_", name).lower()


class Packages:
    """The distributions of modules that are looked up.

    Parameters
    ----------
    memory
        Remembers facts about their files.
    """

    def __init__(self, memory: FileMemory) -> None:
        self._memory = memory
        self._folders: dict[str, dict[str, str]] = {}
        self._owners: dict[str, dict[str, list[str]]] = {}
        self._of_top: dict[str, Package | None] = {}
        self._of_file: dict[str, Package | None] = {}
        self._by_name: dict[str, Package | None] = {}

    def of_module(self, module: ModuleType) -> Package | None:
        """The distribution of *module*; None if it has neither a distribution nor a file."""
        file: Any = vars(module).get("__file__")
        if not isinstance(file, str):
            try:
                file = os.path.join(next(iter(module.__path__)), "__init__.py")
            except Exception:  # neither a file nor a folder
                return None
        return self.of_file(file)

    def of_file(self, file: str) -> Package | None:
        """The distribution that *file* belongs to."""
        if file not in self._of_file:
            folder, parts = _below(os.path.abspath(file))
            key = f"{folder}/{parts[0] if parts else ''}"
            if len(parts) > 1 and not os.path.isfile(os.path.join(key, "__init__.py")):
                key = file  # several distributions share the folder
            if key not in self._of_top:
                self._of_top[key] = None if folder is None else self._find(folder, parts)
            self._of_file[file] = self._of_top[key]
        return self._of_file[file]

    def with_required(self, package: Package) -> list[Package]:
        """*package* and everything installed that it requires."""
        by_name: dict[str, Package] = {}
        stack = [package]
        while stack:
            each = stack.pop()
            if each.name not in by_name:
                by_name[each.name] = each
                for name in each.requires:
                    required = self.named(name)
                    if required is not None:
                        stack.append(required)
        return list(by_name.values())

    def _find(self, folder: str, parts: list[str]) -> Package | None:
        top = parts[0].partition(".")[0]
        listed = self._listed(folder)
        same = listed.get(_normal(top))
        if same is not None and self._holds(same, "/".join(parts)):
            return self._package(same)
        for info in self._owner(folder).get(parts[0], ()):
            if len(self._owner(folder)[parts[0]]) == 1 or self._holds(info, "/".join(parts)):
                return self._package(info)
        if same is not None:
            return self._package(same)
        return _of_files(folder, parts[0])

    def _listed(self, folder: str) -> dict[str, str]:
        """By normal name, the folders that describe the distributions in *folder*."""
        if folder not in self._folders:
            folders: dict[str, str] = {}
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                names = []
            for name in names:
                if name.endswith((".dist-info", ".egg-info")):
                    folders[_normal(name.partition("-")[0].removesuffix(".egg"))] = os.path.join(
                        folder, name
                    )
            self._folders[folder] = folders
        return self._folders[folder]

    def _holds(self, info: str, path: str) -> bool:
        return path in self._files(info) or not self._files(info)

    def _files(self, info: str) -> frozenset[str]:
        record = os.path.join(info, "RECORD")
        try:
            with open(record, encoding="utf-8", errors="replace") as file:
                return frozenset(line.partition(",")[0] for line in file)
        except OSError:
            return frozenset()

    def _owner(self, folder: str) -> dict[str, list[str]]:
        """By the first part of a path, the distributions that have files there."""
        if folder not in self._owners:

            def read() -> dict[str, list[str]]:
                owners: dict[str, list[str]] = {}
                for info in self._listed(folder).values():
                    for top in {each.partition("/")[0] for each in self._files(info)}:
                        owners.setdefault(top, []).append(info)
                return owners

            self._owners[folder] = self._memory.recall("owners", folder, read, _same, dict)
        return self._owners[folder]

    def named(self, name: str) -> Package | None:
        """The installed distribution *name*; None if there is none."""
        normal = _normal(name)
        if normal not in self._by_name:
            self._by_name[normal] = None
            for folder in sys.path:
                info = self._listed(folder).get(normal) if folder else None
                if info is not None:
                    self._by_name[normal] = self._package(info)
                    break
        return self._by_name[normal]

    def _package(self, info: str) -> Package:
        file = os.path.join(info, "RECORD")
        if not os.path.isfile(file):
            file = os.path.join(info, "PKG-INFO") if os.path.isdir(info) else info
        package: Package = self._memory.recall(
            "package", file, lambda: _described(info), list, _from_json
        )
        return package


def _same(value: Any) -> Any:
    return value


def _from_json(data: list[Any]) -> Package:
    name, digest, requires = data
    return Package(name, digest, tuple(requires))


def _below(path: str) -> tuple[str | None, list[str]]:
    """The folder of installed modules that *path* is in, and the path below it."""
    parts = path.split(os.sep)
    for number in range(len(parts) - 1, 0, -1):
        if parts[number] in ("site-packages", "dist-packages") and number + 1 < len(parts):
            return os.sep.join(parts[: number + 1]), parts[number + 1 :]
    return None, []


def _text(*places: str) -> str:
    for place in places:
        try:
            with open(place, encoding="utf-8", errors="replace") as file:
                return file.read()
        except OSError:
            continue
    return ""


def _described(info: str) -> Package:
    record = _text(os.path.join(info, "RECORD"))
    about = _text(os.path.join(info, "METADATA"), os.path.join(info, "PKG-INFO"), info)
    base = os.path.basename(info).rpartition(".")[0]
    name, _, version = base.partition("-")
    for line in about.splitlines():
        if line.startswith("Name: "):
            name = line[6:].strip()
        elif line.startswith("Version: "):
            version = line[9:].strip()
            break
    lines = [
        line
        for line in record.splitlines()
        # Programs name their interpreter's folder; compiled files are made where they are used.
        if not line.startswith(("../", "/"))
        and not line.partition(",")[0].endswith((".pyc", *_OF_INSTALLER))
    ]
    digest = hashlib.sha256("\n".join(sorted(lines or [about])).encode()).hexdigest()[:16]
    head = about.partition("\n\n")[0]
    requires = dict.fromkeys(
        needed.group(1) for needed in _REQUIRED.finditer(head) if "extra" not in needed.group(2)
    )
    return Package(name, f"{version} {digest}", tuple(requires))


def _of_files(folder: str, top: str) -> Package | None:
    """A module of no distribution, by the content of its files."""
    path = os.path.join(folder, top)
    if os.path.isfile(path):
        files = [path]
    else:
        files = sorted(
            os.path.join(at, name)
            for at, _, names in os.walk(path)
            for name in names
            if not name.endswith(".pyc")
        )
    digests: list[str] = []
    for file in files:
        try:
            with open(file, "rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError:
            continue
        digests.append(f"{os.path.relpath(file, folder)} {content}")
    if not digests:
        return None
    return Package(top.partition(".")[0], f"files {hash_of(*digests)[:16]}", ())
