"""Completion in the shell: flows, tasks, parameters and their values, assets, runs.

Typer has the shell's side; this is ours. The names of flows come from one import of the project,
and are kept in its store until a file changes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from mxm.pipeline.process.interrupts import let_signals_pass

if TYPE_CHECKING:
    from mxm.pipeline.params.declared import Parameter

__all__ = ["answer_the_first_tab", "complete_with", "is_completing", "join_words"]

_LONGEST = 40
_VARIABLE = "_MXM_PIPELINE_COMPLETE"
# Where bash begins a new word, although the command line does not.
_BREAKS = "=:"


@dataclass(frozen=True)
class Offer:
    """One completion, with the attributes that Typer reads."""

    value: str
    help: str | None = None
    type: str = "plain"


def is_completing() -> bool:
    """Whether this process only answers a shell's Tab."""
    return _VARIABLE in os.environ


def complete_with(parameter: Any) -> None:
    """Make *parameter* of a verb complete to the values of its kind, if they are known."""
    offers = _OFFERS.get(parameter.name)
    if offers is None:
        return

    def shell_complete(ctx: Any, incomplete: str) -> list[Offer]:
        try:
            with _silent(), _rich_again():
                offered = [o if isinstance(o, Offer) else Offer(o) for o in offers(ctx, incomplete)]
        except BaseException as error:  # a project that cannot be imported offers nothing
            let_signals_pass(error)
            return []
        fitting = [offer for offer in offered if offer.value.startswith(incomplete)]
        return [Offer(offer.value[_said_by_bash:], offer.help) for offer in fitting]

    parameter.shell_complete = shell_complete


# How much of the word bash has put before the one that it completes.
_said_by_bash = 0


def join_words() -> None:
    """Join the words that bash cut at ``=`` and ``:``, such as ``-p mode=fast``, for Typer."""
    global _said_by_bash
    _said_by_bash = 0
    if is_completing():
        _without_rich()
    if os.environ.get(_VARIABLE) != "complete_bash" or "COMP_WORDS" not in os.environ:
        return
    try:
        words = os.environ["COMP_WORDS"].split("\n")
        at = int(os.environ["COMP_CWORD"])
    except ValueError:
        return
    joined: list[str] = []
    for word in words[: at + 1]:
        is_break = bool(word) and not word.strip(_BREAKS)
        after_break = bool(joined) and joined[-1].endswith(tuple(_BREAKS))
        if joined and (is_break or after_break):
            joined[-1] += word
        else:
            joined.append(word)
    last = joined[-1]
    _said_by_bash = max(last.rfind(mark) for mark in _BREAKS) + 1
    os.environ["COMP_WORDS"] = "\n".join(map(_quoted, joined))
    os.environ["COMP_CWORD"] = str(len(joined) - 1)


def _quoted(word: str) -> str:
    return word if word[:1] in "'\"" else shlex.quote(word) if word else ""


def _without_rich() -> None:
    """Let Typer print help as it is: rich loads slowly, and takes ``[EUR]`` for markup."""
    cast("dict[str, Any]", sys.modules)["rich"] = None


@contextlib.contextmanager
def _rich_again() -> Generator[None]:
    """Let the modules of a project import rich."""
    del sys.modules["rich"]
    try:
        yield
    finally:
        _without_rich()


def answer_the_first_tab() -> None:
    """Make Typer's file for zsh complete at the first Tab, which otherwise only loads the file."""
    file = os.path.expanduser("~/.zfunc/_mxm-pipeline")
    with contextlib.suppress(OSError):
        with open(file, encoding="utf-8") as installed:
            text = installed.read()
        if text.endswith("compdef _mxm_pipeline_completion mxm-pipeline"):
            with open(file, "a", encoding="utf-8") as more:
                more.write('\n[[ -n $CURRENT ]] && _mxm_pipeline_completion "$@"\n')


@contextlib.contextmanager
def _silent() -> Generator[None]:
    """Keep what the modules of a project print away from the shell."""
    kept = os.dup(1), os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        try:
            for number in (1, 2):  # also output of C code
                os.dup2(nowhere.fileno(), number)
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                yield
        finally:
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)


# What is known about the project's flows


def _catalogue() -> Mapping[str, Any]:
    """The flows by name: ``about``, ``tasks``, ``assets``, and ``params`` with their choices."""
    from mxm.pipeline.discovery.settings import working_directory
    from mxm.pipeline.store.places import distrust, has_store, store_of_file

    store = store_of_file()
    place = os.path.join(store, "completion.json")
    is_kept = has_store(store) and distrust(store) is None
    if is_kept and (kept := _read(place, working_directory())) is not None:
        return kept
    flows = _imported()
    if is_kept:
        _write(place, {"start": working_directory(), "seen": _seen(), "flows": flows})
    return flows


def _imported() -> dict[str, Any]:
    from mxm.pipeline.discovery.search import discover
    from mxm.pipeline.params.declared import parameters_of

    flows: dict[str, Any] = {}
    for entry in discover().flows:
        spec = entry.spec()
        assets = [task.produces.id for task in spec.tasks if task.produces is not None]
        flows[entry.name] = {
            "about": spec.doc.partition("\n")[0],
            "tasks": [task.name for task in spec.tasks],
            "assets": list(dict.fromkeys(assets)),
            "params": {p.name: _values(p) for p in parameters_of(spec)},
        }
    return flows


