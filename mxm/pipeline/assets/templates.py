"""Path templates of assets: read, filled in, and kept inside the project."""

from __future__ import annotations

import functools
import os
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from mxm.pipeline.assets.remote import is_url
from mxm.pipeline.errors import described, repr_of
from mxm.pipeline.process.interrupts import let_signals_pass

__all__ = ["Field", "PathError", "Template", "TemplateError", "fields_of", "read_template",
           "within"]  # fmt: skip


class TemplateError(ValueError):
    """A path template cannot be read, or leads out of the project.

    Attributes
    ----------
    leaves
        Whether it leads out of the project.
    """

    def __init__(self, message: str, *, leaves: bool = False) -> None:
        super().__init__(message)
        self.leaves = leaves


class PathError(ValueError):
    """A value cannot be part of a path."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a template: the name of a parameter, and how its value is written."""

    name: str
    spec: str = ""

    def text(self, value: Any) -> str:
        """*value* as it is written in the path.

        Raises
        ------
        PathError
            It has no such form, or could lead to another folder.
        """
        if value is None:
            raise PathError(f"{self.name!r} has no value")
        if isinstance(value, str) and "%" in self.spec:
            value = _moment(self.name, value, self.spec)
        try:
            text = format(value, self.spec)
        except BaseException as error:  # of any type
            let_signals_pass(error)
            spec = f" as {self.spec!r}" if self.spec else ""
            raise PathError(f"{self.name!r} cannot be written{spec}: {described(error)}") from None
        pieces = text.split("/") if "/" in self.spec else [text]
        for piece in pieces:
            why = _refusal(piece)
            if why is not None:
                raise PathError(f"{self.name!r} is {_short(value)}, and {why}")
        return text


def _short(value: Any) -> str:
    text = repr_of(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def _moment(name: str, text: str, spec: str) -> date:
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    raise PathError(f"{name!r} is {_short(text)}, which is not a date: {spec!r} needs one")


_LONGEST = 255  # bytes in the name of a folder
_LONGEST_FILE = 230  # the files next to it have longer names
_DRIVE = re.compile(r"[A-Za-z]:")


def _refusal(piece: str) -> str | None:
    """Why *piece* of a path, which comes from a value, cannot be used, in words."""
    if not piece:
        return "it is empty"
    if "/" in piece or "\\" in piece:
        return "a slash in a value would lead to another folder"
    if piece in (".", ".."):
        return "it would lead to another folder"
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in piece):
        return "it contains control characters"
    if _DRIVE.match(piece):
        return "it names a drive"
    try:
        length = len(piece.encode("utf-8"))
    except UnicodeEncodeError:
        return "it is not Unicode text"
    return f"its name of {length} bytes is too long" if length > _LONGEST else None


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed path template.

    Parameters
    ----------
    text
        As written.
    pieces
        Literal texts and fields, in order.
    """

    text: str
    pieces: tuple[str | Field, ...]

    @property
    def fields(self) -> tuple[Field, ...]:
        """The fields, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Field))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, each once."""
        return tuple(dict.fromkeys(field.name for field in self.fields))

    def render(self, values: Mapping[str, Any]) -> str:
        """The path for *values*, relative to the project's root.

        Raises
        ------
        PathError
            A value is missing or cannot be part of a path.
        """
        parts = [
            piece.text(values.get(piece.name)) if isinstance(piece, Field) else piece
            for piece in self.pieces
        ]
        path = "".join(parts)
        *folders, name = path.partition("://")[2].split("/") if is_url(path) else path.split("/")
        for folder in folders:
            if folder in ("", ".", "..") or len(folder.encode("utf-8")) > _LONGEST:
                raise PathError(f"{_short(path)} has a folder without a usable name")
        if name in ("", ".", "..") or len(name.encode("utf-8")) > _LONGEST_FILE:
            raise PathError(f"the name of the file, {_short(name)}, is too long")
        return path

    def pattern(self, values: Mapping[str, Any]) -> re.Pattern[str]:
        """A pattern for the paths that it makes with *values*; other fields may have any value."""
        parts: list[str] = []
        for piece in self.pieces:
            if isinstance(piece, str):
                parts.append(re.escape(piece))
            elif piece.name in values:
                parts.append(re.escape(piece.text(values[piece.name])))
            else:
                parts.append(".+" if "/" in piece.spec else "[^/]+")
        return re.compile("".join(parts))


@functools.lru_cache(maxsize=1024)
def read_template(text: str) -> Template:
    """Parse *text*.

    Raises
    ------
    TemplateError
        It cannot be read, or leads out of the project.
    """
    if not text or text.endswith("/"):
        raise TemplateError("it must end with the name of a file")
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{error}; braces that belong to the path are doubled: {{{{") from None
    pieces: list[str | Field] = []
    for literal, name, spec, conversion in parsed:
        if literal:
            pieces.append(literal)
        if name is None:
            continue
        if not name.isidentifier():
            raise TemplateError(f"{{{name}}} is not the name of a parameter")
        if conversion or "{" in (spec or ""):
            raise TemplateError(f"{{{name}}} may only be followed by a format: {{{name}:%Y-%m}}")
        pieces.append(Field(name, spec or ""))
    template = Template(text, tuple(pieces))
    _require_inside(template)
    return template


def _require_inside(template: Template) -> None:
    # A field can only become a name within its own folder.
    drawn = "".join(piece if isinstance(piece, str) else "x" for piece in template.pieces)
    if "://" in drawn:
        drawn = _inside_url(template, drawn)
    elif drawn.startswith(("/", "~")) or _DRIVE.match(drawn) or "\\" in drawn:
        raise TemplateError("it must be relative to the project's root", leaves=True)
    if any(ord(letter) < 32 for letter in drawn):
        raise TemplateError("it contains control characters")
    folders = drawn.split("/")
    if ".." in folders:
        raise TemplateError("'..' leads out of it", leaves=True)
    if "" in folders or "." in folders:
        raise TemplateError("it has a folder without a name")


def _inside_url(template: Template, drawn: str) -> str:
    """The path behind the host or the bucket of a URL."""
    first = template.pieces[0]
    protocol, _, rest = drawn.partition("://")
    if not isinstance(first, str) or not is_url(first) or "://" in rest:
        raise TemplateError("what is before :// must be the name of a protocol", leaves=True)
    if protocol in ("file", "local"):
        raise TemplateError("it must be relative to the project's root", leaves=True)
    host, slash, path = rest.partition("/")
    if not slash or "/" not in first.partition("://")[2]:
        raise TemplateError("the host or the bucket must be named, and a path in it", leaves=True)
    if "@" in host:
        raise TemplateError("a name and a password in it would be recorded; set them up outside")
    return path


def fields_of(template: str | None) -> tuple[str, ...]:
    """The names of the parameters in *template*; empty if it cannot be read."""
    if template is None:
        return ()
    try:
        return read_template(template).names
    except TemplateError:
        return ()


def within(root: str, path: str) -> str:
    """The real path of *path*, which is relative to *root*.

    Raises
    ------
    PathError
        A symbolic link leads out of *root*.
    """
    top = os.path.realpath(root)
    real = os.path.realpath(os.path.join(top, *path.split("/")))
    if os.path.commonpath([top, real]) != top:
        raise PathError(f"a symbolic link leads out of the project: {path} is {real}")
    return real
