"""A small real HTTP server that answers as the path of a request says."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from tests.waiting import wait_until

ANSWERS = {
    "/ok": (200, [], b'{"timings": {"queue": 0.25, "total": 0.5}}'),
    "/predict": (200, [], b'{"timings": {"queue": 0.002, "preprocessing": 0.001}}'),
    "/unmeasured": (200, [], b"fine"),
    "/full": (503, [(b"retry-after", b"1")], b"{}"),
    "/silent": (503, [], b"{}"),
    "/limited": (429, [], b"{}"),
    "/late": (504, [], b"{}"),
    "/bug": (500, [], b"{}"),
}


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer from the table; bulk is always refused, and `/never` gets no answer."""
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/never":
        await receive()  # the client hangs up
        return
    path = "/full" if scope["query_string"] == b"priority=bulk" else scope["path"]
    status, headers, body = ANSWERS[path]
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def small_server() -> Iterator[str]:
    """Its URL, while it runs in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off"))
        thread = threading.Thread(
            target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        wait_until(lambda: server.started or not thread.is_alive(), "it does not start")
        assert thread.is_alive()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
