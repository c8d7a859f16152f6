"""`doctor`: what is installed and configured, whether it works, and what to do if it does not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import typer

from mxm.pipeline.adapters.answering import ask_server, require_port, shown_url
from mxm.pipeline.cli.command import AsJson, Verb, verb_app
from mxm.pipeline.cli.output import ExitCode, print_json, say
from mxm.pipeline.discovery.settings import Settings, read_settings, working_directory
from mxm.pipeline.errors import PipelineError, described
from mxm.pipeline.execution.options import RunOptions
from mxm.pipeline.introspection.shadows import shadows_in
from mxm.pipeline.problems import shown_path
from mxm.pipeline.process.printable import in_one_line
from mxm.pipeline.store.places import distrust, has_store, store_of_file
from mxm.pipeline.timing.zones import local_zone, zone_named
from mxm.pipeline.version import __version__

__all__ = ["app"]

app: typer.Typer = verb_app()

State = Literal["ok", "note", "wrong"]


@dataclass(frozen=True)
class _Finding:
    """What one check found.

    Parameters
    ----------
    what
        The thing, in a word or two.
    state
        ``ok``; ``note`` for something that may be missing on purpose; ``wrong``.
    text
        The state in words, or what is wrong.
    hint
        The fix.
    """

    what: str
    state: State
    text: str
    hint: str | None = None


@app.command(cls=Verb)
def doctor(
    runner: Annotated[
        str | None,
        typer.Option(
            "--runner",
            metavar="NAME",
            help="Check that runs with this runner can work; default: [tool.mxm.pipeline].",
        ),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            "--address",
            metavar="URL",
            help="Join the cluster at this address; default: [tool.mxm.pipeline].",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check what is installed and configured; exit 1 if something is wrong."""
    chosen = _chosen(runner, address)
    all_findings: list[_Finding] = []

    def clusters() -> Iterator[_Finding]:
        return _clusters(*chosen)

    for check in (*_CHECKS, clusters):
        try:
            findings = list(check())
        except PipelineError as error:
            findings = [_Finding(_name(check), "wrong", error.message, error.hint)]
        except Exception as error:  # a broken installation may raise anything
            findings = [_Finding(_name(check), "wrong", described(error))]
        all_findings += findings
        if not as_json:
            for finding in findings:
                _say(finding)
    is_well = all(finding.state != "wrong" for finding in all_findings)
    if as_json:
        checks = [asdict(finding) for finding in all_findings]
        print_json({"schema": "mxm.doctor/1", "ok": is_well, "checks": checks})
    if not is_well:
        raise typer.Exit(ExitCode.FAILED)


def _name(check: Callable[[], object]) -> str:
    return check.__name__.strip("_").replace("_", " ")


def _say(finding: _Finding) -> None:
    say(in_one_line(f"{finding.state:5}  {finding.what:12}  {finding.text}"))
    if finding.hint:
        for line in finding.hint.splitlines():
            say(f"{'':21}{in_one_line(line.strip())}")


# What is installed


