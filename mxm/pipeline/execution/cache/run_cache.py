"""The cache of a run: keys of calls that are about to be made, and the results kept for them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.bindings import Binding, Const, Param, upstreams_in
from mxm.pipeline.errors import StoreError, described
from mxm.pipeline.execution.cache.asked import Asked
from mxm.pipeline.execution.cache.keeping import Keeper
from mxm.pipeline.execution.cache.notices import Notices
from mxm.pipeline.execution.cache.probe import (
    Probe,
    digest_of_code,
    environment_of,
    fingerprints_of,
)
from mxm.pipeline.execution.cache.reasons import Reason, package_text, reasons_between, short_text
from mxm.pipeline.execution.files.observing import unchanged
from mxm.pipeline.execution.kept.contents import Looks, Sealer, digested, named, part_of
from mxm.pipeline.execution.kept.entries import Entries, Entry
from mxm.pipeline.execution.kept.keys import Files, Key, installed, make_key
from mxm.pipeline.execution.kept.later import CachedItem
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.execution.staying import Stay
from mxm.pipeline.introspection.signatures import shape_of
from mxm.pipeline.introspection.uses import used_by
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.runs import gather
from mxm.pipeline.taskruns import ItemRun, State, TaskRun
from mxm.pipeline.values.digest import UndigestibleError
from mxm.pipeline.values.fingerprint import Fingerprint, Fingerprints, Item, differences
from mxm.pipeline.values.fingerprint import Reason as CodeReason
from mxm.pipeline.values.secrets import MASK, secret_parameters

__all__ = ["Caching"]


class Caching:
    """The cache of one run.

    Parameters
    ----------
    plan
        What runs.
    steps
        Names of the steps whose results may be reused.
    cached
        Those among them whose results any run may use, not only a resume of this one.
    run
        Id of the run.
    entries
        Where results are kept.
    resumes
        The runs whose finished steps are reused, the newest first.
    strict
        Whether to keep a result only if ``inputs`` names every file that was read.
    forced
        Names of the steps that run even if there is a result.
    """

    def __init__(
        self,
        plan: Plan,
        steps: frozenset[str],
        cached: frozenset[str],
        run: str,
        entries: Entries,
        *,
        resumes: Sequence[str] = (),
        strict: bool = False,
        forced: Collection[str] = (),
    ) -> None:
        self._notices = Notices(plan.flow.name, cached)
        self.steps: frozenset[str] = steps
        self.cached: frozenset[str] = cached
        self._resumes = resumes
        self._plan = plan
        self._entries = entries
        self._root = entries.root
        self._forced = forced
        self._prints = self._whole = fingerprints_of(
            self._root, entries.key, anew=True, memory=entries.memory
        )
        if plan.flow.fn is not None:  # its module may set what other tasks depend on
            self._whole = Fingerprints(
                self._root, entries.memory, key=entries.key, also=(plan.flow.fn,)
            )
        self._sealer = Sealer(entries.key, self._root, self._digest_of_code)
        self._files = Files(self._root)
        self._sealed_by_step: dict[str, list[Item]] = {}
        self._digests: dict[str, str] = {}
        self._keys: dict[str, dict[int, str]] = {}  # by step and place
        self._taken = _taken(plan, cached)
        self._resources: dict[str, str] = {}
        self.keeper: Keeper = Keeper(
            plan,
            run,
            entries,
            self._sealer,
            self._files,
            self._root,
            strict,
            cached,
            self._sealed_code,
            self._packages,
            self._notices,
        )
        # Before the first task: code edited from now on did not make the results.
        self._code: dict[str, Fingerprint] = {}
        for step in plan.steps:
            if step.name in steps:
                self._read(step)

    def stay(self, step: Step, above: int, fetched: int) -> Stay:
        """When the result of *step* stays on a cluster, and what its worker does for the cache."""
        is_cached = step.name in self.cached
        paths = self._taken.get(step.name, {})
        if is_cached:
            paths = dict.fromkeys([(), *paths, *self.keeper.projected.get(step.name, ())])
        return Stay(
            above,
            fetched if is_cached else 0,
            self._entries.key,
            self._root,
            tuple(paths),
            self._entries.writer() if is_cached else None,
        )

    def _digest_of_code(self, thing: Any) -> str:
        return digest_of_code(self._prints, thing)

    def ask(
        self,
        step: Step,
        args: Sequence[Binding],
        kwargs: Mapping[str, Binding],
        looks: Looks,
        after: Mapping[str, TaskRun | ItemRun | None],
        *,
        item: str | None = None,
        place: int = -1,
    ) -> Asked:
        """Ask for the result of a call that is about to be made.

        Parameters
        ----------
        step
            The step.
        args, kwargs
            The sources of its arguments.
        looks
            Returns their contents.
        after
            How the steps that it only follows (``after=``) ended.
        item, place
            The key and the place of the item, if the step is mapped.
        """
        asked = Asked(step, item)
        try:
            self._ask(asked, args, kwargs, looks, after, place)
        except BaseException as error:  # user code runs here, too: the run continues without it
            let_signals_pass(error)
            why = described(error)
            self._notices.say(
                "MXM705", step, f"the result of task {step.name!r} is not kept: {why}"
            )
            asked.key = asked.entry = asked.probe = None
            asked.why.append(Reason("dynamic", why))
        return asked

    def _ask(
        self,
        asked: Asked,
        args: Sequence[Binding],
        kwargs: Mapping[str, Binding],
        looks: Looks,
        after: Mapping[str, TaskRun | ItemRun | None],
        place: int,
    ) -> None:
        step = asked.step
        code = self._code.get(step.name)
        if code is None:
            asked.why.append(Reason("dynamic", "its code cannot be read"))
            return
        unknown = code.edited or (
            () if step.task.code_deps or step.task.cache_version is not None else code.dynamic
        )
        if unknown:
            asked.why.append(Reason("dynamic", _said(unknown[0])))
            return
        is_cached = step.name in self.cached
        large = [] if is_cached else self._large(args, kwargs)
        if large:
            text = f"it takes the result of {large[0]!r}, which is too large to be kept"
            asked.why.append(Reason("value", text))
            return
        try:
            asked.key = self._key(asked, args, kwargs, looks, after)
        except UndigestibleError as error:
            self._notices.say(
                "MXM705",
                step,
                f"the result of task {step.name!r} is not kept: {error}",
                "pass what the object is made from, and make it in the task",
            )
            asked.why.append(Reason("dynamic", str(error)))
            return
        except OSError as error:  # of a declared input
            self._notices.say(
                "MXM709", step, f"an input of task {step.name!r} cannot be read: {error}"
            )
            asked.why.append(Reason("file", str(error)))
            return
        self._keys.setdefault(step.name, {})[place] = asked.key.digest
        ran = [name for name, task in after.items() if task is None or task.state != State.CACHED]
        if not self._knows_reads(asked, is_cached=is_cached):
            return
        excused = is_cached and (step.task.cache_ttl_s is not None or step.task.inputs)
        if ran and not excused:
            asked.why.append(Reason("after", f"{ran[0]!r}, which it runs after, ran"))
            return
        if step.name in self._forced:
            asked.why.append(Reason("forced", "forced"))
            return
        kept_only = step.name in self._plan.kept_only
        if not (is_cached or self._resumes or kept_only):
            asked.why.append(Reason("uncached", "it is not cached"))
            return
        if kept_only:
            entry = self._entries.find_any(asked.key.digest)
        else:
            entry = self._find(asked.key.digest, is_cached=is_cached)
        if entry is not None:
            unusable = self._unusable(entry, step)
            if unusable is None:
                asked.entry = entry
            else:
                asked.unused = entry
                asked.why.append(unusable)

    def _knows_reads(self, asked: Asked, *, is_cached: bool) -> bool:
        """Look up the assets in ``reads=`` of the task; return whether their content is known."""
        task = asked.step.task
        for name in task.reads:
            content = self._entries.content(ReadAsset(name, "all"))
            asked.reads.append(ReadAsset(name, "all", content=content))
            says = task.cache_ttl_s is not None or task.inputs or task.cache_version is not None
            if content is None and not says:
                why = f"no file is recorded of asset {name!r}, which it reads"
                asked.why.append(Reason("asset", why))
                asked.key = None
                if is_cached:
                    self._notices.say(
                        "MXM813",
                        asked.step,
                        f"the result of task {task.name!r} is not kept: {why}",
                        "record the runs that write it, or say how long a result holds: "
                        "cache_ttl_s=, inputs= or cache_version=",
                    )
        return asked.key is not None

    def _find(self, key: str, *, is_cached: bool) -> Entry | None:
        """The result kept under *key* by any run, or by the runs that are resumed."""
        entry = self._entries.find(key) if is_cached else None
        for run in self._resumes if entry is None else ():
            entry = entry or self._entries.find(key, run)
        return entry

    def _large(self, args: Sequence[Binding], kwargs: Mapping[str, Binding]) -> list[str]:
        """The upstreams in *args* and *kwargs* whose results are too large to be hashed."""
        if not self.keeper.large:
            return []
        upstreams = upstreams_in((*args, *kwargs.values()))
        return [one.name for one in upstreams if one.name in self.keeper.large]

    def _key(
        self,
        asked: Asked,
        args: Sequence[Binding],
        kwargs: Mapping[str, Binding],
        looks: Looks,
        after: Mapping[str, TaskRun | ItemRun | None],
    ) -> Key:
        step, sealer = asked.step, self._sealer
        task = step.task
        code = self._code[step.name]
        arguments: dict[str, str] = {}
        shapes: dict[str, Any] = {}
        packages: dict[str, str] = {}
        bound = named(task.fn, args, kwargs)
        for name, binding in bound.items():
            try:
                argument = digested(binding, looks, sealer)
            except UndigestibleError as error:
                raise UndigestibleError(
                    f"its argument {name!r}{error.path.removeprefix('value')}", error.reason
                ) from None
            arguments[name] = argument.digest
            shapes[name] = (argument.digest, argument.shape)
            packages.update(argument.packages)
            upstreams = dict.fromkeys(repr(one.name) for one in upstreams_in([binding]))
            asked.sources[name] = ", ".join(upstreams)
            if not upstreams:
                asked.shown |= self._shown(task.fn, name, binding)
        if looks.types:
            packages.update(self._packages(looks.types))
        at_call, environment = sealer.seal(code.at_call()), environment_of(code, sealer)
        asked.inputs = self._files.declared(task.inputs, sealer)
        parts: dict[str, Any] = {
            "code": self._sealed_digest(step.name, code),
            "at_call": at_call,
            "environment": environment,
            "arguments": arguments,
            "order": [name for name in bound if name not in _names_of(task.fn)],
            "inputs": asked.inputs,
            "packages": packages,
            "deps": [sealer.seal(self._digest_of_code(dep)) for dep in task.code_deps],
            "version": task.cache_version,
            "resources": self._opened(step),
            "unpacked": [[part_of(one.binding.path), one.count] for one in step.unpacked],
            "after": [self._key_of(name, ended) for name, ended in after.items()],
        }
        expected = code.digest, at_call, environment
        if self._whole is not self._prints:  # as in another process, which has no flow
            plain = self._prints.of(task.fn)
            expected = plain.digest, sealer.seal(plain.at_call()), environment_of(plain, sealer)
        asked.probe = Probe(self._entries.key, self._root, shapes, expected)
        return make_key(parts, sealer)

    def _key_of(self, name: str, ended: TaskRun | ItemRun | None) -> str | None:
        """The key of a step or item that another one only follows."""
        if isinstance(ended, CachedItem):
            return str(ended.entry.key)
        if ended is None or isinstance(ended, ItemRun):
            return None
        keys = self._keys.get(name, {})
        if ended.items is None:
            return keys.get(-1)
        each = [keys.get(place) for place in range(len(ended.items))]
        return None if None in each else self._sealer.join("items", each)

    def _packages(self, types: set[type]) -> dict[str, str]:
        return {
            item.label: installed(item.label)
            for item in self._prints.of_types(types)
            if item.kind == "package"
        }

    def _shown(self, fn: Callable[..., Any], name: str, binding: Binding) -> dict[str, str]:
        """The argument *name* of *fn* in words, if it is short and known without a run."""
        if isinstance(binding, Param) and not binding.path:
            value = gather(binding, {}, self._plan.params)
            secret = binding.name in self._plan.secrets
        elif isinstance(binding, Const):
            value, secret = binding.value, False
        else:
            return {}
        if secret or name in self._plan.secrets or name in secret_parameters(fn):
            return {name: "None" if value is None else MASK}
        text = short_text(value, self._entries.masked)
        return {} if text is None else {name: text}

    def _opened(self, step: Step) -> dict[str, str]:
        """The code and the settings of the resources that *step* asks for."""
        active = active_resources()
        opened: dict[str, str] = {}
        for resource in used_by([step.task.fn]):
            if resource.name not in self._resources:
                settings = active.settled.get(resource, {}) if active else {}
                digests = {name: self._sealer.value(value) for name, value in settings.items()}
                code = self._prints.of(resource.fn)
                self._resources[resource.name] = self._sealer.join(
                    "resource", [code.digest, code.at_call(), digests]
                )
            opened[resource.name] = self._resources[resource.name]
        return opened

    def _unusable(self, entry: Entry, step: Step) -> Reason | None:
        """Why *entry*, which has the key of a call of *step*, cannot be used; None if it can."""
        ttl, now = step.task.cache_ttl_s, datetime.now(UTC)
        if entry.run in self._resumes:  # a resumed run counts however old it is
            ttl, now = None, max(now, entry.started)
        if ttl is not None and not entry.started <= now < entry.started + timedelta(seconds=ttl):
            return Reason("expired", f"expired: kept by run {entry.run}, cache_ttl_s={ttl:g}")
        if entry.started > now:
            return Reason("expired", f"expired: run {entry.run} is in the future")
        for name, version in entry.packages.items():
            if installed(name) != version:
                return Reason("package", package_text(name, version, installed(name)))
        changed = unchanged(entry.observed, self._root, os.getcwd())
        if changed is not None:
            return Reason("file", f"file {changed.path} changed")
        for read in entry.reads:
            if self._entries.content(read) != read.content:
                which = f"partition {read.partition} of " if read.partition else ""
                return Reason("asset", f"{which}asset {read.id!r}, which it reads, changed")
        if not entry.is_plain:
            try:
                entry.load()
            except StoreError as error:
                return Reason("value", f"its value cannot be loaded: {error.message}")
        return None

    def reason(self, entry: Entry) -> str:
        """The origin of the result that is used, in words."""
        return f"{'reused from' if entry.run in self._resumes else 'kept by'} run {entry.run}"

    def reasons(self, asked: Asked) -> list[Reason]:
        """Why the call runs, as far as is known."""
        if asked.entry is not None:
            return []
        if asked.why or asked.key is None:
            return asked.why
        latest = self._entries.latest(self._plan.flow.name, asked.step.name, asked.item)
        if latest is None:
            return [Reason("new", "no earlier result")]
        entry, items = latest
        code = differences(items, self._sealed(self._code[asked.step.name]))
        reasons = reasons_between(
            entry.made_of, asked.key, asked.sources, asked.shown, code, entry.run
        )
        return reasons or [Reason("value", "its value was not kept")]

    def has_changed(self, step: str) -> bool:
        """Whether the code of *step* has changed since a result of it was last kept."""
        code = self._code.get(step)
        before = self._entries.code(self._plan.flow.name, step)
        return code is None or before is None or bool(differences(before, self._sealed(code)))

    def _sealed_digest(self, step: str, code: Fingerprint) -> str:
        """The digest of the code of *step* as it may be kept, made once."""
        digest = self._digests.get(step)
        if digest is None:
            digest = self._digests[step] = self._sealer.seal(code.digest)
        return digest

    def _sealed_code(self, step: str) -> list[Item]:
        """The code of *step* as it may be kept, made once."""
        items = self._sealed_by_step.get(step)
        if items is None:
            items = self._sealed_by_step[step] = self._sealed(self._code[step])
        return items

    def _sealed(self, code: Fingerprint) -> list[Item]:
        return [
            item
            if item.kind in ("package", "python")  # their versions are shown
            else Item(
                item.label,
                self._sealer.seal_item(item.digest),
                item.kind,
                item.file,
                item.line,
            )
            for item in code.items
        ]

    def _read(self, step: Step) -> None:
        """Read the code of *step*, and warn about what no key can cover."""
        task = step.task
        try:
            code = self._code[step.name] = self._whole.of(task.fn)
        except BaseException as error:  # user code, in the user's objects
            let_signals_pass(error)
            self._notices.say(
                "MXM705",
                step,
                f"the result of task {step.name!r} is not kept: its code cannot be read: "
                f"{described(error)}",
            )
            return
        if code.edited:
            self._notices.say(
                "MXM705",
                step,
                f"the result of task {step.name!r} is not kept: {_said(code.edited[0])}",
                "restart Python, or run the cell again",
            )
        elif code.dynamic and not (task.code_deps or task.cache_version is not None):
            self._notices.say(
                "MXM705",
                step,
                f"the result of task {step.name!r} is not kept: {_said(code.dynamic[0])}",
                "name what it depends on: code_deps=[...] or cache_version=",
            )
        known = task.cache_ttl_s is not None or task.inputs or task.cache_version is not None
        if code.impure and not known:
            reads = code.impure[0].kind in ("files", "process")
            self._notices.say(
                "MXM702",
                step,
                f"task {step.name!r} is cached, and {_said(code.impure[0])}",
                "name the files that it reads: inputs=[...]"
                if reads
                else "pass it as an argument, or say how long a result is valid: cache_ttl_s=",
            )

    def heed(self) -> Iterator[Problem]:
        """The warnings since the last call of this method."""
        return self._notices.take()

    def close(self) -> None:
        """Close what is open: the run is over."""
        self._prints.save()
        self._entries.close()


def _taken(plan: Plan, cached: Collection[str]) -> dict[str, dict[tuple[str | int, ...], None]]:
    """By step, the parts of its result that steps take which are *cached*."""
    paths: dict[str, dict[tuple[str | int, ...], None]] = {}
    for step in plan.steps:
        if step.name in cached:
            for one in upstreams_in((*step.args, *step.kwargs.values())):
                paths.setdefault(one.name, {})[one.path] = None
    return paths


def _names_of(fn: Callable[..., Any]) -> Collection[str]:
    shape = shape_of(fn)
    return (*shape.positional, *shape.keyword_only) if shape else ()


def _said(reason: CodeReason) -> str:
    """*reason* with its place as people read it."""
    line = "" if reason.line is None else f":{reason.line}"
    place = f" at {reason.file}{line}" if reason.file else ""
    it = "" if reason.kind == "edited" else "it "
    return f"{it}{reason.text}{place}"
