"""The driver's side of a place on a cluster: requests, answers, and what they mean.

`dask_place` and `ray_place` only carry bytes to a worker and back. Whatever the cluster would do
by itself, one message is one call of a worker: only a task's `retries` calls its function again.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pickle
import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from mxm.pipeline.errors import BackendError, SpecError, WorkerDiedError, add_note, described
from mxm.pipeline.execution.attempts.fatal import FatalError
from mxm.pipeline.execution.attempts.invocation import Invocation
from mxm.pipeline.execution.files.observing import unseen
from mxm.pipeline.execution.pickling import pack_function, unpack
from mxm.pipeline.execution.places.base import Begun, Done
from mxm.pipeline.execution.places.code import Tree, tree_of, zipped
from mxm.pipeline.execution.places.held import HeldPart, Packed
from mxm.pipeline.execution.places.remote import Answer, Request, about
from mxm.pipeline.execution.places.requests import chunk, not_the_same, outcome, request_held
from mxm.pipeline.execution.places.worker import HELD, LOGGED, NOTED, PRINTED, RAISED, READ, UNREAD
from mxm.pipeline.execution.places.worker_process import show
from mxm.pipeline.execution.resources.opening import active_resources
from mxm.pipeline.introspection.entrypoints import entrypoint
from mxm.pipeline.problems import Problem
from mxm.pipeline.process.interrupts import let_signals_pass
from mxm.pipeline.process.logs import logger
from mxm.pipeline.project.roots import nearest_project
from mxm.pipeline.values.fingerprint import Fingerprints, Item, Lookup, differences, lookups_of
from mxm.pipeline.values.remote import RemoteValue

if TYPE_CHECKING:
    from mxm.pipeline.execution.options import RunOptions
    from mxm.pipeline.spec import FlowSpec

__all__ = ["ClusterPlace", "LostError", "LostValueError", "require_same", "require_socket"]


_LARGE_INPUTS = 100_000
"""Bytes of common inputs of items that are not sent again with each chunk."""
_MOST_INPUTS = 8


class LostError(Exception):
    """A worker is gone with what it was asked, or the cluster has lost the answer."""


class LostValueError(Exception):
    """A value that a request refers to is gone: that of this number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number: int = number


class _Sent(NamedTuple):
    """A function as bytes, and what it is made of and looks up: None if these bytes are all."""

    packed: bytes
    items: tuple[Item, ...] = ()
    digest: str | None = None
    lookups: tuple[Lookup, ...] = ()


