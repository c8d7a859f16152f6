"""What is sent to a worker of any place, and what its answer means."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from mxm.pipeline.assets.reading import ReadAsset
from mxm.pipeline.errors import BackendError, SpecError, described
from mxm.pipeline.execution.attempts.fatal import FatalError
from mxm.pipeline.execution.attempts.invocation import Invocation
from mxm.pipeline.execution.pickling import pack, pack_function, unpack
from mxm.pipeline.execution.places.engine_state import engine_state
from mxm.pipeline.execution.places.held import HeldPart, sending
from mxm.pipeline.execution.places.worker import OTHER, RAISED, UNSENT
from mxm.pipeline.execution.plans.plan import Step
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.process.interrupts import let_signals_pass

if TYPE_CHECKING:
    from mxm.pipeline.execution.attempts.invocation import Noting
    from mxm.pipeline.execution.staying import Stay

PackFunction: TypeAlias = Callable[[Callable[..., Any]], bytes]

__all__ = [
    "ItemInputs",
    "chunk",
    "levels",
    "not_the_same",
    "outcome",
    "request",
    "request_held",
    "unsendable",
]


def outcome(task: str, kind: bytes, content: bytes) -> tuple[Any, BaseException | None]:
    """The value in a worker's answer; raises if the call failed."""
    if kind == UNSENT:
        return None, unsendable("value", task, unpack(content))
    if kind == OTHER:
        return None, not_the_same(task, unpack(content))
    try:
        outcome = unpack(content)
    except BaseException as error:  # some types can be pickled, but not unpickled
        let_signals_pass(error)
        fatal = unsendable("exception" if kind == RAISED else "value", task, error)
        fatal.__cause__ = error
        return None, fatal
    return (None, outcome) if kind == RAISED else (outcome, None)


def request(call: Invocation, pack_fn: PackFunction = pack_function) -> tuple[bytes, bytes]:
    """The request header for a worker, and the inputs.

    Parameters
    ----------
    call
        The call; its inputs are all in this process.
    pack_fn
        Makes bytes of its function.
    """
    head, inputs, _ = request_held(call, pack_fn)
    return head, inputs


def request_held(
    call: Invocation, pack_fn: PackFunction = pack_function
) -> tuple[bytes, bytes, list[HeldPart]]:
    """Like `request`; also the values on the cluster that the inputs refer to, in order."""
    task = call.step.name
    try:
        fn = pack_fn(call.step.task.fn)
    except SpecError as error:
        raise FatalError(error) from None
    except BaseException as error:  # any type may refuse to be pickled, in its own way
        let_signals_pass(error)
        raise unsendable("function", task, error) from error
    try:
        with sending() as held:
            inputs = pack((call.args, call.kwargs, call.probe and call.probe.sent()))
    except BaseException as error:
        let_signals_pass(error)
        raise unsendable("inputs", task, error) from error
    resources = active_resources()
    shared = resources.shared() if resources else None
    try:
        head = pack((call.flow, task, levels(), fn, shared, engine_state(), None))
    except BaseException as error:
        let_signals_pass(error)
        raise unsendable("resources", task, error) from error
    return head, inputs, held


def chunk(
    calls: Sequence[Invocation],
    pack_fn: PackFunction = pack_function,
    before: Invocation | None = None,
) -> tuple[bytes, list[bytes], int]:
    """Like `request`, for calls that differ in some inputs; common inputs are sent once.

    The inputs of each call follow, for as many calls as fit into one chunk. What a call of an
    earlier chunk, *before*, has not got is not common.
    """
    first = calls[0]
    each = calls if before is None else (before, *calls)
    same_args = tuple(
        i for i, value in enumerate(first.args) if all(c.args[i] is value for c in each)
    )
    same_names = [k for k, v in first.kwargs.items() if all(c.kwargs[k] is v for c in each)]
    head, shared = request(
        ItemInputs(
            first.flow,
            first.step,
            tuple(value if i in same_args else None for i, value in enumerate(first.args)),
            {k: first.kwargs[k] for k in same_names},
        ),
        pack_fn,
    )
    parts: list[bytes] = []
    size = 0
    for call in calls:
        own_args = {i: v for i, v in enumerate(call.args) if i not in same_args}
        own_names = {k: v for k, v in call.kwargs.items() if k not in same_names}
        try:
            part = pack((own_args, own_names, call.probe and call.probe.sent()))
        except BaseException as error:
            let_signals_pass(error)
            if parts:
                break  # send it alone, so that only its own item fails
            raise unsendable("inputs", first.step.name, error) from error
        size += len(part)
        parts.append(part)
        if size > _LARGEST_CHUNK:
            break
    *common, _ = unpack(head)
    head = pack((*common, len(parts)))
    return head, [shared, *parts], len(parts)


@dataclass
class ItemInputs:
    """The common inputs of all calls of a chunk."""

    flow: str
    step: Step
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    probe: Noting | None = None
    reads: list[ReadAsset] = field(default_factory=list[ReadAsset])
    stays: Stay | None = None


_LARGEST_CHUNK = 4_000_000  # bytes of inputs


def unsendable(what: str, task: str, why: object) -> FatalError:
    """A value cannot be sent, so another attempt would fail, too."""
    reason = described(why) if isinstance(why, BaseException) else why
    return FatalError(
        BackendError(
            f"the {what} of task {task!r} cannot pass between processes: {reason}",
            hint="use runner 'threads' for what cannot be pickled",
        )
    )


def not_the_same(task: str, names: Sequence[str]) -> FatalError:
    """Another attempt would read the same."""
    listed = f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''}"
    differ = "differs" if len(names) == 1 else "differ"
    return FatalError(
        BackendError(
            f"task {task!r} was not run: {listed} {differ} in the worker process, which imports "
            "modules anew",
            hint="pass what a program changes as a parameter, import in the task's module what "
            "fills a registry, start again after an edit, or use runner 'threads'",
        )
    )


def levels() -> dict[str, int]:
    """The level set on each logger."""
    root = logging.getLogger()
    loggers = [
        root,
        *(v for v in root.manager.loggerDict.values() if isinstance(v, logging.Logger)),
    ]
    return {log.name: log.level for log in loggers if log.level}
