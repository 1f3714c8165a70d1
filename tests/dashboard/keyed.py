"""A guard before a server: who brings no key gets what a server with API keys answers."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

KEY = "a-key-of-the-tests"

_OPEN = ("/health", "/health/live", "/health/ready")
_HOPS = ("transfer-encoding", "connection", "content-length", "content-encoding", "host")


class KeyedServer(ThreadingHTTPServer):
    """Passes requests with the key on.

    Args:
        target: address of the server.
    """

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.url = f"http://127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: KeyedServer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        key = self.headers.get("authorization", "").removeprefix("Bearer ")
        if key != KEY and self.path not in _OPEN:
            code, message = (
                ("unauthenticated", "Send an API key.")
                if not key
                else ("forbidden", "The API key lacks the role predict.")
            )
            error = {"code": code, "message": message, "request_id": "r"}
            answer = httpx.Response(401 if not key else 403, json={"error": error})
        else:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in _HOPS}
            answer = httpx.request(
                self.command, self.server.target + self.path, content=body, headers=headers
            )
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PATCH = do_DELETE = _pass  # noqa: N815