def _python() -> Iterator[_Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield _Finding("python", "ok", f"{version} at {sys.executable}")


def _mxm_pipeline() -> Iterator[_Finding]:
    installed = _version("mxm-pipeline")
    folder = shown_path(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    if installed is None:
        yield _Finding("mxm-pipeline", "note", f"{__version__} from {folder}, not installed")
    elif installed != __version__:
        yield _Finding(
            "mxm-pipeline",
            "wrong",
            f"{__version__} from {folder}, and the installed one is {installed}",
            "pip install --force-reinstall mxm-pipeline, or -e . in its clone",
        )
    else:
        yield _Finding("mxm-pipeline", "ok", f"{__version__} from {folder}")


_LIBRARIES = ("pydantic", "typer", "pandas", "polars", "pyarrow")


def _libraries() -> Iterator[_Finding]:
    versions = {name: _version(name) for name in _LIBRARIES}
    text = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    missing = ", ".join(name for name, version in versions.items() if not version)
    more = f"; not installed: {missing}" if missing else ""
    yield _Finding("libraries", "ok", f"{text}{more}")


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


# What is configured


def _settings() -> Iterator[_Finding]:
    settings = read_settings(working_directory())
    if settings.file is None:
        yield _Finding("settings", "note", "no [tool.mxm.pipeline] from here upwards")
        return
    options = ", ".join(f"{name} = {value!r}" for name, value in settings.options.items())
    yield _Finding("settings", "ok", f"{shown_path(settings.file)}{options and ': '}{options}")


def _settings_or_none() -> Settings:
    try:
        return read_settings(working_directory())
    except PipelineError:  # reported separately
        return Settings(working_directory())


def _store() -> Iterator[_Finding]:
    store = store_of_file()
    place = shown_path(store)
    why = distrust(store)
    if why is not None:
        yield _Finding("store", "wrong", f"{place}: {why}, so its values are not read", "chmod it")
    elif has_store(store):
        from mxm.pipeline.store.database import Database

        with Database(store) as database:
            rows = database.read("SELECT count(*) AS count FROM run")
        yield _Finding("store", "ok", f"{place}, {rows[0]['count']:,} runs")
    else:
        above = store
        while not os.path.exists(above):
            above = os.path.dirname(above)
        if os.access(above, os.W_OK):
            yield _Finding("store", "ok", f"{place}, which the first run makes")
        else:
            yield _Finding(
                "store", "wrong", f"{place} cannot be made", "set MXM_HOME to a folder of yours"
            )


def _time_zones() -> Iterator[_Finding]:
    zone_named("Europe/London")
    here = local_zone()
    if here is None:
        yield _Finding(
            "time zones",
            "wrong",
            "this machine's zone has no name, and schedules need one",
            "set TZ, such as TZ=Europe/London, or timezone= of each scheduled flow",
        )
    else:
        yield _Finding("time zones", "ok", f"this machine is in {here}")


def _shadows() -> Iterator[_Finding]:
    settings = _settings_or_none()
    folders = dict.fromkeys((working_directory(), *settings.import_paths))
    hiding = list(shadows_in(folders))
    ours = os.path.realpath(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    for folder in folders:
        for name in ("mxm.py", os.path.join("mxm", "__init__.py")):
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.realpath(path).startswith(ours + os.sep):
                hiding.append(("mxm", path))
    for name, path in hiding:
        yield _Finding(
            "shadows",
            "wrong",
            f"{shown_path(path)} has the name of module {name!r}, and may replace it",
            f"rename it, and remove its __pycache__ in {shown_path(os.path.dirname(path))}",
        )
    if not hiding:
        yield _Finding("shadows", "ok", "no file here hides an installed module")


# Prefect


# As in pyproject.toml, which gives the reasons.
_RANGES = {"prefect": ((3, 8, 7), (3, 10)), "fastapi": ((0, 139), (0, 151))}
_INSTALL = "pip install 'prefect>=3.8.7,<3.10' 'fastapi>=0.139,<0.151'"

_PROBE = """
import json, sys
from mxm.pipeline.errors import PipelineError
try:
    from mxm.pipeline.adapters import prefect_api
    answer = {"url": prefect_api.server_url()}
except PipelineError as error:
    answer = {"error": error.message, "hint": error.hint}
sys.stdout.write("\\n" + json.dumps(answer))
"""
_PROBE_S = 60


def _prefect() -> Iterator[_Finding]:
    version = _version("prefect")
    if version is None:
        backend = _settings_or_none().options.get("backend")
        is_needed = backend in (None, "prefect")
        yield _Finding(
            "prefect",
            "wrong" if is_needed else "note",
            "not installed" + (", and it is the backend of runs" if is_needed else ""),
            "pip install 'mxm-pipeline[prefect]'"
            + ('; or backend = "inline" in [tool.mxm.pipeline]' if is_needed else ""),
        )
        return
    for name, (least, below) in _RANGES.items():
        installed = _version(name)
        if installed is None or not least <= _numbers(installed) < below:
            text = f"{name} {installed}" if installed else f"{name} is not installed"
            yield _Finding(name, "wrong", f"{text} does not work here", _INSTALL)
            return
    probed = _probed()
    if "error" in probed:
        yield _Finding("prefect", "wrong", probed["error"], probed.get("hint") or _INSTALL)
        return
    yield _Finding("prefect", "ok", f"{version}, with fastapi {_version('fastapi')}")
    yield _api(probed["url"], version)


def _api(url: str | None, version: str) -> _Finding:
    what = "prefect API"
    if url is None:
        return _Finding(what, "ok", "answered in process: no server is configured")
    try:
        server = ask_server(url)
    except PipelineError as error:
        return _Finding(what, "wrong", error.message, error.hint)
    text = f"{shown_url(url)} answers, version {server.version or 'unknown'}"
    if server.version and _numbers(server.version)[:2] != _numbers(version)[:2]:
        return _Finding(
            what,
            "wrong" if _numbers(server.version)[:1] != _numbers(version)[:1] else "note",
            f"{text}; Prefect here is {version}",
            f"use the same version on both: pip install 'prefect=={server.version}'",
        )
    return _Finding(what, "ok", text)


def _probed() -> dict[str, Any]:
    """The API that Prefect would use, from another process: its import may fail or hang."""
    return _asked(_PROBE)


def _asked(script: str, *arguments: str) -> dict[str, Any]:
    """What *script* answers in another process; ``error`` says why it gives no answer."""
    try:
        ran = subprocess.run(  # noqa: S603 - this Python
            [sys.executable, "-P", "-c", script, *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _import_path()))},
            capture_output=True,
            text=True,
            timeout=_PROBE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"does not answer within {_PROBE_S} s"}
    last = ran.stdout.rpartition("\n")[2]
    if not last.startswith("{"):
        return {"error": f"does not work here: {ran.stderr.strip().rpartition(chr(10))[2]}"}
    answer: dict[str, Any] = json.loads(last)
    return answer


def _import_path() -> list[str]:
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))
    return [ours, os.environ.get("PYTHONPATH", "")]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


