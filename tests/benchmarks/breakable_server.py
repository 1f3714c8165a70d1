"""A small real server that takes what a benchmark's traffic sends, and that can hang or break."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.dashboard.answers import prediction

UPLOADED = json.dumps({"results": [{"id": "u"}]}).encode()


class BreakableServer(ThreadingHTTPServer):
    """Answers 200 to anything, except as its fields say."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.well = threading.Event()
        """Unset, it takes requests and keeps their answers."""
        self.well.set()
        self.broken: set[str] = set()
        """Paths that are answered 500."""
        self.deaf: set[str] = set()
        """Paths on which it hangs up."""


class _Handler(BaseHTTPRequestHandler):
    server: BreakableServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.well.wait()
        path = self.path.split("?")[0]
        if path in self.server.deaf:
            self.close_connection = True
            return
        body = UPLOADED if path == "/upload/bulk" else prediction().model_dump_json().encode()
        self.send_response(500 if path in self.server.broken else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def breakable_server() -> Iterator[BreakableServer]:
    """One that runs in a thread."""
    with BreakableServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.well.set()
            server.shutdown()
            thread.join()
