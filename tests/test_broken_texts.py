"""Code of the user's that runs in passing, a ``__str__`` above all, changes no state and no code."""

from __future__ import annotations

import json
import signal
import threading
from pathlib import Path

import pytest
from command import call, write

from mxm.pipeline.errors import described, repr_of, text_of
from mxm.pipeline.process.interrupts import ends_the_run, forget_signal, note_signal

FLOWS = """
    import logging
    import os

    import mxm
    from mxm.pipeline import Skip


    def boom(*_):
        raise eval(os.environ["RAISED"])


    class Leaves(Exception):
        __str__ = __repr__ = boom


    class Value:
        __str__ = __repr__ = __format__ = boom


    class Kind(type):
        __str__ = __repr__ = boom


    class Odd(metaclass=Kind): ...


    class Stays(Value):
        __reduce_ex__ = boom


    @mxm.task
    def fails() -> int:
        raise Leaves


    @mxm.task
    def fails_for_it() -> int:
        raise ValueError("x") from Leaves()


    @mxm.task
    def fails_with_it() -> int:
        raise KeyError(Value(), 1)


    @mxm.task
    def fails_twice() -> int:
        raise ExceptionGroup("both", [Leaves(), ValueError(1)])


    @mxm.task
    def fails_noted() -> int:
        error = ValueError("noted")
        error.__notes__ = [Value()]
        raise error


    @mxm.task
    def skips() -> int:
        raise Skip(Value())


    @mxm.task
    def returns() -> object:
        return [{"a": Value(), "b": Leaves(), Value(): Odd}, Odd()]


    @mxm.task
    def logs() -> int:
        logging.getLogger("x").warning("%s", Value())
        return 1


    @mxm.task
    def reads(x: object, y: Odd = Odd()) -> int:
        return 1


    @mxm.task
    def takes(n: int = 1) -> int:
        return n


    @mxm.task
    def keeps(x: "boom()" = None) -> "boom()":
        return Stays()


    @mxm.flow
    def broken(z: object = Value(), n: int = 1):
        return [fails(), fails_for_it(), fails_with_it(), fails_twice(), fails_noted(), skips(),
                returns(), logs(), reads(Value()), keeps()]


    @mxm.flow(params={"n": Value()})
    def wrong():
        return takes


    @mxm.flow
    def body():
        raise Leaves


    @mxm.flow
    def index():
        return logs()[Value()]
    """

RAISED = ["SystemExit(0)", "KeyboardInterrupt()", "BaseException()", "RuntimeError()"]


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("list", 0),
        ("list --json", 0),
        ("check", 4),
        ("show broken", 0),
        ("show broken --json", 0),
        ("graph broken", 0),
        ("run broken --help", 0),
        ("run body --backend inline", 4),
        ("run wrong --backend inline", 2),
    ],
)
def test_of_no_verb_the_exit_code(tmp_path: Path, arguments: str, code: int, raised: str) -> None:
    write(tmp_path, {"flows.py": FLOWS})
    ran = call(*arguments.split(), cwd=tmp_path, env={"RAISED": raised})
    assert ran.code == code, ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("raised", RAISED)
@pytest.mark.parametrize(
    "options",
    [
        "--backend inline",
        "--backend inline --value",
        "--backend inline --runner threads",
        "--backend inline --runner processes",
        "--backend prefect",
    ],
)
def test_of_no_task_the_state(tmp_path: Path, options: str, raised: str) -> None:
    write(tmp_path, {"flows.py": FLOWS})
    document = [] if "--value" in options else ["--json"]
    ran = call("run", "broken", *options.split(), *document, cwd=tmp_path, env={"RAISED": raised})
    assert ran.code == 1, ran.err
    assert "Leaves: <unprintable>" in ran.err
    if not document:
        return
    run = json.loads(ran.out)
    assert run["state"] == "failed"
    states = {task["name"]: task["state"] for task in run["tasks"]}
    failed = ("fails", "fails_for_it", "fails_with_it", "fails_twice", "fails_noted")
    if "processes" in options:  # it cannot pass between processes
        failed = (*failed, "keeps")
    assert {name for name, state in states.items() if state == "failed"} == {*failed}
    assert states["skips"] == "skipped"
    assert states["returns"] == states["logs"] == states["reads"] == "succeeded"


def test_a_module_whose_exception_has_no_text_is_reported(tmp_path: Path) -> None:
    write(tmp_path, {"flows.py": FLOWS + "\n    raise Leaves\n"})
    ran = call("check", cwd=tmp_path, env={"RAISED": "SystemExit(0)"})
    assert ran.code == 3
    assert "Leaves: <unprintable>" in ran.err


class Interrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


def test_in_a_thread_no_keyboard_interrupt_is_ctrl_c() -> None:
    texts: list[str] = []

    def ask() -> None:
        texts.extend([text_of(Interrupts()), repr_of(Interrupts()), described(Interrupts())])

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert texts == ["<unprintable>", "<unprintable Interrupts>", "Interrupts: <unprintable>"]


def test_ctrl_c_passes() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):  # nothing tells that it is not one
        text_of(Interrupts())


def test_what_the_handler_of_a_signal_raises_passes_until_it_is_dealt_with() -> None:
    error = SystemExit(3)

    class Value:
        def __repr__(self) -> str:
            raise error

    assert repr_of(Value()) == "<unprintable Value>"
    note_signal(error)
    note_signal(error)  # by the run, and by the run of a task in it
    with pytest.raises(SystemExit):
        repr_of(Value())
    forget_signal(error)
    assert ends_the_run(error)
    forget_signal(error)
    assert not ends_the_run(error)
