"""Turns events and plans into rows of a store, without secrets."""

from __future__ import annotations

import hmac
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from mxm.pipeline.bindings import Bindings, Collection, Const, Param, by_parameter, upstreams_in
from mxm.pipeline.errors import described, repr_of, text_of
from mxm.pipeline.execution.events import AttemptEnded, ItemEnded, StepStarted
from mxm.pipeline.execution.kept.later import CachedItem, LaterTask
from mxm.pipeline.execution.masking import Secrets
from mxm.pipeline.execution.plans.plan import Plan, Step
from mxm.pipeline.execution.tracebacks import lines_around, users_place, users_traceback
from mxm.pipeline.introspection.annotations import result_hint, type_text
from mxm.pipeline.params.declared import Parameter, parameters_of
from mxm.pipeline.problems import Problem, Source
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.runs import FlowRun
from mxm.pipeline.store import kept
from mxm.pipeline.store.code import code_of
from mxm.pipeline.store.database import Statement
from mxm.pipeline.taskruns import ItemRun, State, TaskRun, WrittenAsset, iso_time
from mxm.pipeline.values.fingerprint import Fingerprints
from mxm.pipeline.values.jsonvalue import Written, to_json
from mxm.pipeline.values.parts import origins_in
from mxm.pipeline.values.secrets import MASK, secret_parameters, signature_text

__all__ = [
    "Document",
    "Keep",
    "KeptValue",
    "RowWriter",
    "arguments_of",
    "definition_of",
    "document",
    "parameters_shown",
]


class KeptValue(NamedTuple):
    """Whether and where a value was stored.

    Parameters
    ----------
    digest
        Its name; None if it is not kept.
    data
        Its bytes, if the row has them.
    unkept
        Why it is not kept.
    statements
        Statements to execute together with the row.
    """

    digest: str | None = None
    data: bytes | None = None
    unkept: str | None = None
    statements: tuple[Statement, ...] = ()


Keep: TypeAlias = Callable[[Any, State], KeptValue]
"""Keeps the value of a step or an item that ended in a state."""

_LONGEST_ARGUMENT = 2_000
_EMPTY = inspect.Parameter.empty


class Document(NamedTuple):
    """A JSON document that many runs share."""

    digest: str
    statement: Statement


