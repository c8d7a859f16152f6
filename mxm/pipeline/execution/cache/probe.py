"""Records what each attempt of a cached call does, in the process in which its function runs."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mxm.pipeline.assets.reading import ReadAsset, noting_reads
from mxm.pipeline.errors import described
from mxm.pipeline.execution.cache.generators import moved_since, states_now
from mxm.pipeline.execution.files.observing import Observed, also_observed, observed, unseen
from mxm.pipeline.execution.kept.contents import Sealer, Shape, named, redigested
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.digest import UndigestibleError
from mxm.pipeline.values.fingerprint import FileMemory, Fingerprint, Fingerprints

__all__ = [
    "Notes",
    "Probe",
    "digest_of_code",
    "environment_of",
    "fingerprints_of",
    "forget_fingerprints",
]


@dataclass(slots=True)
class Notes:
    """What one attempt of a cached call did in addition to returning a value.

    Parameters
    ----------
    observed
        The files that it opened.
    changed
        The parameters whose values are not what they were when the call was made.
    code
        Why the code that ran is not the code of the key; empty if it is.
    moved
        The random number generators that it advanced.
    reads
        The assets that it loaded.
    """

    observed: Observed | None = None
    changed: list[str] = field(default_factory=list[str])
    code: list[str] = field(default_factory=list[str])
    moved: list[str] = field(default_factory=list[str])
    reads: list[ReadAsset] = field(default_factory=list[ReadAsset])


@dataclass(slots=True)
class Probe:
    """Records what the attempts of one call do.

    Parameters
    ----------
    key
        That of the store.
    root
        The project's folder.
    arguments
        By parameter, the digest of the argument, and how it was made.
    code
        The digest of the function's code; that of its parts that can change; those of the
        environment variables that it reads.
    notes
        Those of the attempts that ended, in order.
    is_lost
        Whether an attempt was abandoned, and may still be running.
    """

    key: bytes
    root: str
    arguments: Mapping[str, tuple[str, Shape]]
    code: tuple[str, str, Mapping[str, str]]
    notes: list[Notes] = field(default_factory=list["Notes"])
    is_lost: bool = False

    def sent(self) -> Probe:
        """A copy without notes, for another process."""
        return Probe(self.key, self.root, self.arguments, self.code)

    def take(self, notes: Iterable[Notes]) -> None:
        """Add *notes* of attempts in another process."""
        for one in notes:
            self.notes.append(one)
            if one.observed is not None:  # for a run inside a task, those of that task, too
                also_observed([*one.observed.reads, *one.observed.writes])
                if one.observed.torn or one.observed.unseen:
                    unseen("worker processes")

    def around(self, fn: Callable[..., Any]) -> contextlib.AbstractContextManager[None]:
        """A block in which one attempt of *fn* is made and recorded."""
        return _Around(self, fn)

    def check(self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Record what the last attempt, which returned, changed; this is outside the measured time.

        Parameters
        ----------
        fn
            The function that was called.
        args, kwargs
            The arguments that the key was made of.
        """
        notes = self.notes[-1]
        try:
            prints = fingerprints_of(self.root, self.key)
            sealer = Sealer(self.key, self.root, functools.partial(digest_of_code, prints))
            notes.changed += self._changed(fn, args, kwargs, sealer)
            changed = self._code_changed(prints.of(fn), sealer)
            if _ENVIRONMENT in notes.code and any("of the environment" in one for one in changed):
                notes.code.remove(_ENVIRONMENT)  # reported once, and more precisely
            notes.code += changed
        except BaseException as error:  # user code runs here, too
            let_signals_pass(error)
            notes.code.append(f"something that cannot be checked ({described(error)})")

    def _changed(
        self, fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], sealer: Sealer
    ) -> list[str]:
        changed: list[str] = []
        for name, value in named(fn, args, kwargs).items():
            if type(value) in _UNCHANGING:
                continue
            digest, shape = self.arguments.get(name, ("", None))
            try:
                same = redigested(shape, value, sealer) == digest
            except UndigestibleError:
                same = False
            except BaseException as error:  # user code, which may raise anything
                let_signals_pass(error)
                same = False
            if not same:
                changed.append(name)
        return changed

    def _code_changed(self, code: Fingerprint, sealer: Sealer) -> list[str]:
        digest, at_call, environment = self.code
        if code.digest != digest:
            return ["its code is not the same where it ran"]
        changed = [f"its code ({reason.text})" for reason in code.recheck()]
        if sealer.seal(code.at_call()) != at_call:
            changed.append("a name that its code reads")
        now = environment_of(code, sealer)
        names = [name for name in now if now[name] != environment.get(name)]
        changed += [f"variable {name} of the environment, which it reads," for name in names]
        return changed


