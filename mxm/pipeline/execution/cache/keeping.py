"""Keeps the result of a call, if it is certain what made it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.bindings import projected, upstreams_in
from mxm.pipeline.errors import described
from mxm.pipeline.execution.cache.asked import Asked
from mxm.pipeline.execution.cache.notices import Notices
from mxm.pipeline.execution.cache.probe import Notes
from mxm.pipeline.execution.files.kept_reads import is_of_system
from mxm.pipeline.execution.files.observing import IN_FOLDER, FileNote, Observed, joined
from mxm.pipeline.execution.kept.contents import Sealer, part_of
from mxm.pipeline.execution.kept.entries import Entries, NewEntry, UnkeptError
from mxm.pipeline.execution.kept.keys import Files
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.values.assets import WrittenAsset
from mxm.pipeline.values.digest import UndigestibleError
from mxm.pipeline.values.fingerprint import Item
from mxm.pipeline.values.jsonvalue import Written
from mxm.pipeline.values.remote import RemoteValue

__all__ = ["Keeper", "is_plain"]


@dataclass(slots=True)
class Keeper:
    """Keeps results of one run.

    Parameters
    ----------
    plan
        What runs.
    run
        Its id.
    entries, sealer, files
        The store of results, the maker of digests, and the digests of declared inputs.
    root
        The project's folder.
    is_strict
        Whether ``inputs`` must name every file that was read.
    cached
        The cached steps; results of other steps are kept only for a resume.
    code
        The code of a step.
    packages
        The packages that values of some types are made of.
    notices
        Receives warnings.

    Attributes
    ----------
    large
        The steps that are not cached, of which a result is too large to be kept.
    projected
        By step, the parts of its result that others take.
    """

    plan: Plan
    run: str
    entries: Entries
    sealer: Sealer
    files: Files
    root: str
    is_strict: bool
    cached: frozenset[str]
    code: Callable[[str], Sequence[Item]]
    packages: Callable[[set[type]], Mapping[str, str]]
    notices: Notices
    projected: dict[str, list[tuple[str | int, ...]]] = field(init=False)
    large: set[str] = field(init=False, default_factory=set[str])

    def __post_init__(self) -> None:
        self.projected = _projected(self.plan)

    def keep(
        self, asked: Asked, value: Any, written: Callable[[], Written], started: datetime | None,
        attempts: int, asset: WrittenAsset | None,
    ) -> None:  # fmt: skip
        """Keep the *value* of a call that was made, if it may be.

        Parameters
        ----------
        asked
            What the cache was asked before the call.
        value
            What it returned.
        written
            Returns it as JSON.
        started
            When its last attempt started.
        attempts
            How many there were.
        asset
            What it wrote.
        """
        if asked.key is None or asked.probe is None or started is None:
            return
        step = asked.step
        if step.target is not None and asset is None:
            return
        facts = value.facts if type(value) is RemoteValue else None
        if type(value) is RemoteValue and (facts is None or facts.kept is None):
            self.large.add(step.name)
            if step.name in self.cached:
                why = facts.unkept if facts is not None else None
                self._unkept(step, why or _stays(value), None if why else _SHARE)
            return
        try:
            probe = asked.probe
            # An abandoned attempt, or one whose process died, may have read anything.
            observed = None
            if not probe.is_lost and len(probe.notes) == attempts:
                observed = self._accepted(asked, probe.notes)
            if observed is None:
                return
            is_cached = step.name in self.cached
            if facts is None and not is_cached and not self.entries.fits(value):
                self.large.add(step.name)
                return
            reads = self._read(asked, probe.notes)
            if reads is None:
                return
            paths = self.projected.get(step.name, ())
            types: set[type] = set()
            if facts is None:
                content = self.sealer.value(value, types)
                plain, packages = all(map(is_plain, types)), self.packages(types)
                parts = {part_of(p): self.sealer.value(projected(value, p)) for p in paths}
            else:  # its worker has looked
                whole = facts.parts[part_of(())]
                content, plain, packages = whole.digest, whole.is_plain, whole.packages
                known = {part_of(p): facts.parts[part_of(p)] for p in paths}
                parts = {name: part.digest for name, part in known.items() if not part.refused}
            new = NewEntry(
                asked.key,
                self.plan.flow.name,
                step.name,
                asked.item,
                self.run,
                started,
                content,
                parts,
                packages,
                self.code(step.name),
                observed,
                reads,
                None if asset is None or step.target is None else asset.to_dict(),
                written(),
                plain,
                is_cached,
                asked.shown,
            )
            if facts is not None and facts.kept is not None:
                value.kept = self.entries.keep_written(new, facts.kept)
                return
            self.entries.keep(new, value, lambda copy: self.sealer.value(copy) == content)
        except UndigestibleError as error:
            self._unkept(step, str(error))
        except UnkeptError as error:
            self._unkept(step, str(error))
        except BaseException as error:  # user code, which may raise anything
            let_signals_pass(error)
            self._unkept(step, described(error))

    def _read(self, asked: Asked, notes: Sequence[Notes]) -> list[ReadAsset] | None:
        """The assets that a call read; None if one of them changed meanwhile."""
        produces = asked.step.task.produces
        reads = dict.fromkeys([*asked.reads, *(read for note in notes for read in note.reads)])
        for read in reads:
            if self.entries.content(read) == read.content:
                continue
            if produces is None or produces.id != read.id:  # else it continues what it made itself
                self.notices.say(
                    "MXM709",
                    asked.step,
                    f"asset {read.id!r} changed while task {asked.step.name!r} read it: its result "
                    "is not kept",
                )
            return None
        return list(reads)

    def _unkept(self, step: Step, why: str, hint: str | None = None) -> None:
        self.notices.say(
            "MXM704",
            step,
            f"the result of task {step.name!r} is not kept, so it runs again next time: {why}",
            hint or "return what can be pickled: data, not connections",
        )

    def _accepted(self, asked: Asked, notes: Sequence[Notes]) -> list[FileNote] | None:
        """The files that a call opened; None if its result must not be kept."""
        step = asked.step
        if not self._is_unchanged(step, notes):
            return None
        if self.files.declared(step.task.inputs, self.sealer) != asked.inputs:
            self.notices.say(
                "MXM709",
                step,
                f"an input of task {step.name!r} changed while it ran: its result is not kept",
            )
            return None
        seen = joined([note.observed for note in notes if note.observed is not None])
        if seen.torn:
            self.notices.say(
                "MXM709",
                step,
                f"{seen.torn[0]!r} changed while task {step.name!r} read it: its result is not "
                "kept",
            )
            return None
        if seen.unseen:
            by_folder = seen.unseen[0] == IN_FOLDER
            self.notices.say(
                "MXM709",
                step,
                f"what task {step.name!r} opens in {seen.unseen[0]} is not seen: its result is not "
                "kept",
                "open files by their paths"
                if by_folder
                else "run the flow inside it with runner 'threads'",
            )
            return None
        task = step.task
        known = task.cache_ttl_s is not None or task.inputs or task.cache_version is not None
        if seen.connects and not known:
            self.notices.say(
                "MXM702",
                step,
                f"task {step.name!r} is cached, and it opened a network connection",
                "say how long a result holds: cache_ttl_s=",
            )
        loaded = [read for note in notes for read in note.reads]
        if not self._names_its_files(step, seen, asked.inputs, loaded):
            return None
        return [*seen.reads, *seen.writes]

    def _is_unchanged(self, step: Step, notes: Sequence[Notes]) -> bool:
        """Warn if a call changed something that is part of its key; return whether it did not."""
        last = notes[-1] if notes else Notes()
        for name in last.changed:
            self.notices.say(
                "MXM703",
                step,
                f"task {step.name!r} changed its argument {name!r} in place: its result is not "
                "kept",
                "work on a copy: if the result is reused, the change is not made",
            )
        for what in last.code:
            self.notices.say(
                "MXM708",
                step,
                f"{what} changed while task {step.name!r} ran: its result is not kept",
                "pass it as an argument",
            )
        for name in dict.fromkeys(name for note in notes for name in note.moved):
            self.notices.say(
                "MXM702",
                step,
                f"task {step.name!r} draws random numbers from {name}, whose state a kept "
                "result would not advance",
                "make a generator in the task: random.Random(seed), np.random.default_rng(seed)",
            )
        return not (last.changed or last.code)

    def _names_its_files(
        self, step: Step, seen: Observed, inputs: Mapping[str, str], loaded: Sequence[ReadAsset]
    ) -> bool:
        """Report files not in ``inputs``, and files written; return whether to continue.

        Those of assets that the task has *loaded* are inputs already.
        """
        named = {os.path.realpath(os.path.join(self.root, name)) for name in inputs}
        reads = [note for note in seen.reads if note.kind == "file" and not self._is_system(note)]
        places = dict.fromkeys(os.path.realpath(self._place(note)) for note in reads)
        of_assets = [str(read.content).rpartition(" ")[0] for read in loaded]
        unnamed = [
            shown
            for shown in (self._shown(place) for place in places if place not in named)
            if not any(each.endswith(f" {shown.replace(os.sep, '/')}") for each in of_assets)
        ]
        if unnamed:
            names = ", ".join(repr(name) for name in [*step.task.inputs, *unnamed[:3]])
            refused = ": its result is not kept (strict_cache)" if self.is_strict else ""
            self.notices.say(
                "MXM706",
                step,
                f"task {step.name!r} read {unnamed[0]!r}, which its inputs do not name{refused}",
                f"inputs=[{names}]",
                severity="warning" if self.is_strict else "note",
            )
        writes = [note.path for note in seen.writes if not self._is_system(note)]
        if writes and step.task.produces is None:
            self.notices.say(
                "MXM707",
                step,
                f"task {step.name!r} writes {writes[0]!r}, which a reused result would not write",
                "declare it: produces=AssetDecl(...)",
            )
        return not (unnamed and self.is_strict and step.name in self.cached)

    def _place(self, note: FileNote) -> str:
        base = {"root": self.root, "folder": os.getcwd()}.get(note.base, "")
        return os.path.join(base, note.path)

    def _is_system(self, note: FileNote) -> bool:
        """Whether *note* is about a file of the system or a library; such a file counts, too."""
        return not note.base and is_of_system(note.path, self.root)

    def _shown(self, path: str) -> str:
        """*path* in the form that ``inputs`` takes."""
        inside = os.path.relpath(path, self.root)
        return path if inside.startswith("..") else inside


_SHARE = "keep the store on a folder that all workers have: MXM_HOME names it"


def _stays(value: RemoteValue) -> str:
    return (
        f"its {value.nbytes / 1e9:,.1f} GB stay on the cluster, whose workers have not got the "
        "store's folder"
    )


def _projected(plan: Plan) -> dict[str, list[tuple[str | int, ...]]]:
    """By step, the parts of its result that others take."""
    paths: dict[str, list[tuple[str | int, ...]]] = {}
    for step in plan.steps:
        for one in upstreams_in((*step.args, *step.kwargs.values())):
            if one.path and one.path not in paths.setdefault(one.name, []):
                paths[one.name].append(one.path)
    return paths


_PLAIN = ("builtins", "datetime", "decimal", "uuid", "collections", "fractions", "pathlib",
          "zoneinfo", "numpy", "pandas", "pyarrow", "polars")  # fmt: skip


# Types of builtins without data: functions are pickled by name.
_NOT_DATA = ("function", "builtin_function_or_method", "method", "type", "module")


def is_plain(kind: type) -> bool:
    """Whether any process can load values of this *kind*."""
    return kind.__module__.partition(".")[0] in _PLAIN and kind.__name__ not in _NOT_DATA
