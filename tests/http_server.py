"""A small HTTP server that answers as a test wants it to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import BaseServer


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Have a server answer for as long as the block lasts, and close it."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))  # s until it sees its end
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Its address, for as long as the block lasts; it says nothing of what it is asked."""
    quiet = type("QuietHandler", (handler,), {"log_message": lambda *args: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), quiet)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"