class RowWriter:
    """The rows of one run.

    Parameters
    ----------
    run
        Its id.
    steps
        Names of the steps, in order.
    key
        The store's.
    secrets
        What no row may contain.
    """

    def __init__(self, run: str, steps: Iterable[str], key: bytes, secrets: Secrets) -> None:
        self.key: bytes = key
        self._run = run
        self._seq = {name: number for number, name in enumerate(steps)}
        self._secrets = secrets
        self._warnings: list[dict[str, Any]] = []
        self._histories: dict[str, list[dict[str, Any]]] = {}

    def started(self, event: StepStarted) -> Statement:
        """A step that runs."""
        row = {"state": "running", "ready": iso_time(event.ready), "started": iso_time(event.at)}
        return self._row(event.step, {**row, "slot": event.slot, "attempts": 0})

    def attempt(self, event: AttemptEnded) -> Statement:
        """An attempt that will be retried."""
        error = None if event.error is None else self._secrets.masked(described(event.error))
        history = self._histories.setdefault(event.step, [])
        history.append(
            {
                "started": None,
                "ended": iso_time(event.at),
                "state": event.state.value,
                "error": error,
            }
        )
        sql = "UPDATE task SET attempts = ?, history = ? WHERE run = ? AND seq = ? AND place = -1"
        seq = self._seq[event.step]
        return sql, (len(history), json.dumps(history), self._run, seq)

    def warned(self, problem: Problem) -> Statement:
        """The warnings so far."""
        masked = self._secrets.masked
        self._warnings.append(
            {"code": problem.code, "message": masked(problem.message), "task": problem.task}
        )
        return "UPDATE run SET warnings = ? WHERE id = ?", (json.dumps(self._warnings), self._run)

    def ended(self, task: TaskRun, keep: Keep) -> list[Statement]:
        """A step that ended."""
        row = self._common(task)
        asset, items = task.asset, task.items
        row["allowed"] = task.allowed
        row["cause"] = task.cause
        row["ready"] = iso_time(task.ready)
        row["waited"] = task.waited
        row["output"] = self._secrets.masked_output(task.output) or None
        if asset is not None:
            row["asset"] = self._asset(asset)
        if items is not None:
            row["items"] = self._json({"over": items.over, "count": items.count()})
        more: list[Statement] = []
        if task.has_value:
            kept_value = _kept_before(task) or keep(task.value, task.state)
            row |= self._value(kept_value)
            more += kept_value.statements
            written = _written(task, has_digest=kept_value.digest is not None)
            if written is not None:
                row |= self._result(written)
        return [*more, self._row(task.name, row)]

    def _asset(self, asset: WrittenAsset) -> str:
        details = {**asset.to_dict(), "partition": self._masked(asset.partition)}
        return json.dumps([asset.id, self._masked(asset.partition), details])

    def item(self, event: ItemEnded, keep: Keep) -> list[Statement]:
        """An item that ended."""
        item = event.item
        row = self._common(item)
        row["item"] = self._secrets.masked_key(item.key)
        row["output"] = self._secrets.masked_output(item.output) or None
        if item.asset is not None:
            row["asset"] = self._asset(item.asset)
        more: list[Statement] = []
        if item.has_value:
            kept_value = _kept_before(item) or keep(item.value, item.state)
            row |= self._value(kept_value)
            more += kept_value.statements
            if isinstance(item, CachedItem):
                row |= {} if item.written is None else self._result(item.written)
            elif kept_value.digest is not None or not _is_large(item.value):
                row |= self._result(item.to_written())
        return [*more, self._row(event.step, row, event.place)]

    def _common(self, run: TaskRun | ItemRun) -> dict[str, Any]:
        """The columns that steps and items share."""
        history = [
            {**attempt.to_dict(), "error": self._masked(attempt.error)} for attempt in run.history
        ]
        return {
            "state": run.state.value,
            "reason": self._masked(run.reason),
            "started": iso_time(run.started),
            "ended": iso_time(run.ended),
            "seconds": run.seconds,
            "slot": run.slot,
            "attempts": run.attempts,
            "history": json.dumps(history),
            "error": None if run.error is None else self._error(run.error),
        }

    def _value(self, value: KeptValue) -> dict[str, Any]:
        return {"value": value.digest, "data": value.data, "unkept": value.unkept}

    def _result(self, written: Written) -> dict[str, Any]:
        columns: dict[str, Any] = {"result": self._json(written.value)}
        if written.nonfinite or written.described:
            columns["lost"] = self._json([written.nonfinite, list(written.described)])
        return columns

    def _row(self, step: str, row: Mapping[str, Any], place: int = -1) -> Statement:
        """The row of a step, or of the item at *place*; it replaces an earlier one."""
        names = ", ".join(row)
        marks = ", ?" * len(row)
        sql = f"INSERT OR REPLACE INTO task (run, seq, place, name, {names}) VALUES (?, ?, ?, ?{marks})"  # noqa: S608, E501
        key = self._run, self._seq[step], place, self._secrets.masked(step)
        return sql, (*key, *row.values())

    def outcome(self, run: FlowRun) -> tuple[str | None, str]:
        """The flow's value as JSON (None if it is too long) and all warnings of *run*."""
        value, more = run.value_json()
        for problem in more:
            self.warned(problem)
        shown = self._json(value)
        return shown if len(shown) <= kept.LARGEST else None, json.dumps(self._warnings)

    def document(self, content: Any) -> Document:
        """*content* as a document, which is kept once for all runs that have it."""
        return document(content, self.key)

    def place(self, source: Source, root: str) -> str:
        """*source* relative to the project's folder, so that it is valid elsewhere, too."""
        return self._secrets.masked(_place(source, root))

    def define(
        self, definition: list[dict[str, Any]], items: list[list[Any]], doc: str | None
    ) -> list[Statement]:
        """The flow's definition: its tasks, and the items of their code."""
        content = self._secrets.masked_json({"doc": doc, "tasks": definition, "items": items})
        made = self.document(content)
        return [
            made.statement,
            ("UPDATE run SET definition = ? WHERE id = ?", (made.digest, self._run)),
        ]

    def _json(self, value: Any) -> str:
        return json.dumps(self._secrets.masked_json(value))

    def _masked(self, text: str | None) -> str | None:
        return self._secrets.masked(text) if text else text

    def _error(self, error: BaseException) -> str:
        """*error* with the lines of source around the place where it was raised."""
        place = users_place(error)
        return self._json(
            {
                "type": type(error).__name__,
                "message": text_of(error),
                "place": None if place is None else str(place),
                "lines": [] if place is None else lines_around(place),
                "traceback": users_traceback(error),
            }
        )


def _kept_before(run: TaskRun | ItemRun) -> KeptValue | None:
    """The value of *run* that an earlier run kept, so that it need not be loaded."""
    if not isinstance(run, LaterTask | CachedItem):
        return None
    if run.entry is None:
        return None if run.later.is_loaded else KeptValue(unkept="the values of its items are")
    digest, data = run.entry.kept
    return KeptValue(digest, data)


