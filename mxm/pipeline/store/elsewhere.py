"""Keeps values from a worker, where that has the folder of the store: a nonce proves it."""

from __future__ import annotations

import contextlib
import functools
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mxm.pipeline.errors import StoreError
from mxm.pipeline.execution.kept.entries import UnkeptError
from mxm.pipeline.store import kept
from mxm.pipeline.store.places import distrust
from mxm.pipeline.values.remote import KeptElsewhere

__all__ = ["SharedStore", "holds"]


@dataclass(frozen=True, slots=True)
class SharedStore:
    """Keeps values in the folder of a store, from any process that has it.

    A folder of the same path may be another one on another machine. So the run's process writes a
    file of a random name and content there, and a worker looks for it.

    Parameters
    ----------
    store
        The folder.
    name, nonce
        The file, and its content.
    folders
        The folders of the run that values are asked for.
    most
        Bytes of the largest value that is kept.
    """

    store: str
    name: str
    nonce: bytes
    folders: tuple[str, ...]
    most: int

    @classmethod
    def opened(cls, store: str, folders: tuple[str, ...], most: int) -> SharedStore:
        """That of a run in *store*, with its file.

        Raises
        ------
        OSError
            The file cannot be written.
        """
        name, nonce = f"run-{os.urandom(16).hex()}", os.urandom(32)
        folder = os.path.join(store, "values")  # where leftovers are removed
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(
            os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600
        )
        with open(descriptor, "wb") as file:
            file.write(nonce)
        return cls(store, name, nonce, folders, most)

    def close(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(self.store, "values", self.name))

    def __call__(
        self, value: Any, key: bytes, same: Callable[[Any], bool] | None, /
    ) -> KeptElsewhere | None:
        """Keep *value*; see `mxm.pipeline.execution.staying.Writer`."""
        if not self._is_here():
            return None
        try:
            packed = kept.pack(value, None, self.most)
            name = kept.digest_of(packed, key)
            if kept.keep(self.store, packed, name) is None:  # it is for the row of a task
                return None
            if same is not None and not same(kept.load(self.store, name, None)):
                raise UnkeptError("its pickle leaves out a part of it")
        except kept.UnkeptError as error:
            raise UnkeptError(str(error)) from None
        except StoreError as error:
            raise UnkeptError(error.message) from None
        except OSError:
            return None
        return KeptElsewhere(name, packed.size, tuple(f for f in self.folders if holds(packed, f)))

    def _is_here(self) -> bool:
        try:
            with open(os.path.join(self.store, "values", self.name), "rb") as file:
                return hmac.compare_digest(file.read(), self.nonce) and not distrust(self.store)
        except OSError:
            return False


def holds(packed: kept.Kept, root: str) -> bool:
    """Whether the path *root* is in the bytes of *packed*."""
    return any(text in bytes(part) for part in packed.parts for text in _texts(root))


@functools.lru_cache(maxsize=8)
def _texts(root: str) -> tuple[bytes, ...]:
    """*root* as bytes of a pickle or a buffer may have it."""
    wide = [root.encode(encoding, "surrogatepass") for encoding in ("utf-16-le", "utf-32-le")]
    return (root.encode("utf-8", "surrogateescape"), *wide)
