"""`doctor`: every fault has a fix, and nothing that hangs stops it."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
from command import invoke, write

from mxm.pipeline.adapters.answering import ask_server, require_port
from mxm.pipeline.cli import doctor
from mxm.pipeline.errors import BackendError


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port of this machine where *answer* treats every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_ones: list[socket.socket] = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                open_ones.append(connection)
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in open_ones:
                connection.close()


def http(body: str, status: str = "200 OK") -> Callable[[socket.socket], object]:
    def answer(connection: socket.socket) -> None:
        asked = connection.recv(10_000).decode()
        text = '"3.9.1"' if "/admin/version" in asked else body
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        connection.sendall((head + text).encode())
        connection.close()

    return answer


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    try:
        for _ in range(200):
            connection.sendall(b" ")
            time.sleep(0.05)
    except OSError:
        pass  # its reader has given up


OTHERS: dict[str, Callable[[socket.socket], object]] = {
    "another protocol": lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "bytes without an end of line": lambda c: (c.sendall(b"\xff" * 100), c.close()),
    "another web server": http("<html>hello</html>"),
    "another JSON API": http('{"status": "up"}'),
    "a page that is missing": http("not here", "404 Not Found"),
    "a server with an error": http("oops", "500 Internal Server Error"),
    "one that hangs up": lambda c: c.close(),
    "one that says nothing": lambda c: None,
    "one that never ends": trickle,
}


@pytest.mark.parametrize("other", OTHERS)
def test_what_answers_instead_of_a_server_is_one_error_in_time(other: str) -> None:
    with listening(OTHERS[other]) as port:
        url = f"http://127.0.0.1:{port}/api"
        before = time.monotonic()
        with pytest.raises(BackendError) as caught:
            ask_server(url, 0.5)
        assert time.monotonic() - before < 5
        assert f"127.0.0.1:{port}" in str(caught.value)


def test_nothing_there_says_how_to_start_it() -> None:
    with pytest.raises(BackendError, match="nothing answers at .*refused") as caught:
        ask_server(f"http://user:canary@127.0.0.1:{closed_port()}/api")
    assert "prefect server start" in (caught.value.hint or "")
    assert "canary" not in str(caught.value)


def test_a_server_says_its_version() -> None:
    with listening(http("true")) as port:
        assert ask_server(f"http://127.0.0.1:{port}/api/").version == "3.9.1"


def test_a_server_that_asks_for_credentials_answers() -> None:
    with listening(http("{}", "401 Unauthorized")) as port:
        assert ask_server(f"http://127.0.0.1:{port}/api").version is None


@pytest.mark.parametrize("url", ["127.0.0.1:4200/api", "file:///etc/passwd", "ftp://a/api", ""])
def test_what_is_no_address_of_a_server_is_refused(url: str) -> None:
    with pytest.raises(BackendError, match="is not the address of a Prefect server"):
        ask_server(url)


@pytest.mark.parametrize("address", ["tcp://", "nowhere", "tcp://host:port", "tcp://h:99999"])
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(BackendError, match="is not an address"):
        require_port(address)


def test_the_port_of_a_cluster() -> None:
    with listening(lambda c: None) as port:
        require_port(f"tcp://127.0.0.1:{port}")
    with pytest.raises(BackendError, match="nothing answers"):
        require_port(f"127.0.0.1:{closed_port()}")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_probed", lambda: {"url": None})  # which takes seconds
    return tmp_path


def findings() -> tuple[int, dict[str, dict[str, Any]]]:
    ran = invoke("doctor", "--json")
    document = json.loads(ran.out)
    assert document["schema"] == "mxm.doctor/1"
    assert document["ok"] == (ran.code == 0)
    return ran.code, {check["what"]: check for check in document["checks"]}


def wrong(found: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {k: f"{c['text']}\n{c['hint']}" for k, c in found.items() if c["state"] == "wrong"}


def test_where_all_is_well(project: Path) -> None:
    code, found = findings()
    assert (code, wrong(found)) == (0, {})
    assert found["prefect API"]["text"].startswith("answered in process")
    assert {"python", "mxm-pipeline", "libraries", "store", "time zones"} <= found.keys()
    lines = invoke("doctor").out.splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "note"}


@pytest.mark.parametrize("name", ["prefect.py", "dask.py", "mxm.py", "json.py", "mxm/__init__.py"])
def test_a_file_that_hides_a_module(name: str, project: Path) -> None:
    write(project, {name: ""})
    (project / "notes.py").write_text("")
    code, found = findings()
    module = name.partition("/")[0].removesuffix(".py")
    if module == "dask" and "dask" not in map(str.lower, sys.modules):
        assert code in (0, 1)  # it hides one only where that is installed
        return
    assert code == 1
    assert f"module {module!r}" in wrong(found)["shadows"]
    assert "rename it" in wrong(found)["shadows"]


def versions(monkeypatch: pytest.MonkeyPatch, **changed: str | None) -> None:
    from importlib import metadata

    real = metadata.version

    def version(name: str) -> str:
        if name not in changed:
            return real(name)
        if changed[name] is None:
            raise PackageNotFoundError(name)
        return str(changed[name])

    monkeypatch.setattr(metadata, "version", version)


VERSIONS: dict[str, tuple[dict[str, str | None], str]] = {
    "no Prefect": ({"prefect": None}, "mxm-pipeline[prefect]"),
    "an old Prefect": ({"prefect": "3.8.6"}, "prefect>=3.8.7,<3.10"),
    "a new Prefect": ({"prefect": "3.10.0"}, "prefect>=3.8.7,<3.10"),
    "Prefect 2": ({"prefect": "2.20.1"}, "prefect>=3.8.7,<3.10"),
    "a new FastAPI": ({"fastapi": "0.151.0"}, "fastapi>=0.139,<0.151"),
    "no FastAPI": ({"fastapi": None}, "fastapi>=0.139,<0.151"),
    "another mxm-pipeline": ({"mxm-pipeline": "0.1.1"}, "--force-reinstall"),
}


@pytest.mark.parametrize("case", VERSIONS)
def test_versions_that_do_not_go_together(
    case: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, remedy = VERSIONS[case]
    versions(monkeypatch, **changed)
    code, found = findings()
    assert code == 1
    [said] = wrong(found).values()
    assert remedy in said


def test_no_prefect_is_a_note_where_another_backend_is_set(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(project, {"pyproject.toml": '[tool.mxm.pipeline]\nbackend = "inline"\n'})
    versions(monkeypatch, prefect=None)
    code, found = findings()
    assert (code, found["prefect"]["state"]) == (0, "note")


@pytest.mark.parametrize(
    ("server", "state"), [("3.9.0", "ok"), ("3.8.7", "note"), ("2.20.1", "wrong"), (None, "ok")]
)
def test_a_server_of_another_version(
    server: str | None, state: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(monkeypatch, prefect="3.9.1")
    monkeypatch.setattr(doctor, "_probed", lambda: {"url": "http://there/api"})
    monkeypatch.setattr(doctor, "ask_server", lambda url: doctor_server(url, server))
    _, found = findings()
    assert found["prefect API"]["state"] == state
    if server and state != "ok":
        assert f"prefect=={server}" in found["prefect API"]["hint"]


def doctor_server(url: str, version: str | None) -> Any:
    from mxm.pipeline.adapters.answering import Server

    return Server(url, version)


def test_a_server_that_does_not_answer(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"http://127.0.0.1:{closed_port()}/api"
    monkeypatch.setattr(doctor, "_probed", lambda: {"url": url})
    code, found = findings()
    assert code == 1
    assert "nothing answers" in wrong(found)["prefect API"]


def test_settings_that_are_wrong_keep_no_other_check(project: Path) -> None:
    write(project, {"pyproject.toml": '[tool.mxm.pipeline]\nbakend = "inline"\n'})
    code, found = findings()
    assert code == 1
    assert "did you mean 'backend'" in wrong(found)["settings"]
    assert "prefect" in found


def test_a_broken_store(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MXM_HOME", raising=False)
    write(project, {".mxm/store.db": "not a database at all, but long enough to be read as one"})
    (project / ".mxm").chmod(0o700)
    (project / ".mxm" / "store.db").chmod(0o600)
    code, found = findings()
    assert (code, list(wrong(found))) == (1, ["store"])


def test_prefect_itself_is_asked_in_another_process(tmp_path: Path) -> None:
    pytest.importorskip("prefect")
    assert doctor._probed() == {"url": None}
