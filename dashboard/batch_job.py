"""A batch job: pictures classified chunk by chunk in a thread, while the page stays alive."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator

from dashboard.batch_table import BatchRow
from dashboard.failure_text import failure_text
from dashboard.image_files import ImageFile, TooMany
from dashboard.thumbnail import data_url
from dermserve_client import BatchItem, Client, DermServeError
from dermserve_client.label_list import LabelList

logger = logging.getLogger(__name__)

CHUNK_IMAGES = 16
"""In one request: small, so that progress shows and others are not kept waiting."""


class BatchJob:
    """Classifies pictures, and can be looked at and stopped at any time.

    Args:
        client: of the server.
        files: one after the other, read as their turn comes.
        total: how many there will be.
        labels: of some of them.
        chunk_images: in one request.
    """

    def __init__(
        self,
        client: Client,
        files: Iterable[ImageFile],
        total: int,
        labels: LabelList | None = None,
        chunk_images: int = CHUNK_IMAGES,
    ) -> None:
        self.total = total
        self._client = client
        self._files = files
        self._labels = labels or LabelList()
        self._chunk_images = chunk_images
        self._lock = threading.Lock()
        self._rows: dict[int, BatchRow] = {}
        self._stopped = threading.Event()
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="batch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; what is under way still comes in."""
        self._stopped.set()

    @property
    def running(self) -> bool:
        """Whether more is to come."""
        return self._thread.is_alive()

    @property
    def stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return self._stopped.is_set()

    @property
    def failure(self) -> str | None:
        """Why it ended before all was done, in words; None if it did not."""
        return self._failure

    def rows(self) -> list[BatchRow]:
        """What is done, in the order of the files."""
        with self._lock:
            return [self._rows[place] for place in sorted(self._rows)]

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within a time."""
        self._thread.join(timeout_s)
        return not self.running

    def _run(self) -> None:
        try:
            for chunk in self._chunks():
                if self._stopped.is_set():
                    return
                self._classify(chunk)
        except TooMany as error:
            self._failure = str(error)
        except DermServeError as error:
            self._failure = failure_text(error)
        except Exception as error:
            logger.exception("A batch ended early")
            self._failure = failure_text(error)

    def _classify(self, chunk: list[tuple[int, ImageFile]]) -> None:
        ready = [(place, file) for place, file in chunk if file.data is not None]
        for place, file in chunk:
            if file.data is None:
                self._put(place, file, None, file.problem)
        images = [file.data for _, file in ready if file.data is not None]
        answers: Iterator[BatchItem] = self._client.predict_batch(
            images, chunk_images=self._chunk_images
        )
        for (place, file), item in zip(ready, answers, strict=True):
            error = None if item.error is None else failure_text(item.error)
            self._put(place, file, item, error)

    def _put(self, place: int, file: ImageFile, item: BatchItem | None, error: str | None) -> None:
        row = BatchRow(
            file.name,
            None if item is None else item.prediction,
            error,
            self._labels.label_of(file.name),
            None if file.data is None or error is not None else data_url(file.data),
        )
        with self._lock:
            self._rows[place] = row

    def _chunks(self) -> Iterator[list[tuple[int, ImageFile]]]:
        chunk: list[tuple[int, ImageFile]] = []
        for numbered in enumerate(self._files):
            chunk.append(numbered)
            if len(chunk) == self._chunk_images:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
