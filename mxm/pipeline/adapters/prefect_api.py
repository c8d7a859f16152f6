"""Answers Prefect's REST API in process; every use of private Prefect names is in this module.

Prefect's engines report each flow run to an API and have no mode without one (PrefectHQ/prefect
issue 15927). If no server is configured, a transport in this process answers their few calls:
nothing listens, nothing is spawned, nothing is stored. tests/test_prefect_contract.py compares
these answers with a real server's.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib
import io
import logging
import os
import ssl
import sys
import threading
import tomllib
import uuid
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import TimeoutError as LateError
from contextlib import ExitStack, contextmanager
from contextvars import Context, ContextVar
from typing import Any, cast

from pydantic import ValidationError

from mxm.pipeline.adapters.prefect_fit import (
    known_prefect,
    require,
    require_parameters,
    unfit,
)
from mxm.pipeline.errors import BackendError, EngineMissingError, described
from mxm.pipeline.execution.openfiles import files_hint
from mxm.pipeline.introspection.shadows import shadow_hint
from mxm.pipeline.process.logs import current_task
from mxm.pipeline.values.validation import SecretStr

__all__ = [
    "in_process",
    "quiet",
    "refusal_in",
    "run_flow",
    "run_task",
    "server_url",
    "session",
    "unreachable",
]


def _import_prefect() -> None:
    """Import Prefect without its first-use notice, its telemetry and its home folder.

    Raises
    ------
    EngineMissingError
        Prefect is not installed.
    BackendError
        Its configuration is invalid.
    """
    log = logging.getLogger()
    handlers, level = log.handlers[:], log.level
    home = os.environ.get("PREFECT_HOME") or os.path.expanduser("~/.prefect")
    had_home = os.path.exists(home)
    tracked = os.environ.get("DO_NOT_TRACK")
    os.environ["DO_NOT_TRACK"] = "1"
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Failed to create the Prefect home")
            with contextlib.redirect_stderr(io.StringIO()) as captured:
                importlib.import_module("prefect")
            # Its main module sets up logging, which would otherwise happen with the first flow.
            with _few_settings_written(), _handlers_kept():
                importlib.import_module("prefect.main")
            sys.stderr.write(captured.getvalue())  # if this fails, our own error is one line
    except ModuleNotFoundError as error:
        shadow = shadow_hint()
        if shadow is not None:
            raise EngineMissingError(f"Prefect cannot be imported: {error}", hint=shadow) from error
        if error.name != "prefect":  # one of its modules or dependencies
            raise unfit("cannot be imported", error) from error
        raise EngineMissingError(
            "Prefect is not installed",
            hint="pip install 'mxm-pipeline[prefect]', or run with --backend inline",
        ) from None
    except (OSError, ValueError) as error:  # pydantic's and tomllib's are ValueErrors
        raise BackendError(
            f"Prefect cannot be configured: {_why_unusable(error, home)}",
            hint=files_hint(error) or "fix it, or run with --backend inline",
        ) from error
    except Exception as error:  # with other versions of its dependencies
        raise unfit("cannot be imported", error) from error
    finally:
        if tracked is None:
            del os.environ["DO_NOT_TRACK"]
        else:
            os.environ["DO_NOT_TRACK"] = tracked
        if not had_home:
            try:
                os.rmdir(home)  # made by the import, and empty
            except OSError:
                pass
    # Its setup replaces the root logger's handlers with its own: move those to its own logger, and
    # give the host program its handlers back.
    engine = logging.getLogger("prefect")
    for handler in [h for h in log.handlers if h not in handlers]:
        engine.addHandler(handler)
    log.handlers[:] = handlers
    log.setLevel(level)


def _why_unusable(error: OSError | ValueError, home: str) -> str:
    """The variable or file that caused *error*, and what is wrong with it."""
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ValidationError):
        invalid = error.errors()[0]
        variables = [
            name
            for name, value in os.environ.items()
            if name.startswith("PREFECT_") and value.upper() == str(invalid["input"]).upper()
        ]
        setting = ".".join(map(str, invalid["loc"])).upper()
        place = variables[0] if variables else f"{setting} in its profile or settings file"
        return f"{place} is {invalid['input']!r}: {invalid['msg']}"
    profiles = os.environ.get("PREFECT_PROFILES_PATH") or os.path.join(home, "profiles.toml")
    for path in (profiles, "prefect.toml", "pyproject.toml"):
        try:
            with open(path, "rb") as file:
                tomllib.load(file)
        except OSError:
            continue
        except ValueError as wrong:
            return f"{path}: {wrong}"
    return described(error)


@contextmanager
def _few_settings_written() -> Generator[None, None, None]:
    """Let Prefect's logging setup expand only the settings that its file names, not all 300.

    Expanding all of them takes a tenth of the import, and longer if the stack is deep.
    """
    try:
        configuration: Any = importlib.import_module("prefect.logging.configuration")
        real = configuration.get_current_settings
    except (ImportError, AttributeError):  # another Prefect version: accept the delay
        yield
        return
    configuration.get_current_settings = lambda: _FewSettings(real())
    try:
        yield
    finally:
        configuration.get_current_settings = real


@contextmanager
def _handlers_kept() -> Generator[None, None, None]:
    """Keep Prefect's logging setup from closing the handlers that exist.

    A closed `MemoryHandler` of a user's module would lose what it gets later.
    """
    names: Any = getattr(logging, "_handlers", {})
    in_order: list[Any] = getattr(logging, "_handlerList", [])  # flushed at exit
    by_name, before = dict(names), in_order[:]
    names.clear()
    in_order.clear()
    try:
        yield
    finally:
        names.update(by_name)
        in_order[:0] = before


class _FewSettings:
    """The settings *every*, expanded only as far as Prefect's own logging.yml names them."""

    def __init__(self, every: Any) -> None:
        self._every = every

    def to_environment_variables(self, **options: Any) -> Mapping[str, str]:
        every = self._every
        named: dict[str, str] = {}
        with contextlib.suppress(AttributeError):  # other Prefect versions keep them elsewhere
            named["PREFECT_LOGGING_LEVEL"] = every.logging.level
            named["PREFECT_SERVER_LOGGING_LEVEL"] = every.server.logging_level
            named["PREFECT_INTERNAL_LOGGING_LEVEL"] = every.internal.logging_level
        # The user's own file may name any of them.
        return _Written(named, lambda: every.to_environment_variables(**options))


