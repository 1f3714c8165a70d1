"""The preprocessing stage: encoded bytes to pixels, on to the classifier, answers back."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from ray.serve.handle import DeploymentHandle

from models.errors import DermServeError
from models.limits import ImageLimits
from models.preprocessing import decode_image
from serve_app.batching import LateBatcher
from serve_app.classification import Classification
from serve_app.hop import Hop
from serve_app.settings import ServeSettings


@dataclass(frozen=True, slots=True)
class _Decoded:
    pixels: npt.NDArray[np.uint8]
    seconds: float


class Preprocessor:
    """One replica: a pool of decoding threads.

    Args:
        classifier: handle of the next stage.
        settings: of the application.
    """

    def __init__(self, classifier: DeploymentHandle[Any], settings: ServeSettings) -> None:
        self._limits = settings.image_limits
        threads = settings.effective_threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._decoder: LateBatcher[bytes, _Decoded] = LateBatcher(
            self._decode, max_batch=4, lanes=threads
        )
        self._classifier_status = classifier.options(method_name="status", _by_reference=False)
        hop: Hop[npt.NDArray[np.uint8]] = Hop(classifier, "classify", np.stack)
        self._classifier: LateBatcher[npt.NDArray[np.uint8], Classification] = LateBatcher(
            hop.call, max_batch=settings.max_batch_size, lanes=settings.hop_lanes
        )

    async def classify(self, images: list[bytes]) -> list[Classification | Exception]:
        """Decode and classify encoded images.

        Args:
            images: JPEG, PNG, BMP, GIF, WebP or TIFF.

        Returns:
            One result per image, in order; the error of `decode_image` or of the classifier
            where an image has no answer.
        """
        decoded = await self._decoder.submit(images)
        answered = iter(
            await self._classifier.submit([d.pixels for d in decoded if isinstance(d, _Decoded)])
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

    async def status(self) -> dict[str, Any]:
        """The classifier's status, through the path that images take."""
        status: dict[str, Any] = await self._classifier_status.remote()
        return status

    async def _decode(self, batch: list[bytes]) -> list[_Decoded | Exception]:
        return await asyncio.get_running_loop().run_in_executor(
            self._pool, _decode_all, batch, self._limits
        )


def _decode_all(batch: list[bytes], limits: ImageLimits) -> list[_Decoded | Exception]:
    results: list[_Decoded | Exception] = []
    for data in batch:
        started = time.perf_counter()
        try:
            pixels = decode_image(data, limits)
        except DermServeError as error:
            results.append(error)
        else:
            results.append(_Decoded(pixels, time.perf_counter() - started))
    return results