class ClusterPlace:
    """A place on a cluster, without the way to it.

    Parameters
    ----------
    flow
        The flow: its project is what workers import.
    options
        Those of the run.

    Attributes
    ----------
    slots
        How many calls run at once.
    is_theirs
        Whether the connection to the cluster is the user's, and outlives the run.
    """

    name: str = "a cluster"
    slots: int = 1
    is_theirs: bool = False

    def __init__(self, flow: FlowSpec, options: RunOptions) -> None:
        self.run: str = secrets.token_hex(6)
        self.workers: int | None = options.workers
        self.address: str | None = options.address
        self._lock = threading.RLock()
        self._root, self._is_project = _project_of(flow)
        self._prints = Fingerprints(self._root)
        self._made: tuple[Tree, bytes] | None = None
        # By id, because a callable object may have no hash; the steps keep them alive.
        self._functions: dict[int, _Sent] = {}
        self._digests: dict[tuple[str, tuple[str, ...]], str | None] = {}
        self._firsts: dict[str, Invocation] = {}  # by step, the first call of an item
        self._inputs: dict[bytes, Any] = {}  # by digest, what was put
        self._closed = False

    # What dask_place and ray_place do

    def ask(self, data: bytes, task: str, held: Sequence[Any] = ()) -> tuple[bytes, Any]:
        """What a worker answers to the request in *data*, for *task*; it is asked once.

        Parameters
        ----------
        data, task
            The request, and what it is for.
        held
            References to values on the cluster that the worker gets with it.

        Returns
        -------
        tuple
            The answer; a reference to the value, where that stays on the cluster.

        Raises
        ------
        LostError
            The worker, or its answer, is gone.
        LostValueError
            A value that the request refers to is gone.
        KeyboardInterrupt
            The place was closed meanwhile.
        """
        raise NotImplementedError

    def put(self, packed: Packed) -> Any:
        """A reference to *packed*, which is sent once to each worker that asks for it.

        None where this place has no such thing.
        """
        del packed
        return None

    def has(self, reference: Any) -> bool:
        """Whether what `put` gave is still there, as far as this process knows."""
        del reference
        return True

    def load(self, reference: Any) -> Packed:
        """A value that stayed on the cluster.

        Raises
        ------
        Exception
            It is gone.
        """
        raise NotImplementedError

    def lives_on(self) -> bool:
        """Whether this process is still connected to the cluster."""
        raise NotImplementedError

    def close_run(self) -> Iterable[tuple[list[Problem], list[tuple[bytes, bytes]]]]:
        """Close what is open for this run: for each worker, what `remote.close_run` gives."""
        raise NotImplementedError

    def leave(self) -> None:
        """Leave the cluster, or end it if it was started for this run; it may have failed."""
        raise NotImplementedError

    # What the runner calls

    def invoke(self, call: Invocation) -> Any:
        """Call the function of *call* once on a worker; return its value.

        Raises
        ------
        WorkerDiedError
            The worker ended before the function did.
        FatalError
            The function, its inputs or its value cannot be sent, or the worker has other code.
        BaseException
            What the function raised.
        """
        task = call.step.name
        head, inputs, held = request_held(call, self._packed)
        try:
            answer, reference = self._asked(call, head, inputs, None, held)
        except LostError as lost:
            raise _died(task, lost) from None
        value, error = self._heard(call, answer.calls[0], reference)
        if error is not None:
            raise error
        return value

    def fetch(self, reference: Any, task: str) -> Packed:
        """The value of *task*, which stayed on the cluster.

        Raises
        ------
        BackendError
            It is gone.
        """
        if not self.lives_on():
            raise BackendError(
                f"the result of task {task!r} stayed on {self.name}, which this process has left",
                hint="return it from the flow, whose value is fetched, or write it as an asset; "
                "or connect a client before the run, and call get() while it is connected",
            )
        try:
            return self.load(reference)
        except Exception as error:
            raise _lost_value(task, described(error)) from None

    def invoke_many(self, calls: Sequence[Invocation]) -> Iterator[Begun | Done]:
        """Call the functions of *calls* in sequence on one worker, as many as take a moment.

        When a worker dies, nobody knows which of them had begun: none of them is called again but
        by its own retries.
        """
        task = calls[0].step.name
        sent = 1
        try:
            head, (inputs, *parts), sent = chunk(calls, self._packed, self._first(calls[0]))
            put = self._put(inputs)
            if put is None:
                answer, _ = self._asked(calls[0], head, inputs, tuple(parts))
            else:
                held = [HeldPart(self, put, task)]
                answer, _ = self._asked(calls[0], head, None, tuple(parts), held)
        except FatalError as fatal:
            yield Done(0, error=fatal)
            return
        except LostError as lost:
            for number in range(sent):
                yield Begun(number)
                yield Done(number, error=_died(task, lost))
            return
        for number, said in enumerate(answer.calls):
            began, ended = answer.times[number]
            yield Begun(number, began)
            yield Done(number, *self._heard(calls[number], said), ended)

    def close(self) -> None:
        """Leave the cluster; one that was started for this run ends."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._inputs.clear()
            self._firsts.clear()
        problems: list[Problem] = []
        try:
            for wrong, said in self.close_run():
                problems += wrong
                _show(said)
        except Exception as error:  # also of a cluster that has ended
            logger.warning("workers were not asked to close resources: %s", described(error))
        self.leave()
        resources = active_resources()
        if resources is not None:
            resources.note(problems)

    # Inside

    def _tree(self) -> tuple[Tree, bytes]:
        with self._lock:
            if self._made is None:
                tree, files = tree_of(self._root, whole=self._is_project)
                self._made = tree, zipped(files)
            return self._made

    def _packed(self, fn: Callable[..., Any]) -> bytes:
        return self._function(fn).packed

    def _function(self, fn: Callable[..., Any]) -> _Sent:
        with self._lock:
            known = self._functions.get(id(fn))
            if known is None:
                try:
                    if entrypoint(fn) is None or fn.__module__ == "__main__":
                        raise SpecError("it has no name that a worker can import")
                    printed = self._prints.of(fn)
                    looked_up = tuple(
                        one for one in lookups_of(printed, fn, self._digests) if one.stays
                    )
                    known = _Sent(pack_function(fn), printed.items, printed.digest, looked_up)
                except SpecError:
                    known = _Sent(_by_value(fn))
                self._functions[id(fn)] = known
            return known

    def _asked(
        self,
        call: Invocation,
        head: bytes,
        inputs: bytes | None,
        parts: tuple[bytes, ...] | None,
        held: Sequence[HeldPart] = (),
    ) -> tuple[Answer, Any]:
        task = call.step.task
        references = [each.reference for each in held]
        tree, archive = self._tree()
        function = self._function(task.fn)
        for sent in (None, archive):
            data = pickle.dumps(
                Request(
                    self.run,
                    tree,
                    sent,
                    function.digest,
                    task.timeout_s,
                    head,
                    inputs,
                    parts,
                    call.stays,
                    call.step.unpacked,
                    function.lookups,
                )
            )
            try:
                said, reference = self.ask(data, call.step.name, references)
            except LostValueError as lost:
                if inputs is None:  # the common inputs of items: perhaps some had begun
                    raise LostError("the worker that had its inputs ended") from None
                task_lost = held[lost.number].task
                raise FatalError(_lost_value(task_lost, "the worker that had it ended")) from None
            answer: Answer = pickle.loads(said)  # noqa: S301 - ours
            if not answer.needs_tree:
                break
        else:
            raise FatalError(BackendError(f"a worker of {self.name} cannot keep the sources"))
        if answer.other_code is not None:
            self._refuse_code(call.step.name, function.items, answer.other_code)
        if answer.differ:
            raise not_the_same(call.step.name, answer.differ)
        return answer, reference

    def _first(self, call: Invocation) -> Invocation:
        with self._lock:
            return self._firsts.setdefault(call.step.name, call)

    def _put(self, inputs: bytes) -> Any:
        """A reference to the common *inputs* of items, if they are large."""
        if len(inputs) <= _LARGE_INPUTS:
            return None
        digest = hashlib.blake2b(inputs).digest()
        with self._lock:
            known = self._inputs.get(digest)
            if known is None or not self.has(known):
                try:
                    known = self._inputs[digest] = self.put(Packed(inputs))
                except Exception:  # of the cluster: they go with the chunk, which says more
                    return None
                # Equal values may have more than one pickle, and a run may map many steps.
                for old in list(self._inputs)[:-_MOST_INPUTS]:
                    del self._inputs[old]
            return known

    def _refuse_code(self, task: str, ours: Iterable[Item], theirs: Iterable[Item]) -> NoReturn:
        changed = "; ".join(map(str, [*differences(ours, theirs)][:3]))
        raise FatalError(
            BackendError(
                f"the workers have other code for task {task!r} than this process"
                f"{f': {changed}' if changed else ''}",
                hint="start the run again: it imports the files as they are now; if a package "
                "differs, install the same version on the workers",
            )
        )

    def _heard(
        self, call: Invocation, said: Sequence[tuple[bytes, bytes]], reference: Any = None
    ) -> tuple[Any, BaseException | None]:
        """What came of a call; what it logged and printed is shown first."""
        task = call.step.name
        *before, last = said
        _show(before)
        for kind, content in before:
            if kind == READ:
                call.reads.extend(unpack(content))
        if call.probe is None:
            unseen("workers of a cluster")
        else:
            call.probe.take(unpack(content) for kind, content in before if kind == NOTED)
        kind, content = last
        if kind == HELD:
            kind_of_value, size, written, facts = unpack(content)
            held = HeldPart(self, reference, task)
            value = RemoteValue(kind_of_value, size, written, held)
            value.facts = facts
            return value, None
        if kind == UNREAD:
            _, error = outcome(task, RAISED, content)
            if error is not None and not isinstance(error, FatalError):
                add_note(error, f"while reading the inputs of task {task!r} from its upstreams")
                error = FatalError(error)
            return None, error
        return outcome(task, kind, content)


def _show(said: Iterable[tuple[bytes, bytes]]) -> None:
    for kind, content in said:
        if kind in (LOGGED, PRINTED):
            show(kind, content)


def _project_of(flow: FlowSpec) -> tuple[str, bool]:
    """The folder whose modules the functions of *flow* come from; whether it is a project's."""
    source = flow.source
    folder = os.path.dirname(os.path.realpath(source.file)) if source else os.getcwd()
    if not os.path.isdir(folder):  # a notebook
        folder = os.getcwd()
    file = nearest_project(folder)
    return (os.path.dirname(os.path.realpath(file)), True) if file else (folder, False)


