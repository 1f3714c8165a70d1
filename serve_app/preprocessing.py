"""The preprocessing stage: images to pixels, on to the classifier, answers back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.serve.handle import DeploymentHandle

from models.errors import DermServeError, MalformedRequest
from models.limits import ImageLimits
from models.log_records import write_log_records
from models.preprocessing import decode_image
from serve_app.batching import LateBatcher
from serve_app.classification import Classification
from serve_app.message import Image, Message, Pixels
from serve_app.metrics import Reading, StageMetrics
from serve_app.niceness import give_way
from serve_app.settings import ServeSettings
from serve_app.shared_memory import NotShared, SharedReader
from serve_app.stage import NOT_SHARED, RemoteStage, Stage, stage_of
from serve_app.telemetry.stage_spans import record, traced
from serve_app.work import Work

PIECE = 4
"""Images that a thread decodes in a row, and that go on together: decoding and inference push
each other's code and data out of a core's cache, so neither changes over for every image."""


@dataclass(frozen=True, slots=True)
class _Decoded:
    pixels: Pixels
    seconds: float


class Preprocessor:
    """Decoding threads in front of a classifier; a `Stage`.

    Args:
        classifier: the next stage.
        settings: of the application.
        pool: with as many threads as `settings.effective_threads`; None makes one.
    """

    def __init__(
        self,
        classifier: Stage[Pixels] | DeploymentHandle[Any],
        settings: ServeSettings,
        pool: Executor | None = None,
    ) -> None:
        write_log_records()
        self._classifier = stage_of(classifier, settings)
        self._limits = settings.image_limits
        threads = settings.effective_threads
        self._pool = pool or ThreadPoolExecutor(threads, "decode", initializer=give_way)
        self._decoder: LateBatcher[Image, _Decoded] = LateBatcher(
            self._decode, max_batch=PIECE, lanes=threads
        )
        self._reader = SharedReader()
        self._metrics = StageMetrics("preprocessor", self._reading)
        self._hop_metrics: StageMetrics | None = None
        if isinstance(hop := self._classifier, RemoteStage):
            self._hop_metrics = StageMetrics(
                "classifier_hop",
                lambda: Reading(hop.counts.copy(), hop.waiting, sent_again=hop.sent_again),
            )

    async def receive(self, message: Message) -> list[Classification | Exception] | str:
        """`classify` for another process; `NOT_SHARED` if its memory cannot be read here."""
        try:
            works = message.images(self._reader)
        except NotShared:
            return NOT_SHARED
        except MalformedRequest as error:
            return [error] * len(message.sizes)
        return await self.classify(works)

    async def classify(self, works: Sequence[Work[Image]]) -> list[Classification | Exception]:
        """Decode and classify images.

        Args:
            works: JPEG, PNG, BMP, GIF, WebP or TIFF; or pixels, which only pass through.

        Returns:
            One result per image, in order; the error of `decode_image` or of the classifier
            where an image has no answer.
        """
        return await traced("preprocessor", works, self._classify)

    async def _classify(self, works: Sequence[Work[Image]]) -> list[Classification | Exception]:
        if len(works) <= PIECE:
            return await self._classify_piece(works)
        pieces = [works[start : start + PIECE] for start in range(0, len(works), PIECE)]
        answers = await asyncio.gather(*map(self._classify_piece, pieces))
        return [answer for piece in answers for answer in piece]

    async def status(self) -> dict[str, Any]:
        """See `Stage.status`."""
        return await self._classifier.status()

    async def _classify_piece(
        self, works: Sequence[Work[Image]]
    ) -> list[Classification | Exception]:
        """Images that go on as soon as they are decoded, whatever came with them."""
        decoded = await self._decoder.submit(works)
        answered = iter(
            await self._classifier.classify(
                [
                    work.of(item.pixels)
                    for work, item in zip(works, decoded, strict=True)
                    if isinstance(item, _Decoded)
                ]
            )
        )
        results: list[Classification | Exception] = []
        for item in decoded:
            if isinstance(item, Exception):
                results.append(item)
                continue
            answer = next(answered)
            if isinstance(answer, Classification):
                answer.preprocessing_s = item.seconds
            results.append(answer)
        return results

    async def _decode(self, batch: list[Work[Image]]) -> list[_Decoded | Exception]:
        decoded, started, seconds = await asyncio.get_running_loop().run_in_executor(
            self._pool, _decode_all, batch, self._limits
        )
        record("decode", batch, started, started + seconds)
        self._metrics.observe_batch(len(batch), "decode", seconds)
        if self._hop_metrics is not None:
            self._hop_metrics.start()
        return decoded

    def _reading(self) -> Reading:
        return Reading(self._decoder.counts.copy(), self._decoder.waiting)


def _decode_all(
    batch: list[Work[Image]], limits: ImageLimits
) -> tuple[list[_Decoded | Exception], float, float]:
    """A result for each image, when the first began, and the seconds of all of them."""
    results: list[_Decoded | Exception] = []
    begun = started = time.perf_counter()
    for work in batch:
        try:
            pixels = _pixels(work.payload, limits)
        except DermServeError as error:
            results.append(error)
        else:
            results.append(_Decoded(pixels, time.perf_counter() - started))
        started = time.perf_counter()
    return results, begun, started - begun


def _pixels(image: Image, limits: ImageLimits) -> Pixels:
    return image if isinstance(image, np.ndarray) else decode_image(image, limits)