def _values(parameter: Parameter) -> list[str]:
    """What to offer for *parameter*: its choices, or its default, or the sources of text.

    Never a single value without its name: the shell would end the word after ``name=``.
    """
    from mxm.pipeline.values.examples import choices_of
    from mxm.pipeline.values.secrets import MASK

    if parameter.annotation is bool:
        return ["true", "false"]
    if choices := choices_of(parameter.annotation):
        return [str(choice) for choice in choices]
    default = parameter.default
    is_short = type(default) in (int, float, str) and len(str(default)) <= _LONGEST
    return ["", str(default) if is_short and str(default) != MASK else "@"]


def _seen() -> dict[str, Any]:
    """The files behind an answer, and their folders, with what shows that one changed."""
    from mxm.pipeline.discovery.load import is_librarys

    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    own = {file for file in files if file and file.endswith(".py") and not is_librarys(file)}
    start = os.getcwd()
    folders = {start, *(os.path.dirname(file) for file in own)}
    above = {os.path.join(folder, "pyproject.toml") for folder in _upwards(start)}
    return {path: _stat(path) for path in sorted(own | folders | above)}


def _upwards(folder: str) -> Iterator[str]:
    while True:
        yield folder
        if os.path.dirname(folder) == folder:
            return
        folder = os.path.dirname(folder)


def _stat(path: str) -> list[int] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    # A folder's size and time change with the files in it, which are what counts here.
    return [stat.st_mtime_ns, stat.st_size]


def _read(place: str, start: str) -> Mapping[str, Any] | None:
    try:
        with open(place, encoding="utf-8") as file:
            kept = json.load(file)
        is_same = kept["start"] == start and all(
            _stat(path) == seen for path, seen in kept["seen"].items()
        )
        return kept["flows"] if is_same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(place: str, document: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        part = f"{place}.{os.getpid()}"
        with open(part, "w", encoding="utf-8") as file:
            json.dump(document, file)
        os.replace(part, place)


# The kind of each parameter of a verb


def _flows(ctx: Any, incomplete: str) -> Iterable[Offer]:
    del ctx, incomplete
    return [Offer(name, flow["about"] or None) for name, flow in _catalogue().items()]


def _chosen(ctx: Any) -> list[Mapping[str, Any]]:
    """The flow that the command line names; all flows if it names no known flow."""
    flows = _catalogue()
    words: list[str] = ctx.meta["mxm.words"]  # an option without its value ends Typer's parsing
    return [flows[word] for word in words if word in flows] or list(flows.values())


def _params(ctx: Any, incomplete: str) -> Iterable[str]:
    name, equals, _ = incomplete.partition("=")
    params = {name: choices for flow in _chosen(ctx) for name, choices in flow["params"].items()}
    if equals:
        return [f"{name}={value}" for value in params.get(name, ()) if value]
    return [f"{name}={value}" for name, values in params.items() for value in values]


def _tasks(ctx: Any, incomplete: str) -> Iterable[str]:
    before = incomplete[: len(incomplete) - len(incomplete.lstrip("+0123456789"))]
    return [before + task for flow in _chosen(ctx) for task in flow["tasks"]]


def _assets(ctx: Any, incomplete: str) -> Iterable[str]:
    del ctx, incomplete
    return sorted({asset for flow in _catalogue().values() for asset in flow["assets"]})


def _runs(ctx: Any, incomplete: str) -> Iterable[Offer]:
    from mxm.pipeline.store.database import Database
    from mxm.pipeline.store.history import list_runs
    from mxm.pipeline.store.places import has_store, store_of_file

    del ctx, incomplete
    store = store_of_file()
    if not has_store(store):
        return []
    with Database(store) as database:
        rows = list_runs(database, last=20)
    return [Offer("last"), *(Offer(row["id"], f"{row['flow']} {row['state']}") for row in rows)]


def _codes(ctx: Any, incomplete: str) -> Iterable[str]:
    from mxm.pipeline.problems import CODES

    del ctx, incomplete
    return CODES


def _pages(ctx: Any, incomplete: str) -> Iterable[str]:
    from mxm.pipeline.cli.pages import pages

    del ctx, incomplete
    return pages()


def _some(*values: str) -> Callable[[Any, str], Iterable[str]]:
    return lambda _ctx, _incomplete: values


_OFFERS: Mapping[str, Callable[[Any, str], Iterable[str | Offer]]] = {
    "name": _flows,
    "names": _flows,
    "flow": _flows,
    "param": _params,
    "select": _tasks,
    "exclude": _tasks,
    "force_task": _tasks,
    "again": _tasks,
    "task": _tasks,
    "id": _assets,
    "codes": _codes,
    "page": _pages,
    "run": _runs,
    "one": _runs,
    "other": _runs,
    "backend": _some("prefect", "inline"),
    "runner": _some("sequential", "threads", "processes", "dask", "ray"),
    "every": _some("day", "weekday", "week", "month", "hour"),
    "state": _some("succeeded", "failed", "cancelled", "crashed", "running"),
}
"""By the name of the parameter in the function of its verb."""