def _by_value(fn: Callable[..., Any]) -> bytes:
    try:
        by_value: Any = importlib.import_module("cloudpickle")
    except ImportError:
        raise SpecError(
            f"{fn!r} cannot be sent to a worker by name",
            hint="define it with def at the top level of a module, or install cloudpickle",
        ) from None
    data: bytes = by_value.dumps(fn)
    return data


def _lost_value(task: str, why: str) -> BackendError:
    return BackendError(
        f"the result of task {task!r} is lost: {why}",
        hint="run the flow again: it is not made a second time within a run",
    )


def _died(task: str, lost: LostError) -> WorkerDiedError:
    return WorkerDiedError(
        f"task {task!r} was lost: {lost}",
        hint="run it with --runner sequential to see what it does",
    )


def require_same(theirs: dict[str, str], where: str) -> None:
    """Check that *where* has what this process has.

    Raises
    ------
    BackendError
        It has another Python, or another version of this package.
    """
    for what, ours in about().items():
        if theirs.get(what) != ours:
            raise BackendError(
                f"{where} has {what} {theirs.get(what)}, and this process {ours}",
                hint="give all machines of the cluster the same versions",
            )


def require_socket(address: str, seconds: float, what: str) -> None:
    """Check that something answers at *address*, such as ``tcp://host:8786``.

    Raises
    ------
    BackendError
        Nothing does, or this is not an address.
    """
    import socket
    from urllib.parse import urlsplit

    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        if not parts.hostname or not parts.port:
            raise ValueError("it has no host and port")
        with socket.create_connection((parts.hostname, parts.port), timeout=seconds):
            pass
    except (OSError, ValueError) as error:
        let_signals_pass(error)
        raise BackendError(
            f"no {what} answers at {address}: {described(error)}",
            hint="give --address the address that the cluster printed when it started",
        ) from None