# Clusters


_CLUSTERS = {"dask": "distributed", "ray": "ray"}


def _chosen(runner: str | None, address: str | None) -> tuple[str | None, str | None]:
    """The runner and the address to check: those asked for, else the project's.

    Raises
    ------
    BackendError
        They do not go together.
    """
    options = _settings_or_none().options
    own_runner, own_address = options.get("runner"), options.get("address")
    if runner is None and isinstance(own_runner, str):
        runner = own_runner
    if address is None and runner == own_runner and isinstance(own_address, str):
        return runner, own_address
    RunOptions(runner=runner or "sequential", address=address)
    return runner, address


def _clusters(runner: str | None, address: str | None) -> Iterator[_Finding]:
    for name, distribution in _CLUSTERS.items():
        version = _version(distribution)
        is_needed = runner == name
        if version is None:
            state: State = "wrong" if is_needed else "note"
            why = ", and it is the runner" if is_needed else ""
            hint = f"pip install 'mxm-pipeline[{name}]'" if is_needed else None
            yield _Finding(name, state, f"not installed{why}", hint)
        else:
            yield _Finding(name, "ok", f"{distribution} {version}")
    if address is not None:
        require_port(address)
        if runner is None or _version(_CLUSTERS.get(runner, "mxm-pipeline")) is None:
            return
        joined = _asked(_JOIN, runner, address)
        if "error" in joined:
            yield _Finding("cluster", "wrong", joined["error"], joined.get("hint"))
        else:
            text = f"{runner} at {address} has the Python and the mxm-pipeline of this process"
            yield _Finding("cluster", "ok", text)


# Joins it as a run does, but in another process: the other side may hang, or be something else.
_JOIN = """
import importlib, json, sys
from mxm.pipeline.errors import PipelineError
from mxm.pipeline.execution.options import RunOptions, place_target
from mxm.pipeline.spec import FlowSpec, TaskSpec
try:
    options = RunOptions(runner=sys.argv[1], address=sys.argv[2], workers=1)
    module, _, name = place_target(options.runner).partition(":")
    place = getattr(importlib.import_module(module), name)
    place(FlowSpec("doctor", [TaskSpec("nothing", int)]), options).leave()
    answer = {}
except PipelineError as error:
    answer = {"error": error.message, "hint": error.hint}
sys.stdout.write("\\n" + json.dumps(answer))
"""


_CHECKS: tuple[Callable[[], Iterator[_Finding]], ...] = (
    *(_python, _mxm_pipeline, _libraries, _settings, _store, _time_zones, _shadows),
    _prefect,
)
