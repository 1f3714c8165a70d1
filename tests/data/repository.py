"""A Dataverse for tests: the part of its API that a download uses, over real HTTP."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

from tests.http_server import serving

_DATASET = "/api/datasets/:persistentId/"
_FILE = "/api/access/datafile/"


class Repository:
    """A server of files; a context manager."""

    def __init__(self, files: Mapping[str, bytes], tables: tuple[str, ...] = ()) -> None:
        """Serve files by name.

        Args:
            files: content by name.
            tables: names of files that the server has rewritten with tabs: it sends what is
                in `files` only when asked for the original form.
        """
        self.contents = dict(files)
        self.requests: Counter[str] = Counter()
        """Number of requests, by path with query."""
        self.failures: dict[str, int] = {}
        """How many more requests for a file break off in the middle, by name."""
        listed = [
            {
                "label": name,
                "dataFile": {
                    "id": number,
                    "filename": name,
                    "filesize": len(content),
                    "contentType": (
                        "text/tab-separated-values" if name in tables else "application/zip"
                    ),
                    "checksum": {"type": "MD5", "value": hashlib.md5(content).hexdigest()},
                },
            }
            for number, (name, content) in enumerate(files.items())
        ]
        self.listing: object = {"status": "OK", "data": {"latestVersion": {"files": listed}}}
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.answer(self)

            def log_message(self, *arguments: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._serving = serving(server)
        self._tables = tables
        self.url = f"http://127.0.0.1:{server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.requests[request.path] += 1
        url = urlsplit(request.path)
        if url.path == _DATASET:
            self._send(request, json.dumps(self.listing).encode())
            return
        names = list(self.contents)
        name = names[int(url.path.removeprefix(_FILE))]
        content = self.contents[name]
        if name in self._tables and url.query != "format=original":
            content = content.replace(b",", b"\t")
        broken = self.failures.get(name, 0) > 0
        if broken:
            self.failures[name] -= 1
        self._send(request, content, len(content) // 2 if broken else None)

    @staticmethod
    def _send(request: BaseHTTPRequestHandler, content: bytes, stop_at: int | None = None) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        with contextlib.suppress(ConnectionError):  # a client may have had enough
            request.wfile.write(content[:stop_at])

    def __enter__(self) -> Repository:
        self._serving.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._serving.__exit__(kind, error, traceback)
