"""Deployments at a Prefect server: made, removed, and served from this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, cast

# First: it imports Prefect, and says what to install if it is missing.
from mxm.pipeline.adapters import prefect_api, prefect_fit  # isort: skip

with prefect_fit.known_prefect():
    import prefect
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
    from prefect.deployments.runner import RunnerDeployment
    from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
    from prefect.runner import Runner
    from prefect.types.entrypoint import EntrypointType
    from prefect.utilities.callables import parameter_schema

from mxm.pipeline.adapters.answering import ask_server, shown_url
from mxm.pipeline.adapters.deployment_names import target_in
from mxm.pipeline.adapters.prefect_adapter import build_prefect_flow, prefect_name
from mxm.pipeline.adapters.prefect_leaving import REFERENCE
from mxm.pipeline.errors import BackendError, PipelineError, described
from mxm.pipeline.params.declared import parameters_of, secret_names
from mxm.pipeline.problems import did_you_mean
from mxm.pipeline.spec import FlowSpec

__all__ = [
    "Deployment",
    "Made",
    "deploy",
    "document_of",
    "require_server",
    "schema_of",
    "serve",
    "undeploy",
]

_SLUG = "mxm"  # of the schedule that is ours
_TAG = "mxm"


@dataclass(frozen=True)
class Deployment:
    """A flow as a server is to run it.

    Parameters
    ----------
    spec
        The flow.
    entrypoint
        Where its run begins.
    name
        The name of the deployment, beside the flow's.
    cron, timezone
        Its schedule; None for none.
    interval_s
        In place of them, the seconds between two runs.
    parameters
        Values for its runs, as JSON; secrets by reference.
    pull_steps
        What makes the code ready where the run is.
    job_variables
        For the work pool: image, environment.
    """

    spec: FlowSpec
    entrypoint: str
    name: str
    cron: str | None = None
    timezone: str | None = None
    interval_s: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pull_steps: Sequence[Mapping[str, Any]] = ()
    job_variables: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def full_name(self) -> str:
        """As Prefect names it: ``flow/deployment``."""
        return f"{prefect_name(self.spec.name)}/{self.name}"


@dataclass(frozen=True)
class Made:
    """A deployment at the server.

    Parameters
    ----------
    name, id
        Its name with its flow's, and its id.
    is_new
        Whether it was not there before.
    is_paused
        Whether somebody has paused it, or its schedule, at the server; that stays.
    has_worker
        Whether a worker polls its work pool.
    replaced
        The target that it had before, if that was another one.
    """

    name: str
    id: str
    is_new: bool
    is_paused: bool
    has_worker: bool
    replaced: str | None = None


def require_server() -> str:
    """The address of the configured server, which answers.

    Raises
    ------
    BackendError
        None is configured, or it does not answer, or it is of another major version.
    """
    url = prefect_api.server_url()
    if url is None:
        raise BackendError(
            "no Prefect server is configured",
            hint="start one with `prefect server start`, and set "
            "PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    version = ask_server(url).version
    if version is not None and version.partition(".")[0] != prefect.__version__.partition(".")[0]:
        raise BackendError(
            f"the server at {shown_url(url)} runs Prefect {version}, but Prefect "
            f"{prefect.__version__} is installed here",
            hint="both must have the same major version; mxm-pipeline needs Prefect 3",
        )
    return shown_url(url)


def schema_of(spec: FlowSpec) -> dict[str, Any]:
    """The JSON schema of the parameters of *spec*; it refuses others, and secrets as plain text.

    Raises
    ------
    BackendError
        The flow needs a parameter whose name Prefect cannot pass.
    """
    flow = build_prefect_flow(spec)
    schema: dict[str, Any] = parameter_schema(flow).model_dump(exclude_unset=True)
    properties: dict[str, Any] = schema.setdefault("properties", {})
    properties.pop("extra", None)
    schema["required"] = [name for name in schema.get("required", ()) if name in properties]
    schema["additionalProperties"] = False
    for name in secret_names(spec) & properties.keys():
        kept = {k: v for k, v in properties[name].items() if k in ("title", "position")}
        properties[name] = {
            **kept,
            "type": "string",
            "pattern": REFERENCE,
            "description": "a secret, by reference: @env:NAME or @block:NAME",
        }
    for parameter in parameters_of(spec):
        if parameter.required and parameter.name not in properties:
            raise BackendError(
                f"flow {spec.name!r} needs {parameter.name!r}, a name that Prefect cannot pass",
                hint="give it another name, or a default",
            )
    return schema


def document_of(wanted: Deployment, pool: str | None) -> dict[str, Any]:
    """What would be sent to the server for *wanted*, as JSON; nothing is sent."""
    schedule: dict[str, Any] | None = None
    if wanted.cron is not None:
        schedule = {"cron": wanted.cron, "timezone": wanted.timezone}
    elif wanted.interval_s is not None:
        schedule = {"interval": wanted.interval_s}
    return {
        "name": wanted.full_name,
        "work_pool_name": pool,
        "entrypoint": wanted.entrypoint,
        "schedule": schedule,
        "parameters": dict(wanted.parameters),
        "parameter_openapi_schema": schema_of(wanted.spec),
        "pull_steps": [dict(step) for step in wanted.pull_steps],
        "job_variables": dict(wanted.job_variables),
    }


def deploy(wanted: Sequence[Deployment], pool: str) -> list[Made]:
    """Make the deployments *wanted* in the work pool *pool*, or change those that are there.

    Raises
    ------
    BackendError
        There is no such work pool, or the server refuses one of them.
    """
    _require_names(wanted)
    with prefect_api.quiet(), _client() as client:
        has_worker = _require_pool(client, pool, wanted)
        return [_made(client, each, pool, has_worker) for each in wanted]


def _require_names(wanted: Sequence[Deployment]) -> None:
    """Refuse two flows that Prefect would know by one name."""
    by_name: dict[str, Deployment] = {}
    for each in wanted:
        other = by_name.setdefault(each.full_name, each)
        if other is not each:
            raise BackendError(
                f"flows {other.spec.name!r} and {each.spec.name!r} would both be named "
                f"{prefect_name(each.spec.name)!r} at Prefect",
                hint="rename one: @mxm.flow(name=...)",
            )


@contextlib.contextmanager
def _client() -> Generator[Any]:
    try:
        with get_client(sync_client=True) as client:
            yield client
    except PipelineError:
        raise
    except PrefectHTTPStatusError as error:
        raise BackendError(f"the server refuses: {_detail(error)}") from error
    except Exception as error:
        raise BackendError(
            f"Prefect failed: {described(error)}", hint=prefect_api.unreachable(error)
        ) from error


def _detail(error: PrefectHTTPStatusError) -> str:
    try:
        detail: Any = error.response.json()
        return str(detail.get("detail") or detail.get("exception_message") or detail)
    except (ValueError, AttributeError):
        return described(error)


def _require_pool(client: Any, pool: str, wanted: Sequence[Deployment]) -> bool:
    """Check the work pool *pool*; return whether a worker polls it."""
    try:
        pool_there = client.read_work_pool(pool)
    except ObjectNotFound:
        names = [each.name for each in client.read_work_pools()]
        make = f"prefect work-pool create --type process {pool}"
        near = did_you_mean(pool, names)
        raise BackendError(
            f"there is no work pool {pool!r}",
            hint=f"{near}\n  or make it: {make}" if near else make,
        ) from None
    template: dict[str, Any] = pool_there.base_job_template or {}
    variables: dict[str, Any] = template.get("variables", {}).get("properties", {})
    for name in {name for each in wanted for name in each.job_variables}:
        if variables and name not in variables:
            raise BackendError(
                f"work pool {pool!r} is of type {pool_there.type!r}, which has no {name!r}",
                hint=f"it has: {', '.join(sorted(variables))}",
            )
    workers = client.read_workers_for_work_pool(pool)
    return any(str(getattr(w.status, "value", w.status)).upper() == "ONLINE" for w in workers)


def _made(client: Any, wanted: Deployment, pool: str, has_worker: bool) -> Made:
    try:
        before = client.read_deployment_by_name(wanted.full_name)
    except ObjectNotFound:
        before = None
    # A schedule that somebody paused at the server stays so, and theirs beside ours stay, too.
    others = [s for s in before.schedules if s.slug != _SLUG] if before else []
    ours = [s for s in before.schedules if s.slug == _SLUG] if before else []
    is_active = ours[0].active if ours else True
    schedules = [
        *_schedules(wanted, active=is_active),
        *(
            DeploymentScheduleCreate(schedule=s.schedule, active=s.active, slug=s.slug)
            for s in others
        ),
    ]
    flow_id = client.create_flow_from_name(prefect_name(wanted.spec.name))
    made = client.create_deployment(
        flow_id=flow_id,
        name=wanted.name,
        work_pool_name=pool,
        schedules=schedules,
        parameters=dict(wanted.parameters),
        description=wanted.spec.doc,
        tags=[_TAG],
        entrypoint=wanted.entrypoint,
        pull_steps=[dict(step) for step in wanted.pull_steps],
        parameter_openapi_schema=schema_of(wanted.spec),
        enforce_parameter_schema=True,
        job_variables=dict(wanted.job_variables),
    )
    is_paused = bool(before and before.paused) or not is_active
    earlier = before.entrypoint if before else None
    replaced = None
    if earlier and earlier != wanted.entrypoint:
        replaced = target_in(earlier.rpartition(".")[2])
    return Made(wanted.full_name, str(made), before is None, is_paused, has_worker, replaced)


def _schedules(wanted: Deployment, *, active: bool = True) -> list[DeploymentScheduleCreate]:
    schedule: Any = None
    if wanted.cron is not None:
        schedule = CronSchedule(cron=wanted.cron, timezone=wanted.timezone)
    elif wanted.interval_s is not None:
        schedule = IntervalSchedule(interval=timedelta(seconds=wanted.interval_s))
    if schedule is None:
        return []
    return [DeploymentScheduleCreate(schedule=schedule, active=active, slug=_SLUG)]


def undeploy(full_name: str) -> str:
    """Remove the deployment *full_name*, ``flow/deployment``; return its id.

    Active runs continue; scheduled ones are removed with it.

    Raises
    ------
    BackendError
        There is no deployment of this name.
    """
    with prefect_api.quiet(), _client() as client:
        try:
            deployment = client.read_deployment_by_name(full_name)
        except ObjectNotFound:
            flows = {flow.id: flow.name for flow in client.read_flows()}
            known = [f"{flows.get(d.flow_id, '?')}/{d.name}" for d in client.read_deployments()]
            raise BackendError(
                f"there is no deployment {full_name!r}", hint=did_you_mean(full_name, known)
            ) from None
        client.delete_deployment(deployment.id)
        return str(deployment.id)


def serve(wanted: Sequence[Deployment], *, at_once: int) -> int:
    """Run the flows *wanted* on schedule and on request until a signal comes; return its number.

    Then the runs are cancelled, and the schedules paused. A second signal ends the process at once.

    Parameters
    ----------
    wanted
        What to serve.
    at_once
        How many runs at most at the same time.

    Raises
    ------
    BackendError
        The server does not answer, or refuses one of them.
    """
    _require_names(wanted)
    with prefect_api.quiet(engine_logs=True):
        deployments = [_served(each) for each in wanted]
        try:
            return asyncio.run(_serving(deployments, at_once))
        except Exception as error:
            raise BackendError(
                f"Prefect failed: {described(error)}", hint=prefect_api.unreachable(error)
            ) from error


async def _serving(deployments: Sequence[RunnerDeployment], at_once: int) -> int:
    """Serve *deployments* until a signal comes; return its number."""
    runner: Any = Runner(name=f"mxm-pipeline-{os.getpid()}", limit=at_once, pause_on_shutdown=True)
    came: list[int] = []
    endings: list[asyncio.Task[None]] = []
    serving: list[asyncio.Future[Any]] = []

    async def end() -> None:
        while not (runner.started or all(one.done() for one in serving)):
            await asyncio.sleep(0.1)
        if runner.started:
            await runner.astop()  # which cancels the runs, and pauses the schedules

    def stop(number: int) -> None:
        came.append(number)
        if len(came) > 1:
            os._exit(128 + number)
        endings.append(asyncio.ensure_future(end()))

    def listen() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(number, stop, number)

    listen()
    made = [await runner.aadd_deployment(deployment) for deployment in deployments]
    if not came:
        serving.append(asyncio.ensure_future(runner.start()))
        await asyncio.sleep(0)
        listen()  # the start sets Prefect's own handler, which knows SIGTERM alone
        await serving[0]
    async with get_client() as client:  # again, where the runner had not begun
        for each in made:
            await client.pause_deployment(each)
    return came[0] if came else signal.SIGINT


def _served(wanted: Deployment) -> RunnerDeployment:
    made = RunnerDeployment(
        name=wanted.name,
        flow_name=prefect_name(wanted.spec.name),
        entrypoint=wanted.entrypoint,
        schedules=cast("Any", _schedules(wanted)),
        paused=False,  # the end of an earlier `serve` has paused it
        parameters=dict(wanted.parameters),
        description=wanted.spec.doc,
        tags=[_TAG],
        enforce_parameter_schema=True,
    )
    with prefect_fit.known_prefect():
        prefect_fit.require(made, "_parameter_openapi_schema", "_entrypoint_type")
        schema = parameter_schema(build_prefect_flow(wanted.spec))
        private: Any = made
        private._parameter_openapi_schema = type(schema)(**schema_of(wanted.spec))
        private._entrypoint_type = EntrypointType.MODULE_PATH
    return made
