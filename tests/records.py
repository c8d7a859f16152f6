"""Made-up records of runs, in the schema ``mxm.flowrun/2``: for reports of any size and state."""

from __future__ import annotations

from typing import Any

__all__ = ["HOSTILE", "document", "grown", "hostile", "moment", "task"]

HOSTILE = [
    "</script><script>alert(1)</script>",
    '"onmouseover="alert(1)',
    "a&amp;<b>",
    "日本語の株価",
    "e\u0301",
    "\u202eevil",
    "x" * 300,
    "]]>-->",
    "javascript:alert(1)",
    "a\nb\x00\x1b[31m",
    "\ud800",
    "'; drop table",
]


def moment(seconds: float | None) -> str | None:
    """A time so many seconds after the start of a run."""
    if seconds is None:
        return None
    minutes, rest = divmod(seconds, 60)
    return f"2026-11-27T17:{int(minutes):02}:{rest:09.6f}+00:00"


def task(name: str, state: str = "succeeded", **fields: Any) -> dict[str, Any]:
    """A task of a record; *start*, *end* and *ready* are seconds from the run's start."""
    start, end = fields.pop("start", None), fields.pop("end", None)
    record: dict[str, Any] = {
        "arguments": {}, "upstream": [], "after": [], "function": None, "signature": None,
        "doc": None, "source": None, "returns": None, "mapped": False, "asset": None,
        "traceback": None, "place": None, "lines": None,
    }  # fmt: skip
    record |= {key: fields.pop(key) for key in list(fields) if key in record}
    made = {
        "name": name, "state": state, "allowed": False, "attempts": 1, "history": [],
        "ready": moment(fields.pop("ready", None)), "started": moment(start), "ended": moment(end),
        "seconds": None if start is None or end is None else end - start, "slot": 1,
        "waited": None, "result": None, "error": None, "reason": None, "cause": None,
        "output": "", "asset": None, "items": None,
    }  # fmt: skip
    return {**made, **fields, "record": record}


def document(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The record of a run of *tasks*."""
    record: dict[str, Any] = {"workers": 4, "params": [], "command": [], "seen": None}
    record |= {key: fields.pop(key) for key in ("seen", "workers", "doc", "git") if key in fields}
    return {
        "schema": "mxm.flowrun/2", "id": "20261127-173000-0123abcd", "flow": "flow",
        "state": "succeeded", "backend": "inline", "runner": "threads", "started": moment(0),
        "ended": moment(10), "seconds": 10.0, "params": {}, "value": None, "warnings": [],
        "tasks": list(tasks), "record": record, **fields,
    }  # fmt: skip


def grown(count: int) -> dict[str, Any]:
    """A run of *count* tasks: sub-flows of up to 20, of which one task has failed."""
    tasks = [task("start", start=0, end=1, returns="list[str]", doc="Where it starts.")]
    tables: list[str] = []
    desk = 0
    while len(tasks) < count - 1:
        above = "start"
        for step in range(min(20, count - 1 - len(tasks))):
            name = f"desk_{desk}.step_{step}"
            state = "failed" if (desk, step) == (0, 3) else "succeeded"
            failed = {"error": "ValueError: away", "place": "f.py:3"} if state == "failed" else {}
            history = [
                {"started": moment(1), "ended": moment(2), "state": "failed", "error": "E: no"},
                {"started": moment(3), "ended": moment(4 + step), "state": state, "error": None},
            ]
            tasks.append(
                task(
                    name, state, start=1, end=4 + step, ready=0.5, upstream=[above],
                    arguments={"frame": {"upstream": [above]}, "window": {"value": 20}},
                    function=f"step_{step}", signature="(frame: DataFrame, window: int) -> float",
                    returns="float", result=0.5, doc="One step of a desk.", source="risk.py:12",
                    history=history[1:] if step % 7 else history, output="fitted\n", **failed,
                )
            )  # fmt: skip
            above = name if step % 3 else above
        tables.append(tasks[-1]["name"])
        desk += 1
    tasks.append(task("report", "skipped", upstream=tables, cause="desk_0.step_3",
                      reason="upstream 'desk_0.step_3' failed", asset="risk/daily"))  # fmt: skip
    return document(*tasks, state="failed", seconds=30.0, ended=moment(30), doc="Risk of a book.")


def hostile() -> dict[str, Any]:
    """A run whose names, values and errors try to be more than text."""
    tasks: list[dict[str, Any]] = []
    for i, name in enumerate(HOSTILE):
        tasks.append(
            task(
                name, "failed" if i % 3 == 0 else "succeeded",
                start=i, end=i + 1, upstream=HOSTILE[i - 1 : i] if i else [], doc=name,
                function=name, signature=name, source=name, returns=name, asset=name,
                traceback=name, place=f"{name}:{i}", lines=[[i, name]], error=f"{name}: {name}",
                output=name * 3, result={name: [name]}, mapped=True,
                arguments={name: {"value": name}},
                items={"over": name, "count": {"failed": 1}, "rows": [
                    {"key": name, "state": "failed", "attempts": 1, "seconds": 1.0,
                     "value": None, "error": name, "reason": name}]},
            )
        )  # fmt: skip
        check = {"name": name, "severity": name, "passed": i % 4 == 1, "message": name}
        written = {
            "id": name, "partition": name, "checks": [check], "path": name, "format": name,
            "size": i, "rows": i, "columns": {name: name}, "upstream": [name],
        }  # fmt: skip
        tasks[-1]["asset"] = written if i % 2 else None
    made = document(*tasks, flow=HOSTILE[0], state="failed", doc=HOSTILE[1])
    made["record"]["params"] = [
        {"name": n, "value": n, "type": n, "origin": "run", "from": n} for n in HOSTILE
    ]
    made["record"] |= {"versions": dict(zip(HOSTILE, HOSTILE, strict=True)), "host": HOSTILE[0]}
    made["record"] |= {"command": HOSTILE, "git": {"commit": HOSTILE[0], "branch": HOSTILE[1]}}
    made["warnings"] = [{"code": n, "message": n, "task": n} for n in HOSTILE]
    return made
