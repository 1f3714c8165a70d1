"""The training feed: what the trainer is doing, out of the event stream, for all who look."""

from __future__ import annotations

import logging
import threading
import time

from dashboard.failure_text import failure_text
from dermserve_client import Client, DermServeError, RetrainStatus

logger = logging.getLogger(__name__)

UNWATCHED_S = 30.0
"""Nobody has looked for so long: the stream is closed until somebody does."""

_PAUSE_S = 1.0
_POINTS = 500

CurvePoint = tuple[int, float]


class TrainingFeed:
    """Listens in a thread for as long as anybody looks; safe between threads.

    Args:
        client: of the server.
        unwatched_s: after which it stops listening.
    """

    def __init__(self, client: Client, unwatched_s: float = UNWATCHED_S) -> None:
        self._client = client
        self._unwatched_s = unwatched_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._looked = time.monotonic()
        self._status: RetrainStatus | None = None
        self._failure: str | None = None
        self._curve_of: int | None = None
        self._curves: dict[str, dict[int, float]] = {}

    def look(self) -> tuple[RetrainStatus | None, str | None]:
        """The newest status, and what is wrong with the stream, if anything is."""
        with self._lock:
            self._looked = time.monotonic()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._listen, name="training", daemon=True)
                self._thread.start()
            return self._status, self._failure

    def curve(self, run_id: int) -> dict[str, list[CurvePoint]]:
        """What a run told of itself while somebody looked: points by measure, over its epochs."""
        with self._lock:
            if run_id != self._curve_of:
                return {}
            return {name: sorted(points.items()) for name, points in self._curves.items()}

    def _listen(self) -> None:
        while not self._unwatched():
            try:
                for status in self._client.retrain_events():
                    self._take(status)
                    if self._unwatched():
                        return
            except DermServeError as error:
                self._fail(failure_text(error))
            except Exception as error:
                logger.exception("The event stream broke")
                self._fail(failure_text(error))
            time.sleep(_PAUSE_S)

    def _unwatched(self) -> bool:
        with self._lock:
            return time.monotonic() - self._looked > self._unwatched_s

    def _fail(self, text: str) -> None:
        with self._lock:
            self._failure = text

    def _take(self, status: RetrainStatus) -> None:
        run = status.run or status.last
        with self._lock:
            self._status, self._failure = status, None
            if run is None or run.epoch is None:
                return
            if run.id != self._curve_of:
                self._curve_of, self._curves = run.id, {}
            for name, value in run.metrics.items():
                points = self._curves.setdefault(name, {})
                if isinstance(value, int | float) and len(points) < _POINTS:
                    points[run.epoch] = float(value)