class _Around(contextlib.AbstractContextManager[None]):
    # Not a generator: `contextmanager` sets the traceback of exceptions, which frozen ones reject.
    def __init__(self, probe: Probe, fn: Callable[..., Any]) -> None:
        self._probe = probe
        self._fn = fn
        self._notes = Notes()
        self._watching = contextlib.ExitStack()

    def __enter__(self) -> None:
        probe, notes = self._probe, self._notes
        self._before, self._surroundings = states_now(), _surroundings()
        watch = observed(root=probe.root, reaches=_Reach(probe, self._fn))
        notes.observed = self._watching.enter_context(watch)
        self._watching.enter_context(noting_reads(notes.reads))

    def __exit__(self, *_: object) -> None:
        notes = self._notes
        try:
            self._watching.close()
        except Exception as error:  # of what is read then: the result stands
            notes.code.append(f"something that cannot be noted ({described(error)})")
        notes.moved += moved_since(self._before)
        now = _surroundings()
        notes.code += [name for name, state in self._surroundings.items() if now[name] != state]
        self._probe.notes.append(notes)


class _Reach:
    """Whether the code of a function reaches code in a file; computed on demand."""

    def __init__(self, probe: Probe, fn: Callable[..., Any]) -> None:
        self._probe = probe
        self._fn = fn
        self._files: frozenset[str] | None = None
        self._has_siblings = False

    def __call__(self, path: str) -> bool:
        if self._files is None:
            root = self._probe.root
            items = fingerprints_of(root, self._probe.key).of(self._fn).items
            files = {os.path.join(root, item.file) for item in items if item.file}
            self._files = frozenset(map(os.path.realpath, files))
            # Files of a sibling project are named relative to its own folder, which may be any.
            self._has_siblings = not all(map(os.path.exists, files))
        inside = path.startswith(self._probe.root)
        return os.path.realpath(path) in self._files or (self._has_siblings and not inside)


_lock = threading.Lock()
_prints: dict[str, Fingerprints] = {}
atexit.register(_prints.clear)  # so that the user's objects end as if nothing held them


def fingerprints_of(
    root: str, key: bytes, *, anew: bool = False, memory: FileMemory | None = None
) -> Fingerprints:
    """The fingerprints of the project in *root*, for this run in this process.

    Parameters
    ----------
    root
        The project's folder.
    key
        That of the store.
    anew
        Whether a run begins, whose code may have changed since the last run.
    memory
        What earlier runs know about files, if a run begins.
    """
    with _lock:
        prints = _prints.get(root)
        if prints is None or anew:
            prints = _prints[root] = Fingerprints(root, memory, key=key)
        return prints


def forget_fingerprints() -> None:
    """Let go of all fingerprints: another run imports the modules anew."""
    with _lock:
        _prints.clear()


def digest_of_code(prints: Fingerprints, thing: Any) -> str:
    """The digest of a function or class inside a value, with the constants that it reads."""
    code = prints.of(thing)
    return f"{code.digest} {code.at_call()}"


def environment_of(code: Fingerprint, sealer: Sealer) -> dict[str, str]:
    """The digests of the environment variables that *code* reads, by name."""
    values = {name: os.environ.get(name) for name in code.environment}
    return {
        name: "unset" if value is None else sealer.seal(f"env:{value}")
        for name, value in values.items()
    }


# Nothing changes one of these in place.
_UNCHANGING = (int, float, str, bool, type(None), bytes, complex)
_ENVIRONMENT = "the environment"


def _surroundings() -> dict[str, Any]:
    """State that a task can leave in its process for later tasks; a cached result would not."""
    try:
        folder = os.getcwd()
    except OSError:  # it was removed
        folder = ""
    held: Any = getattr(
        os.environ, "_data", os.environ
    )  # in its stored form, because decoding takes long
    return {"the working folder": folder, _ENVIRONMENT: dict(held), "sys.path": [*sys.path]}
