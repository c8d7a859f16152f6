"""One HTTP client for all tasks of a run: mxm-pipeline run rates -p amount=250

An amount of euros in other currencies. The rates are those of the European Central Bank on 31
December 2018. They come from a server on this machine, which is also a resource, so nothing is
downloaded. The client is opened once, keeps its connections, and is closed when the run ends.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING, cast

import mxm

if TYPE_CHECKING:
    import httpx

PUBLISHED = {"USD": 1.1450, "JPY": 125.85, "GBP": 0.89453, "CHF": 1.1269}


@mxm.resource
def bank(port: int = 0) -> Iterator[str]:
    """A server that knows the rates; its address."""
    with ThreadingHTTPServer(("127.0.0.1", port), Answer) as served:
        thread = Thread(target=served.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}"
        served.shutdown()
        thread.join()


@mxm.resource
async def client(
    timeout_s: float = 10.0, address: str = mxm.use(bank)
) -> AsyncIterator[httpx.AsyncClient]:
    """Whom tasks ask: --resource client.timeout_s=30 for a slow network."""
    import httpx

    async with httpx.AsyncClient(base_url=address, timeout=timeout_s) as opened:
        yield opened


@mxm.task(retries=2, retry_delay_s=0.1)
async def rate(currency: str, http: httpx.AsyncClient = mxm.use(client)) -> float:
    """Units of *currency* for one euro."""
    answer = await http.get(f"/{currency}")
    answer.raise_for_status()
    return cast(float, answer.json())


@mxm.task
def convert(rates: list[float], currencies: tuple[str, ...], amount: float) -> dict[str, float]:
    return {name: round(amount * one, 2) for name, one in zip(currencies, rates, strict=True)}


@mxm.flow(name="rates")
async def in_currencies(
    currencies: tuple[str, ...] = ("USD", "JPY", "GBP", "CHF"), amount: float = 100.0
) -> dict[str, float]:
    """An amount of euros in other currencies."""
    return convert(await rate.map(currencies), currencies, amount)


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections open

    def do_GET(self) -> None:
        found = PUBLISHED.get(self.path.strip("/"))
        body = json.dumps(found).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing: the default writes a line for each answer."""
