"""A round: a look at every page of a server again and again, and how often each was answered."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any

import httpx

from benchmarks.faults.tally import Counting, Tally
from benchmarks.faults.traffic import refusal
from data.synthetic import synthetic_jpeg

PERIOD_S = 5.0
"""Between two rounds."""

_PAGES = ("/health", "/metrics", "/data/summary", "/uploads", "/models", "/retrain/status")
_TIMEOUT_S = 40.0  # the server gives up before


class Round:
    """Goes round in a thread of its own; use it as a context manager.

    Args:
        url: of the server.
        period_s: between two rounds.
    """

    def __init__(self, url: str, period_s: float = PERIOD_S) -> None:
        image = synthetic_jpeg("mel", 3)
        self._requests: list[tuple[str, str, dict[str, Any]]] = [
            *(("GET", path, {}) for path in _PAGES),
            ("POST", "/explain", {"content": image}),
            ("POST", "/predict/batch", {"files": [("files", ("a.jpg", image))] * 4}),
        ]
        self._url = url
        self._period_s = period_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)

    def __enter__(self) -> Round:
        self._began_s = time.monotonic()
        self._counted = {path: Counting(self._began_s) for _, path, _ in self._requests}
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def tallies(self) -> dict[str, Tally]:
        """What became of the requests by path; ask when it has ended."""
        return {path: each.tally(self._began_s) for path, each in self._counted.items()}

    def _go(self) -> None:
        with httpx.Client(base_url=self._url, timeout=_TIMEOUT_S) as client:
            while not self._ended.wait(self._period_s):
                for method, path, options in self._requests:
                    try:
                        failure = refusal(client.request(method, path, **options))
                    except httpx.HTTPError as error:
                        failure = type(error).__name__
                    self._counted[path].add(failure, time.monotonic())
