"""Assets at URLs: content named by its hash, and published by the description next to it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Generator, Mapping
from typing import Any, TypeVar

from mxm.pipeline.assets.files import Hashed, hash_of
from mxm.pipeline.errors import AssetError, described

__all__ = [
    "content_at",
    "is_url",
    "last_description_at",
    "object_of",
    "publish_at",
    "put",
    "read_at",
    "refusal_of",
    "remove_at",
]

T = TypeVar("T")

_URL = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_url(path: str) -> bool:
    """Whether *path* is a URL, not a file of the project."""
    return _URL.match(path) is not None


def refusal_of(url: str) -> str | None:
    """Why nothing can be written to *url*, in words; None if it can."""
    try:
        _system(url)
    except AssetError as error:
        return f"{error.message}; {error.hint}" if error.hint else error.message
    return None


def _system(url: str) -> Any:
    """The file system of *url*.

    Raises
    ------
    AssetError
        No installed package knows it.
    """
    protocol = url.partition("://")[0]
    try:
        fsspec: Any = importlib.import_module("fsspec")
    except ImportError:
        raise AssetError(
            f"{protocol}:// needs fsspec", hint="pip install 'mxm-pipeline[remote]'"
        ) from None
    try:
        return fsspec.filesystem(protocol)
    except (ImportError, ValueError) as error:
        raise AssetError(f"{protocol}:// cannot be used: {described(error)}") from None


@contextlib.contextmanager
def _asked() -> Generator[None]:
    """A block that raises OSError for whatever the library of an object store raises."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(described(error)) from error


def _sidecar(url: str) -> str:
    folder, _, name = url.rpartition("/")
    return f"{folder}/_{name}_asset.json"


def object_of(url: str, digest: str | None) -> str:
    """Where the content with *digest* of the asset at *url* is."""
    folder, _, name = url.rpartition("/")
    ending = "".join(re.findall(r"\.\w+$", name))
    return f"{folder}/_{name}/{(digest or '').removeprefix('sha256-')}{ending}"


def _description(system: Any, url: str) -> dict[str, Any] | None:
    """The description next to *url* as it is now; None if there is none.

    Raises
    ------
    OSError
        It cannot be read.
    """
    system.invalidate_cache()  # another process may have written it
    try:
        description: Any = json.loads(system.cat_file(_sidecar(url)))
    except (FileNotFoundError, ValueError):
        return None
    return description if isinstance(description, dict) else None  # pyright: ignore[reportUnknownVariableType]


def last_description_at(url: str) -> dict[str, Any] | None:
    """The description of the asset at *url*; None if there is none, or it cannot be read."""
    try:
        with _asked():
            return _description(_system(url), url)
    except (AssetError, OSError):
        return None


def content_at(url: str) -> Hashed | None:
    """The content published at *url* by its description; None if there is none, or it is not whole.

    Raises
    ------
    AssetError, OSError
        The object store does not answer.
    """
    system = _system(url)
    with _asked():
        description = _description(system, url)
        if description is None or not isinstance(description.get("digest"), str):
            return None
        try:
            size: int = system.info(object_of(url, description["digest"]))["size"]
        except FileNotFoundError:
            return None
    return Hashed(description["digest"] if size == description.get("size") else "cut", size)


def publish_at(
    url: str, write: Callable[[str], Any], describe_it: Callable[[Hashed], Mapping[str, Any]]
) -> Hashed:
    """Write the asset at *url* so that a reader of its description sees the old or the new one.

    Parameters
    ----------
    url
        Where it is.
    write
        Writes a new file at the path that it gets.
    describe_it
        Makes the description, from the content.

    Raises
    ------
    Exception
        *write* raised, or the store did; what was published at *url* still is.
    """
    system = _system(url)
    with tempfile.TemporaryDirectory(prefix="mxm-asset-") as folder:
        part = os.path.join(folder, url.rpartition("/")[2])
        write(part)
        content = hash_of(part)
        place = object_of(url, content.digest)
        system.invalidate_cache()
        if not system.exists(place) or system.info(place)["size"] != content.size:
            _upload(system, part, place)
        if system.info(place)["size"] != content.size:
            raise OSError(f"{place} was not written as a whole")
        note = {**describe_it(content), "object": place}
        system.pipe_file(_sidecar(url), json.dumps(note, ensure_ascii=False, indent=1).encode())
    return content


def _upload(system: Any, path: str, place: str) -> None:
    system.makedirs(place.rpartition("/")[0], exist_ok=True)
    system.put_file(path, place)
    system.invalidate_cache()


def put(url: str, write: Callable[[str], Any]) -> None:
    """Write what *write* makes to *url* itself, without a description."""
    system = _system(url)
    with tempfile.TemporaryDirectory(prefix="mxm-asset-") as folder:
        part = os.path.join(folder, url.rpartition("/")[2])
        write(part)
        _upload(system, part, url)


def read_at(url: str, digest: str | None, read: Callable[[str], T]) -> T:
    """What *read* returns for a copy of the content with *digest* of the asset at *url*.

    Raises
    ------
    AssetError
        It is not what was written.
    OSError
        It cannot be read.
    """
    system = _system(url)
    with tempfile.TemporaryDirectory(prefix="mxm-asset-") as folder:
        part = os.path.join(folder, url.rpartition("/")[2])
        place = object_of(url, digest)
        with _asked():
            system.get_file(place, part)
        if hash_of(part).digest != digest:
            raise AssetError(f"{place} is not what was written")
        return read(part)


def remove_at(url: str, digest: str | None) -> None:
    """Remove the description of the asset at *url*, and then its content with *digest*."""
    system = _system(url)
    with _asked():
        system.invalidate_cache()
        for place in (_sidecar(url), object_of(url, digest)):
            if system.exists(place):
                system.rm_file(place)
