"""Writes the asset of a step: after its function returned, before its attempt has succeeded."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast

from mxm.pipeline.assets.files import (
    FileState,
    Hashed,
    describe,
    hash_of,
    last_description,
    locked,
    published,
    read_description,
    rejected_path,
    write_whole,
)
from mxm.pipeline.assets.formats import Facts, facts_of, format_named
from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.assets.remote import content_at, is_url, last_description_at, publish_at, put
from mxm.pipeline.assets.templates import PathError, within
from mxm.pipeline.errors import (
    AssetCheckError,
    AssetError,
    described,
    repr_of,
)
from mxm.pipeline.execution.publishing.targets import Target
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.taskruns import iso_time
from mxm.pipeline.values.assets import CheckResult, WrittenAsset

__all__ = ["Aim", "aim_of"]


def aim_of(
    target: Target, args: tuple[Any, ...], kwargs: Mapping[str, Any], item: str | None = None
) -> Aim:
    """The file that a call of the function of *target* with *args* and *kwargs* writes.

    Raises
    ------
    AssetError
        There is no such path, it leads out of the project, or another task writes it.
    """
    values = target.values(args, kwargs)
    key = target.asset.partition_key
    value = values.get(key) if key is not None else None
    partition = None if value is None else f"{key}:{value}"
    if target.template is None:
        return Aim(target, "", "", partition, None, target.reads)
    try:
        path = target.template.render(values)
        real = path if is_url(path) else within(target.root, path)
    except PathError as error:
        raise AssetError(
            f"asset {target.asset.id!r} of task {target.task.name!r} cannot be written to "
            f"{target.template.text}: {error}"
        ) from None
    target.claims.claim(real, path, target.task.name, item)
    before = None if is_url(real) else FileState.of(real)
    return Aim(target, path, real, partition, before, target.reads)


@dataclass(frozen=True, slots=True)
class Aim:
    """The file that one attempt writes.

    Parameters
    ----------
    target
        Where the step writes.
    path
        The path relative to the project's root; empty where nothing is written.
    real
        The file.
    partition
        ``key:value``, if it has partitions.
    before
        What was there before the function was called.
    upstream
        The names of the assets that it is made from.
    reads
        Those of them that the function loaded.
    """

    target: Target
    path: str
    real: str
    partition: str | None
    before: FileState | None
    upstream: tuple[str, ...]
    reads: tuple[ReadAsset, ...] = ()

    def publish(
        self,
        value: Any,
        flow: str,
        run: str,
        item: str | None = None,
        reads: Sequence[ReadAsset] = (),
    ) -> WrittenAsset:
        """Write *value*, unless the function has written the file itself.

        Parameters
        ----------
        value
            What the function returned.
        flow, run
            The flow, and the id of its run.
        item
            The item of a mapped step.
        reads
            Assets that the function has loaded, beside those that the task says it reads.

        Raises
        ------
        AssetError
            The format cannot hold the value, the file cannot be written, or the function wrote it
            and returned something else. What was there before is still there.
        """
        if reads:
            return self._with(reads).publish(value, flow, run, item)
        if not self.path:
            results = self._checked(value)
            asset, said = self.target.asset.id, self._said(results)
            return WrittenAsset(asset, self.partition, checks=results, problems=said)
        maker = {"flow": flow, "task": self.target.task.name, "item": item, "run": run}
        if is_url(self.path):
            if value is None or value == self.path:
                raise AssetError(
                    f"task {self.target.task.name!r} returned {_kind_of(value)}, but "
                    f"{self.path} is written from what the task returns",
                    hint="return the value to be written",
                )
            return self._written(value, maker)
        if value is None or self._is_own(value):
            return self._taken(value, maker)
        if self._was_written():
            raise AssetError(
                f"task {self.target.task.name!r} wrote {self.path} itself and returned "
                f"{_kind_of(value)}, which would replace it",
                hint="return None or the path where the task writes the file, "
                "or return the table and let mxm-pipeline write it",
            )
        return self._written(value, maker)

    def renewed(
        self, kept: Mapping[str, Any], load: Callable[[], Any], flow: str, run: str,
        item: str | None = None, reads: Sequence[ReadAsset] = (),
    ) -> WrittenAsset:  # fmt: skip
        """Write what an earlier run kept, unless the file there already has that content.

        Parameters
        ----------
        kept
            What the earlier run wrote, as `WrittenAsset.to_dict` has it.
        load
            Loads the kept value.
        flow, run, item, reads
            As in `publish`; *reads* are those of the earlier run.

        Raises
        ------
        AssetError
            The file that the task writes itself is not what it was; or as in `publish`.
        StoreError
            The value cannot be loaded.
        """
        asset = self.target.asset
        if self.path and kept["by"] == "task":
            self.require_same(kept)
            return self.publish(None, flow, run, item, reads)
        there = _content_of(self.real) if self.path else None
        is_there = there is not None and there.digest == kept["digest"]
        if there is None or not is_there or kept["format"] != asset.format or asset.checks:
            return self.publish(load(), flow, run, item, reads)
        same = Facts(kept["library"], kept["rows"], kept["columns"], kept["index"])
        known = self._with(reads)._asset(there, same, "value", (), ())
        if (
            not is_url(self.real) and read_description(self.real) is None
        ):  # someone wrote the same, or removed it
            maker = {"flow": flow, "task": self.target.task.name, "item": item, "run": run}
            with contextlib.suppress(OSError), locked(os.path.dirname(self.real)):
                describe(self.real, _description(known, self, maker))
        return known

    def require_same(self, kept: Mapping[str, Any]) -> None:
        """Check that the file that the task wrote itself is there as it was.

        Raises
        ------
        AssetError
            It is not.
        """
        there = _content_of(self.real)
        if there is None or there.digest != kept["digest"]:
            state = "is not there" if there is None else "is not what it wrote"
            raise AssetError(f"{self.path}, which the task writes itself, {state}")

    def _with(self, reads: Sequence[ReadAsset]) -> Aim:
        """It with the assets among *reads* as upstreams, too."""
        upstream = dict.fromkeys((*self.upstream, *(each.id for each in reads)))
        return replace(self, upstream=tuple(upstream), reads=tuple(dict.fromkeys(reads)))

    def _is_own(self, value: Any) -> bool:
        """Whether *value* is the path of this file."""
        if not isinstance(value, str | os.PathLike):
            return False
        try:
            path = os.fsdecode(cast("Any", value))
            places = {os.path.realpath(os.path.join(self.target.root, path))}
            places.add(os.path.realpath(path))
        except (OSError, ValueError):
            return False
        return self.real in places

    def _was_written(self) -> bool:
        """Whether the file changed since the attempt began, and no other run published it."""
        now = FileState.of(self.real)
        if now is None or now == self.before:
            return False
        with locked(os.path.dirname(self.real)):
            return FileState.of(self.real) != self.before and read_description(self.real) is None

    def _taken(self, value: Any, maker: Mapping[str, Any]) -> WrittenAsset:
        """Record the file that the function has written."""
        returned = "None" if value is None else "the path"
        try:
            with locked(os.path.dirname(self.real)):
                content = hash_of(self.real)
                facts, results = self._look()
                said = (*self._said(results), *self._replaced())
                made = self._asset(content, facts, "task", results, said)
                describe(self.real, _description(made, self, maker))
        except FileNotFoundError:
            raise AssetError(
                f"task {self.target.task.name!r} returned {returned}, and {self.path} is not there",
                hint="return the value to be written, or write that file in the task",
            ) from None
        except OSError as error:
            raise self._unwritten(error) from error
        return made

    def _written(self, value: Any, maker: Mapping[str, Any]) -> WrittenAsset:
        """Write *value*."""
        asset = self.target.asset
        chosen = format_named(asset.format)
        refused = chosen.refusal(value)
        if refused is not None:
            raise AssetError(
                f"{asset.format} cannot store what task {self.target.task.name!r} returned for "
                f"{self.path}: {refused}",
                hint="return None or the path where the task writes the file itself",
            )
        results = self._checked(value)
        facts = facts_of(value)
        lost: list[str] = []
        made: list[WrittenAsset] = []

        def description(content: Hashed) -> Mapping[str, Any]:
            problems = (*self._said(results), *self._lost(lost), *self._replaced())
            made.append(self._asset(content, facts, "value", results, problems))
            return _description(made[0], self, maker)

        def write(path: str) -> None:
            lost.extend(chosen.write(value, path))

        try:
            (publish_at if is_url(self.real) else published)(self.real, write, description)
        except AssetError as error:
            raise AssetError(
                f"{self.path} is not written: {error.message}", hint=error.hint
            ) from error
        except BaseException as error:  # also what a library raises in its own way
            let_signals_pass(error)
            raise self._unwritten(error) from error
        if not is_url(self.real):
            _remove(rejected_path(self.real))
        return made[0]

    def _look(self) -> tuple[Facts, tuple[CheckResult, ...]]:
        """What is known of the file that the function has written, and what the checks say."""
        asset = self.target.asset
        if not asset.checks:
            return _facts_of_file(asset.format, self.real), ()
        try:
            value = format_named(asset.format).read(self.real, {})
        except Exception as error:
            raise AssetError(
                f"{self.path}, which task {self.target.task.name!r} wrote, cannot be checked: "
                f"{described(error)}"
            ) from error
        return facts_of(value), self._checked(value, is_there=True)

    def _checked(self, value: Any, *, is_there: bool = False) -> tuple[CheckResult, ...]:
        """What the checks say of *value*.

        Raises
        ------
        AssetCheckError
            One of them blocks it.
        """
        asset = self.target.asset
        if not asset.checks:
            return ()
        # Loaded only where something is checked.
        from mxm.pipeline.assets.checking import results_of

        def last_rows() -> int | None:
            find = self.target.last_rows
            return None if find is None else find(asset.id, self.partition, self.path or None)

        results = tuple(results_of(asset, value, last_rows))
        wrong = [each for each in results if not each.passed and each.severity == "block"]
        if not wrong:
            return results
        rejected = None if is_there or not self.path else self._reject(value)
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        where = f" for {self.path}" if self.path else ""
        hint = f"the rejected value is in {rejected}" if rejected else None
        if is_there:
            hint = f"the task has written {self.path}: it stays"
        raise AssetCheckError(
            f"check {wrong[0].name} of asset {asset.id!r} failed{where}{more}: {wrong[0].message}",
            results=results,
            rejected=rejected,
            partition=self.partition,
            hint=hint,
        )

    def _reject(self, value: Any) -> str | None:
        """Keep *value* for looking; its path, or None if it could not be written."""
        chosen, real = format_named(self.target.asset.format), rejected_path(self.real)
        try:
            if chosen.refusal(value) is not None:
                return None
            (put if is_url(real) else write_whole)(real, lambda path: chosen.write(value, path))
        except BaseException as error:  # also what a library raises in its own way
            let_signals_pass(error)
            return None
        folder = os.path.dirname(self.path)
        return os.path.join(folder, os.path.basename(real))

    def _said(self, results: tuple[CheckResult, ...]) -> tuple[Problem, ...]:
        """Warnings of the checks that failed and do not block."""
        task, asset = self.target.task, self.target.asset
        return tuple(
            Problem(
                "MXM810",
                f"check {each.name} of asset {asset.id!r} failed: {each.message}",
                "the value is still used: the severity of the check is warn",
                source=task.source,
                task=task.name,
                severity="warning",
            )
            for each in results
            if not each.passed
        )

    def _unwritten(self, error: BaseException) -> AssetError:
        why = getattr(error, "strerror", None) or described(error)
        return AssetError(
            f"{self.path} could not be written: {why}", hint="what was there before is unchanged"
        )

    def _lost(self, lost: list[str]) -> tuple[Problem, ...]:
        if not lost:
            return ()
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        task, asset = self.target.task, self.target.asset
        return (
            Problem(
                "MXM809",
                f"asset {asset.id!r}: {asset.format} does not keep {', '.join(lost[:3])}{more}",
                'format="parquet" keeps the types of columns'
                if asset.format == "csv"
                else 'format="pickle" keeps it',
                source=task.source,
                task=task.name,
                severity="warning",
            ),
        )

    def _replaced(self) -> tuple[Problem, ...]:
        """A warning where the file held another partition, or another asset."""
        if is_url(self.real):
            old = last_description_at(self.real)
        else:
            old = last_description(self.real) if self.before is not None else None
        if old is None:
            return ()
        task, asset = self.target.task, self.target.asset
        own, other = self.partition or "no partition", old.get("partition") or "no partition"
        if old.get("id") != asset.id:
            what = f"asset {old.get('id')!r}, which it replaces"
            hint = "give each asset a path of its own"
        elif old.get("partition") != self.partition:
            what = f"{other}, which {own} replaces"
            hint = "let path_template distinguish the partitions, or let partition_key match it"
        else:
            return ()
        return (
            Problem(
                "MXM815",
                f"{self.path} of asset {asset.id!r} held {what}",
                hint,
                source=task.source,
                task=task.name,
                severity="warning",
            ),
        )

    def _asset(
        self,
        content: Hashed,
        facts: Facts,
        by: str,
        checks: tuple[CheckResult, ...],
        problems: tuple[Problem, ...],
    ) -> WrittenAsset:
        asset = self.target.asset
        return WrittenAsset(
            asset.id,
            self.partition,
            self.path,
            asset.format,
            content.digest,
            content.size,
            facts.rows,
            facts.columns,
            facts.index,
            facts.library,
            by,
            self.upstream,
            self.reads,
            checks,
            problems,
        )


def _content_of(path: str) -> Hashed | None:
    try:
        return content_at(path) if is_url(path) else hash_of(path)
    except OSError:
        return None


def _kind_of(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, bool | int | float | str):
        text = repr_of(value)
        if len(text) <= 40:  # a part of it might be a part of a secret
            return text
    return f"a {kind}"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        return


def _facts_of_file(name: str, path: str) -> Facts:
    """What is known of a file that a task has written, without reading its values."""
    import sys

    parquet = sys.modules.get("pyarrow.parquet")  # loaded where the task has used it
    if name != "parquet" or parquet is None:
        return Facts("")
    try:
        file: Any = parquet.ParquetFile(path)
        kinds = {each.name: str(each.type) for each in file.schema_arrow}
        rows: int = file.metadata.num_rows
        file.close()
    except Exception:  # it is not parquet, which is for a reader to say
        return Facts("")
    return Facts("", rows, kinds)


def _description(asset: WrittenAsset, aim: Aim, maker: Mapping[str, Any]) -> dict[str, Any]:
    """What a stranger finds beside the file."""
    declared = aim.target.asset
    return {
        "schema": "mxm.asset/1",
        **asset.to_dict(),
        "description": declared.description,
        **maker,
        "at": iso_time(datetime.now(UTC)),
    }
