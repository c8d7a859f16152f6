"""Whether a Prefect server answers at an address; asked without loading Prefect, within seconds."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from mxm.pipeline.errors import BackendError, PipelineError

__all__ = ["Server", "ask_server", "require_port", "shown_url"]

_ENOUGH_S = 8.0
_MOST = 10_000  # bytes of an answer


class Server(NamedTuple):
    """A Prefect server that answered.

    Parameters
    ----------
    url
        Its address.
    version
        Its version of Prefect; None if it does not say.
    """

    url: str
    version: str | None


def ask_server(url: str, seconds: float = _ENOUGH_S) -> Server:
    """Ask the Prefect server at *url* for its health and its version.

    Parameters
    ----------
    url
        Its API, such as ``http://127.0.0.1:4200/api``.
    seconds
        How long it may take, in all.

    Raises
    ------
    BackendError
        Nothing answers, or what answers is not a Prefect server.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise BackendError(
            f"{shown_url(url)!r} is not the address of a Prefect server",
            hint="PREFECT_API_URL=http://127.0.0.1:4200/api",
        )
    server: Server = _within(seconds, lambda: _asked(url.rstrip("/"), seconds), shown_url(url))
    return server


def _asked(url: str, seconds: float) -> Server:
    health = _get(url, "health", seconds)
    if health is _REFUSED or "/accounts/" in url:  # Prefect's cloud; its client has credentials
        return Server(url, None)
    if health is not True:
        raise BackendError(
            f"what answers at {shown_url(url)} is not a Prefect server",
            hint=None if url.endswith("/api") else f"its API is at {shown_url(url)}/api",
        )
    version = _get(url, "admin/version", seconds)
    return Server(url, version if isinstance(version, str) else None)


_REFUSED = object()


def _get(url: str, path: str, seconds: float) -> Any:
    """The JSON at *url*/*path*; None for an answer that is not JSON."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        # Without user and password, which urllib takes for a part of the host.
        asked = urllib.request.urlopen(f"{shown_url(url)}/{path}", timeout=seconds)  # noqa: S310
        with asked as answer:
            return json.loads(answer.read(_MOST))
    except urllib.error.HTTPError as error:
        return _REFUSED if error.code in (401, 403) else None
    except (OSError, http.client.HTTPException) as error:
        reason: Any = getattr(error, "reason", error)
        if isinstance(reason, http.client.HTTPException) or "SSL" in type(reason).__name__:
            return None
        raise BackendError(
            f"nothing answers at {shown_url(url)}: {getattr(reason, 'strerror', None) or reason}",
            hint="start it: prefect server start; or unset PREFECT_API_URL to run without one",
        ) from None
    except ValueError:  # not JSON, not text
        return None


def shown_url(url: str) -> str:
    """*url* without a password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def require_port(address: str, seconds: float = _ENOUGH_S) -> None:
    """Check that something listens at *address*, such as ``tcp://10.0.0.1:8786``.

    Raises
    ------
    BackendError
        Nothing does, or it is not an address.
    """
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise BackendError(f"{address!r} is not an address", hint="tcp://HOST:PORT")
    end = host, port

    def connect() -> None:
        try:
            socket.create_connection(end, seconds).close()
        except OSError as error:
            raise BackendError(f"nothing answers at {address}: {error.strerror or error}") from None

    _within(seconds, connect, address)


def _within(seconds: float, ask: Callable[[], Any], address: str) -> Any:
    """What *ask* returns; given up after *seconds*, whatever it waits for."""
    # A timeout of a socket counts from byte to byte, and look-ups of names have none.
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append(ask())
        except PipelineError as error:
            ended.append(error)
        except Exception as error:  # in the libraries beneath
            ended.append(BackendError(f"{address} cannot be asked: {error}"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise BackendError(f"no answer from {address} within {seconds:g} s")
    if isinstance(ended[0], PipelineError):
        raise ended[0]
    return ended[0]
