"""A Prefect server's answers to the few REST API calls that a plain run makes."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from mxm.pipeline.errors import BackendError

__all__ = ["TO_SERVER", "Answers"]

TO_SERVER = "run against a server: prefect server start, then set PREFECT_API_URL"


class Answers:
    """Answers the REST API calls of Prefect's flow engine, for one session."""

    def __init__(self) -> None:
        self._runs: dict[str, dict[str, Any]] = {}

    def answer(self, request: httpx.Request, **_: Any) -> httpx.Response:
        """The answer that a server would give.

        Raises
        ------
        BackendError
            Prefect's engines do not make this call in a plain run.
        """
        response = self._answer(request)
        response.request = request
        return response

    async def answer_async(self, request: httpx.Request, **_: Any) -> httpx.Response:
        """Like `answer`, for the async client."""
        return self.answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api")
        body: dict[str, Any] = json.loads(request.content) if request.content else {}
        match (request.method, *path.strip("/").split("/")):
            case ("POST", "flows"):
                return _reply(_record(name=body["name"], tags=[], labels={}), 201)
            case ("POST", "flow_runs"):
                return _reply(self._create(body), 201)
            case ("GET", "flow_runs", run) if run in self._runs:
                return _reply(self._runs[run])
            case ("POST", "flow_runs", run, "set_state") if self._may(run, body["state"]):
                return _reply(self._set_state(self._runs[run], body["state"]), 201)
            case ("PATCH", "flow_runs", run) if run in self._runs:
                self._runs[run].update(body)
                return httpx.Response(204)
            case ("GET", "admin", "storage"):
                return _reply({"default_result_storage_block_id": None})
            case _:
                call = f"{request.method} {path}"
                raise BackendError(
                    f"Prefect asked its API for {call!r}, which mxm-pipeline does not "
                    "answer in process",
                    hint=TO_SERVER,
                )

    def _may(self, run: str, state: Mapping[str, Any]) -> bool:
        # A paused or postponed run waits for a server to resume it.
        return run in self._runs and state["type"] not in ("PAUSED", "SCHEDULED")

    def _create(self, body: Mapping[str, Any]) -> dict[str, Any]:
        state = _state(body.get("state") or {"type": "PENDING"})
        run = _record(
            **{**body, "name": body.get("name") or "run", "labels": {}},
            run_count=0,
            expected_start_time=_now(),
        )
        _enter(run, state)
        self._runs[run["id"]] = run
        return run

    def _set_state(self, run: dict[str, Any], proposed: Mapping[str, Any]) -> dict[str, Any]:
        state = _state(proposed)
        _enter(run, state)
        if state["type"] == "RUNNING":
            run["run_count"] += 1
            run.setdefault("start_time", _now())
        return {"state": state, "status": "ACCEPT", "details": {"type": "accept_details"}}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _record(**fields: Any) -> dict[str, Any]:
    return {**fields, "id": str(uuid.uuid4()), "created": _now(), "updated": _now()}


def _state(proposed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": str(uuid.uuid4()),
        "type": proposed["type"],
        "name": proposed.get("name") or proposed["type"].title(),
        "timestamp": _now(),
        "message": proposed.get("message"),
        "data": proposed.get("data"),
        "state_details": proposed.get("state_details") or {},
    }


def _enter(run: dict[str, Any], state: Mapping[str, Any]) -> None:
    run.update(
        state=state, state_id=state["id"], state_type=state["type"], state_name=state["name"]
    )


def _reply(content: Mapping[str, Any], status: int = 200) -> httpx.Response:
    return httpx.Response(status, json=content)
