"""A cluster inside a session: whatever happens, both are taken down, the inner one first."""

import mxm
from mxm.pipeline import Failure


@mxm.task
def open_session() -> str:
    return "session"


@mxm.task
def note(session: str) -> str:
    return f"noted in {session}"


@mxm.task
def start_cluster(session: str, size: int) -> str:
    if size > 8:
        raise RuntimeError("no such cluster")
    return f"cluster of {size}"


@mxm.task
def work(cluster: str, rows: int) -> float:
    return 100 / rows


@mxm.task(after=work, run_if="always")
def stop_cluster(cluster: str | Failure | None) -> str:
    return f"stopped {cluster}" if cluster else "nothing to stop"


@mxm.task(after=[note, stop_cluster], run_if="always")
def close_session(session: str | Failure | None) -> str:
    return f"closed {session}" if session else "nothing to close"


@mxm.flow
def clusters(size: int = 4, rows: int = 50) -> dict[str, float | str]:
    session = open_session()
    cluster = start_cluster(session, size)
    closed = {"cluster": stop_cluster(cluster), "session": close_session(session)}
    return {"noted": note(session), "worked": work(cluster, rows), **closed}