def document(content: Any, key: bytes) -> Document:
    """*content* as a document of a store with this *key*."""
    text = json.dumps(content, sort_keys=True)
    digest = hmac.digest(key, text.encode(), "sha256").hex()[:32]
    return Document(
        digest, ("INSERT OR IGNORE INTO document (digest, text) VALUES (?, ?)", (digest, text))
    )


def _written(task: TaskRun, *, has_digest: bool) -> Written | None:
    """The result of *task* as JSON; None if only the store would need it and it takes long."""
    made = "written" in vars(task)
    if isinstance(task, LaterTask) and not made:
        return None
    return task.written if made or has_digest or not _is_large(task.value) else None


def _is_large(value: Any) -> bool:
    return type(value) in (list, dict, set, tuple, str, bytes) and len(value) > 10_000


def _place(source: Source, root: str) -> str:
    file = os.path.abspath(source.file)
    inside = file.startswith(root.rstrip(os.sep) + os.sep)
    path = os.path.relpath(file, root) if inside else source.file
    return str(path) if source.line is None else f"{path}:{source.line}"


def _shown(value: Any, secrets: Secrets) -> Any:
    """*value* as JSON without secrets; described if it is long."""
    if value is None or type(value) in (bool, int, float):
        shown: Any = to_json(value).value
    else:
        try:
            shown = to_json(value).value
        except BaseException as error:  # code of users
            let_signals_pass(error)
            shown = repr_of(value)
        if type(value) is not str and len(json.dumps(shown)) > _LONGEST_ARGUMENT:
            text = secrets.masked(repr_of(value)) if secrets else repr_of(value)
            shown = {"type": type(value).__name__, "repr": text[:200]}
    return secrets.masked_json(shown) if secrets else shown


def parameters_shown(
    plan: Plan, params: Mapping[str, Any], secrets: Secrets
) -> list[dict[str, Any]]:
    """The parameters of a run, each with its value, type and origin; secrets are masked."""
    declared = {parameter.name: parameter for parameter in parameters_of(plan.flow)}
    rows: list[dict[str, Any]] = []
    for name in {**declared, **dict.fromkeys(plan.params)}:
        parameter: Parameter | None = declared.get(name)
        annotation = parameter.annotation if parameter else _EMPTY
        typed = annotation is not _EMPTY
        if name in plan.params:
            value, origin = plan.params[name], "run" if name in params else "flow"
        elif parameter is not None and not parameter.required:
            value, origin = parameter.default, parameter.origin
        else:
            continue
        rows.append(
            {
                "name": name,
                "value": MASK
                if name in secrets.names and value is not None
                else _shown(value, secrets),
                "secret": name in secrets.names,
                "type": type_text(annotation) if typed else None,
                "origin": origin,
                "from": dict(origins_in(name, params[name])).get(name) if name in params else None,
            }
        )
    return rows


def arguments_of(plan: Plan, secrets: Secrets) -> str:
    """The steps as JSON, each with the sources of its arguments."""
    return json.dumps([[secrets.masked(s.name), _arguments(s, secrets)] for s in plan.steps])


def _arguments(step: Step, secrets: Secrets) -> dict[str, Any]:
    hidden = secret_parameters(step.task.fn) | secrets.names
    arguments: dict[str, Any] = {}
    for name, binding in by_parameter(step.task.fn, Bindings(step.args, step.kwargs)).items():
        if isinstance(binding, Const):
            secret = name in hidden and binding.value is not None
            arguments[name] = {"value": MASK if secret else _shown(binding.value, secrets)}
        elif isinstance(binding, Param):
            arguments[name] = {"parameter": binding.name}
        elif isinstance(binding, Collection):
            arguments[name] = {"upstream": [part.name for part in upstreams_in([binding])]}
        else:
            arguments[name] = {"upstream": str(binding)}
    return arguments


def definition_of(plan: Plan, rows: RowWriter, root: str, prints: Fingerprints) -> list[Statement]:
    """The definition of the flow of *plan*: its tasks, their edges, signatures and code."""
    tasks: list[dict[str, Any]] = []
    codes, items = code_of(plan, prints)
    for task, code in zip(plan.flow.tasks, codes, strict=True):
        fn: Any = task.fn
        try:
            signature = signature_text(fn)
        except (TypeError, ValueError):
            signature = None
        tasks.append(
            {
                "name": task.name,
                "upstream": list(task.upstream),
                "after": list(task.after),
                "function": getattr(fn, "__name__", None),
                "signature": signature,
                "doc": getattr(fn, "__doc__", None) if hasattr(fn, "__code__") else None,
                "source": None if task.source is None else _place(task.source, root),
                **code,
                "returns": type_text(result_hint(fn)),
                "mapped": task.mapped,
                "asset": None if task.produces is None else task.produces.id,
            }
        )
    return rows.define(tasks, items, plan.flow.doc)
