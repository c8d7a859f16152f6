"""RemoteValue, and what names a value on a cluster: without a cluster."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

from mxm.pipeline.errors import BackendError, SpecError
from mxm.pipeline.execution.kept.later import Results
from mxm.pipeline.execution.pickling import pack, pack_apart, unpack
from mxm.pipeline.execution.places.held import HeldPart, InputError, Packed, arrived, sending
from mxm.pipeline.taskruns import State, TaskRun
from mxm.pipeline.values.jsonvalue import to_json
from mxm.pipeline.values.remote import RemoteValue, fetched


def packed(value: Any) -> Packed:
    data, apart = pack_apart(value)
    return Packed(data, *apart)


class Shelf:
    """A place whose values are bytes in a dict."""

    def __init__(self, **values: Any) -> None:
        self.data = {name: packed(value) for name, value in values.items()}
        self.fetches = 0
        self.is_theirs = False

    def fetch(self, reference: Any, task: str) -> Packed:
        self.fetches += 1
        if reference not in self.data:
            raise BackendError(f"the result of task {task!r} is lost")
        return self.data[reference]


VALUE = {"a": [1, 2, 3], "b": [4]}


def remote(shelf: Shelf, value: Any = VALUE) -> RemoteValue:
    return RemoteValue("dict", 2_000_000, to_json(value), HeldPart(shelf, "x", "load"))


def test_it_is_fetched_once_and_described_before() -> None:
    shelf = Shelf(x=VALUE)
    value = remote(shelf)
    assert (value.type, value.nbytes, value.description) == ("dict", 2_000_000, VALUE)
    assert repr(value) == "<RemoteValue dict, 2.0 MB, on the cluster: get() returns it>"
    assert value.get() == VALUE
    assert value.get() is value.get() is fetched(value)
    assert shelf.fetches == 1
    assert repr(value) == "<RemoteValue dict, 2.0 MB, fetched: get() returns it>"


@pytest.mark.parametrize(
    "use",
    [
        lambda value: value["a"],
        lambda value: len(value),
        lambda value: bool(value),
        lambda value: list(value),
        lambda value: value == VALUE,
        lambda value: VALUE == value,
        lambda value: value != VALUE,
        lambda value: "a" in value,
        lambda value: value + 1,
        lambda value: float(value),
    ],
)
def test_it_does_not_answer_for_the_value(use: Any) -> None:
    with pytest.raises(TypeError):
        use(remote(Shelf(x=VALUE)))


def test_an_attribute_of_the_value_is_an_error_that_names_get() -> None:
    with pytest.raises(AttributeError, match=r"not the dict itself: call get\(\)"):
        remote(Shelf(x=VALUE)).items()


def test_a_copy_in_another_process_has_the_description_alone() -> None:
    copy = pickle.loads(pickle.dumps(remote(Shelf(x=VALUE))))
    assert copy.description == VALUE
    with pytest.raises(BackendError, match="stayed on the cluster of a run of another process"):
        copy.get()


def test_a_lost_one_says_so_each_time() -> None:
    value = remote(Shelf())
    for _ in range(2):
        with pytest.raises(BackendError, match="the result of task 'load' is lost"):
            value.get()


def sent(inputs: Any, shelf: Shelf) -> Any:
    """What a worker gets for *inputs*."""
    with sending() as held:
        data = pack(inputs)
    with arrived([shelf.data[each.reference] for each in held]):
        return unpack(data)


def test_a_worker_gets_parts_of_one_copy_wherever_they_are() -> None:
    shelf = Shelf(x=VALUE, y="other")
    whole, other = HeldPart(shelf, "x", "load"), HeldPart(shelf, "y", "more")
    value, part, (first, text), again = sent(
        (whole, whole["a"], [whole["a"][0], other], whole), shelf
    )
    assert (value, part, first, text) == (VALUE, [1, 2, 3], 1, "other")
    assert value is again
    assert part is value["a"]
    assert shelf.fetches == 0
    assert sent(whole, shelf) is not sent(whole, shelf)  # each call has a copy of its own


@pytest.mark.parametrize(
    ("data", "path", "cause"),
    [
        (pack(VALUE), ("none",), KeyError),
        (pack(VALUE), ("a", 9), IndexError),
        (b"garbage", (), BackendError),
    ],
)
def test_a_part_that_is_not_there_is_an_error_of_the_inputs(
    data: bytes, path: tuple[Any, ...], cause: type[BaseException]
) -> None:
    held = HeldPart(Shelf(), "x", "load", path)
    with sending():
        inputs = pack(held)
    with arrived([Packed(data)]), pytest.raises(InputError) as caught:
        unpack(inputs)
    assert type(caught.value.__cause__) is cause


def test_what_is_on_a_cluster_goes_nowhere_else() -> None:
    with pytest.raises(SpecError, match="the result of task 'load' is on a cluster"):
        pack(HeldPart(Shelf(), "x", "load"))


def test_bytes_on_a_cluster_count_and_are_not_copied_by_pickle() -> None:
    packed = Packed(b"x" * 1_000_000)
    assert sys.getsizeof(packed) > 1_000_000
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(packed, 5, buffer_callback=buffers.append)
    assert len(data) < 1000
    assert bytes(pickle.loads(data, buffers=buffers).data) == packed.data
    assert pickle.loads(pickle.dumps(packed, 4)).data == packed.data


def test_large_buffers_pass_apart_and_each_load_has_a_copy_that_may_be_changed() -> None:
    array = np.arange(100_000.0)
    value = {"a": array, "same": array, "fixed": array[::-1].copy(), "small": array[:3]}
    value["fixed"].flags.writeable = False
    held = packed(value)
    assert len(held.data) < 2_000
    assert len(held.apart) == 2
    assert held.nbytes > 2 * array.nbytes
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps(held, 5, buffer_callback=buffers.append)
    there = pickle.loads(data, buffers=[bytes(buffer.raw()) for buffer in buffers])
    first, second = there.load(), there.load()
    first["a"][:] = -1
    assert first["same"] is first["a"]
    assert not first["fixed"].flags.writeable
    assert (second["a"] == np.arange(100_000.0)).all()
    assert (array == np.arange(100_000.0)).all()
    assert pickle.loads(pickle.dumps(held, 4)).load()["fixed"][0] == 99_999.0


def test_results_give_the_value_and_name_what_is_held() -> None:
    shelf = Shelf(x=VALUE)
    value = remote(shelf)
    results = Results()
    results.keep(TaskRun("load", State.SUCCEEDED, value=value))
    results.keep(TaskRun("two", State.SUCCEEDED, value=2))
    assert ("load" in results, "two" in results, len(results)) == (True, True, 2)
    assert (results.is_loaded("load"), results.is_loaded("two")) == (False, True)
    assert results.held == {"load": value.held}
    assert shelf.fetches == 0
    assert results["load"] is value.get()
    assert results.is_loaded("load")


def test_a_task_shows_the_description_and_gives_the_value_where_it_is_asked_for() -> None:
    shelf = Shelf(x=VALUE)
    task = TaskRun("load", State.SUCCEEDED, value=remote(shelf))
    assert task.to_json() == (VALUE, [])
    assert task.to_dict()["result"] == VALUE
    assert shelf.fetches == 0
    assert task.as_ended() == VALUE