class _Written(dict[str, str]):
    def __init__(self, named: Mapping[str, str], rest: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(named)
        self._rest = rest

    def __missing__(self, name: str) -> str:
        self.update(self._rest())
        if name not in self:
            raise KeyError(name)
        return self[name]


_import_prefect()

with known_prefect():
    import httpx
    import prefect
    import prefect._internal.analytics as analytics
    import prefect._internal.concurrency.threads as engine_threads
    import prefect.flow_engine as flow_engine
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import TaskRunResult
    from prefect.context import (
        AsyncClientContext,
        FlowRunContext,
        SettingsContext,
        SyncClientContext,
        TagsContext,
        TaskRunContext,
        get_settings_context,
    )
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker
    from prefect.settings import PREFECT_API_URL
    from prefect.task_engine import run_task_sync

from mxm.pipeline.adapters.prefect_answers import TO_SERVER, Answers  # noqa: E402

_DRAIN_S = 10
_DROP_S = 1

_URL = "http://mxm-pipeline.invalid/api"


# For worker processes, where nothing answers; users see it in Prefect's messages.
_NO_SERVER_SCHEME = "none://"
_NO_SERVER = f"{_NO_SERVER_SCHEME}set-PREFECT_API_URL-to-a-running-server"


def server_url() -> str | None:
    """The server that the environment or the active Prefect profile names, or None."""
    url: str | None = PREFECT_API_URL.value()
    return None if url == _NO_SERVER else url or None


def unreachable(error: BaseException) -> str | None:
    """A hint if *error* means that the configured server does not answer; else None."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, httpx.TransportError):
        cause = cause.__cause__ or cause.__context__
    url = server_url()
    if cause is None or url is None:
        return None
    named, unset = "PREFECT_API_URL", "unset it"
    if not os.environ.get(named):
        named = f"{named} of Prefect's profile {get_settings_context().profile.name!r}"
        unset = "prefect config unset PREFECT_API_URL"
    return f"{url} comes from {named}: start that server, or {unset} to run without one"


@contextmanager
def session(*, engine_logs: bool = False, workers: bool = False) -> Generator[None, None, None]:
    """Run within this block at the configured server, or with the API answered in process.

    Settings change in this context only, and are restored when it ends.

    Parameters
    ----------
    engine_logs
        Whether Prefect's own log lines reach the console.
    workers
        Whether tasks run in worker processes.
    """
    with ExitStack() as stack:
        stack.enter_context(quiet(engine_logs=engine_logs))
        if server_url() is None:
            stack.enter_context(in_process())
            if workers:
                stack.enter_context(_no_server_in_workers())
        else:
            # It would cost every run a second: its thread sleeps, and Prefect waits for it.
            profile, settings = _settings(_NO_HEARTBEAT)
            stack.enter_context(SettingsContext(profile=profile, settings=settings))
            # Threads send task states and logs to the server: wait for them here, or they are lost
            # when the process ends.
            stack.callback(EventsWorker.drain_all, timeout=_DRAIN_S)
            stack.callback(APILogWorker.drain_all, timeout=_DRAIN_S)
        yield


def run_flow(flow: prefect.Flow[..., Any], params: Mapping[str, Any]) -> prefect.State[Any]:
    """Run *flow* in Prefect's flow engine; return its final state.

    A plain call of the flow would treat some parameter names as its own keywords.
    """
    try:
        return cast(
            "prefect.State[Any]",
            flow_engine.run_flow(flow, parameters={**params}, return_type="state"),
        )
    finally:
        _let_go()


def _let_go() -> None:
    """Wait until the thread of Prefect's event loop has dropped this run's context.

    It hands over the flow's state before its last callbacks, which hold the context, and with it
    the tasks and their modules. If Python ended before them, the module would never be freed, and a
    file that only the module holds would lose its last lines.
    """
    if engine_threads._run_sync_loop is None or engine_threads.in_run_sync_loop():  # pyright: ignore[reportPrivateUsage]
        return
    loop = engine_threads.get_run_sync_loop().loop
    if loop is not None:
        # In a context of its own, which is empty. It comes after all that is queued so far.
        following = Context().run(asyncio.run_coroutine_threadsafe, _three_rounds(), loop)
        with contextlib.suppress(LateError):  # user code blocks the loop
            following.result(_DROP_S)


async def _three_rounds() -> None:
    for _ in range(3):  # one for each future between the flow's state and the last callback
        await asyncio.sleep(0)


def run_task(
    task: prefect.Task[..., Any],
    call: Any,
    *,
    run_id: uuid.UUID | None = None,
    inputs: Mapping[str, Sequence[uuid.UUID]] | None = None,
) -> prefect.State[Any]:
    """Run *call* as a run of *task* in Prefect's task engine; return its final state.

    Parameters
    ----------
    task
        A task whose function takes ``call``.
    call
        Its argument, which Prefect does not inspect.
    run_id, inputs
        For display at a server: the run's id, and for each parameter the runs whose results it
        takes.
    """
    shown = inputs or {}
    return cast(
        "prefect.State[Any]",
        run_task_sync(
            task,
            task_run_id=run_id,
            parameters={"call": call, **dict.fromkeys(shown)},
            dependencies={k: _results(ids) for k, ids in shown.items()},
            return_type="state",
        ),
    )


def refusal_in(error: BaseException | None) -> BackendError | None:
    """The unanswered API call that made Prefect raise *error*, if any."""
    cause = error
    while cause is not None and type(cause).__module__.startswith("prefect."):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, BackendError):
        return cause
    # A worker process sends the traceback as text.
    notes = getattr(error, "__notes__", ())
    if any(isinstance(note, str) and _NO_SERVER_SCHEME in note for note in notes):
        refusal = BackendError(
            "Prefect called its API in a worker process, where no API answers", hint=TO_SERVER
        )
        refusal.__cause__ = error
        return refusal
    return None


def _results(ids: Sequence[uuid.UUID]) -> set[Any]:
    # Frozen, and so hashable, because of its pydantic configuration.
    return {cast("Any", TaskRunResult(id=i)) for i in ids}


@contextmanager
def in_process() -> Generator[None, None, None]:
    """Prefect's engines with this process answering their API, outside any parent run."""
    with ExitStack() as stack:
        # Our run inside another run (Prefect's or ours) is independent: the parent's API does not
        # know it.
        for context in (FlowRunContext, TaskRunContext, SyncClientContext):
            variable: ContextVar[Any] = context.__var__
            stack.callback(variable.reset, variable.set(None))
        stack.enter_context(TagsContext(current_tags=set()))
        profile, settings = _settings(_IN_PROCESS)
        named = _replaced(settings, {"api.url": _URL})
        stack.enter_context(SettingsContext(profile=profile, settings=named))
        api = Answers()
        stack.enter_context(_sync_client(api))
        asynchronous: ContextVar[Any] = AsyncClientContext.__var__
        stack.callback(asynchronous.reset, asynchronous.set(_AsyncClient(api)))
        # With a key and without a URL, Prefect does not even build events.
        stack.enter_context(SettingsContext(profile=profile, settings=settings))
        yield


_NO_HEARTBEAT: dict[str, Any] = {"flows.heartbeat_frequency": None}
_IN_PROCESS: dict[str, Any] = {
    **_NO_HEARTBEAT,
    "api.url": None,
    "api.key": SecretStr("none"),
    "logging.to_api.enabled": False,
    "client.server_version_check_enabled": False,
    "client.csrf_support_enabled": False,
    "server.ephemeral.enabled": False,
}
# Without this the client would load the system's certificates, which it does not need.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _settings(changes: Mapping[str, Any]) -> tuple[Any, Any]:
    """The current profile, and the current settings with *changes*.

    Both are copies, because Prefect's own `temporary_settings` takes 22 ms to read all settings
    again.
    """
    context = get_settings_context()
    return context.profile, _replaced(context.settings, changes)


def _replaced(settings: Any, changes: Mapping[str, Any]) -> Any:
    for path, value in changes.items():
        head, _, rest = path.partition(".")
        require(type(settings), head)  # a copy would accept any name
        inner = _replaced(getattr(settings, head), {rest: value}) if rest else value
        settings = settings.model_copy(update={head: inner})
    return settings


def _sync_client(api: Answers) -> SyncClientContext:
    context = SyncClientContext(httpx_settings=_answered(api))
    # get_client() returns the context's client only if its settings equal the requested ones.
    context._httpx_settings = None  # pyright: ignore[reportPrivateUsage]
    # httpx would log each request as sent.
    with known_prefect():
        client = context.client._client  # pyright: ignore[reportPrivateUsage]
        require(client, "send")
        vars(client)["send"] = api.answer
    return context


class _AsyncClient:
    """Replaces Prefect's `AsyncClientContext`; few runs ask for its client."""

    _httpx_settings = None

    def __init__(self, api: Answers) -> None:
        self._api = api

    @functools.cached_property
    def client(self) -> PrefectClient:
        """The client that Prefect's `get_client` returns."""
        return _AnyLoopClient(self._api)


class _AnyLoopClient(PrefectClient):
    """Prefect's async client; it never waits, so it works in any event loop."""

    def __init__(self, api: Answers) -> None:
        super().__init__(_URL, httpx_settings=_answered(api))
        with known_prefect():
            require(self, "_started", "_context_stack", "_loop")
            require(self._client, "send")
        vars(self._client)["send"] = api.answer_async
        self._started = True  # and never closed
        self._context_stack = 1

    def __getattribute__(self, name: str) -> Any:
        return _running_loop() if name == "_loop" else super().__getattribute__(name)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _answered(api: Answers) -> dict[str, Any]:
    return {"transport": httpx.MockTransport(api.answer), "verify": _NO_TLS}


_OFF = logging.CRITICAL + 1


class _Shared:
    """A process-wide change that stays in place as long as any run needs it.

    Parameters
    ----------
    change
        Makes the change; closing the stack passed to it undoes the change.
    """

    def __init__(self, change: Callable[[ExitStack], None]) -> None:
        self._change = change
        self._undo = ExitStack()
        self._lock = threading.Lock()
        self._depth = 0

    @contextmanager
    def __call__(self) -> Generator[None, None, None]:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                try:
                    self._change(self._undo)
                except BaseException:  # the next run tries again from the start
                    self._depth = 0
                    self._undo.close()
                    raise
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1
                if self._depth == 0:
                    self._undo.close()


def _replace(undo: ExitStack, target: Any, name: str, value: Any) -> None:
    with known_prefect():
        before = getattr(target, name)
    undo.callback(setattr, target, name, before)
    setattr(target, name, value)


def _silence(undo: ExitStack) -> None:
    # The second one, used by its background threads, has its own handlers.
    for name in ("prefect", "prefect._internal"):
        log = logging.getLogger(name)
        # With a server, records must still be made: their own handlers send them.
        if server_url() is None:
            undo.callback(log.setLevel, log.level)
            log.setLevel(_OFF)
        _replace(undo, log, "propagate", False)
        _replace(undo, log, "handlers", [_TasksLines()])
    if server_url() is None:
        for name in ("prefect.task_runs", "prefect.flow_runs"):
            log = logging.getLogger(name)
            undo.callback(vars(log).pop, "isEnabledFor")
            vars(log)["isEnabledFor"] = _is_for_task


def _is_for_task(level: int) -> bool:
    # Do not even create the engine's own records: they take a quarter of a task's time.
    return current_task() is not None and logging.getLogger().isEnabledFor(level)


class _TasksLines(logging.Handler):
    """Passes on only what a task logs with Prefect's ``get_run_logger``."""

    def emit(self, record: logging.LogRecord) -> None:
        task, root = current_task(), logging.getLogger()
        if (
            task is None
            or record.pathname.startswith(_ENGINE)
            or not root.isEnabledFor(record.levelno)
        ):
            return
        record.mxm_flow, record.mxm_task = task
        root.handle(record)


_ENGINE = os.path.dirname(prefect.__file__) + os.sep


def _keep_from_servers(undo: ExitStack) -> None:
    # Without an address, an API call there would start a server that outlives the run.
    for name, value in (("PREFECT_API_URL", _NO_SERVER), ("DO_NOT_TRACK", "1")):
        before = os.environ.get(name)
        if before:
            undo.callback(os.environ.__setitem__, name, before)
        else:
            undo.callback(os.environ.pop, name, None)
        os.environ[name] = value


def _marks_nothing(milestone: str) -> bool:  # noqa: ARG001 - the signature of what it replaces
    return False


def _hold_back(undo: ExitStack) -> None:
    # On a terminal it writes to the home folder and sends data, whatever the settings say.
    _replace(undo, analytics, "try_mark_milestone", _marks_nothing)
    # Its SIGTERM handler would run before ours, and is meant for Prefect's own runner.
    _replace(undo, flow_engine, "capture_sigterm", contextlib.nullcontext)


_silenced = _Shared(_silence)
_held_back = _Shared(_hold_back)
_no_server_in_workers = _Shared(_keep_from_servers)


@contextmanager
def quiet(*, engine_logs: bool = False) -> Generator[None, None, None]:
    """Turn off Prefect's first-use telemetry, its signal handler and most of its console lines.

    Parameters
    ----------
    engine_logs
        Whether the lines are shown.
    """
    with _held_back(), contextlib.nullcontext() if engine_logs else _silenced():
        yield


def _probe() -> None:
    """Check every other name that this module uses, before Prefect runs anything."""
    for context in (FlowRunContext, TaskRunContext, SyncClientContext, AsyncClientContext):
        require(context, "__var__")
    require(SyncClientContext, "client", "_httpx_settings")
    require_parameters(SyncClientContext, "httpx_settings")
    require_parameters(PrefectClient, "httpx_settings")
    require(TagsContext, "current_tags")
    require(SettingsContext, "profile", "settings")
    require(TaskRunResult, "id")
    require_parameters(run_task_sync, "task_run_id", "parameters", "dependencies", "return_type")
    require_parameters(flow_engine.run_flow, "parameters", "return_type")
    require(flow_engine, "capture_sigterm")
    require(analytics, "try_mark_milestone")
    require(engine_threads, "_run_sync_loop", "in_run_sync_loop", "get_run_sync_loop")
    require(engine_threads.EventLoopThread, "loop")
    for worker in (EventsWorker, APILogWorker):
        require_parameters(worker.drain_all, "timeout")
    _settings({**_IN_PROCESS, "api.url": _URL})


with known_prefect():
    _probe()
