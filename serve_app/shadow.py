"""The shadow: the standby scores a share of the live images in the background, for comparison."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from serve_app.engines.base import Engine
from serve_app.generation import Counts
from serve_app.niceness import step_back

logger = logging.getLogger("ray.serve")

PATIENCE_S = 0.25
"""Longest wait for a lull. A device that is never idle scores a piece in each such time all the
same, or a saturated server could not tell a good challenger from a bad one; of two cores it
costs about 2 %."""

MAX_WAITING = 64
"""Images that may wait for the standby, about 10 MB."""


@dataclass(frozen=True, slots=True)
class _Answered:
    pixels: npt.NDArray[np.uint8]
    predicted_class: str


class Shadow:
    """Compares a standby with the model that serves, on live images and hardly at their cost.

    It has an engine of its own, whose threads are niced for good: the standby's must be as quick
    as any once it serves, and no live image may find one of its lanes taken. The engine starts
    in a lull or, if there is none, after `PATIENCE_S`. Belongs to one event loop; every method
    runs on it.

    Args:
        load: makes the engine, on the niced thread.
        share: of the live images, in 0..1; every image, every second ...
        counts: of the generation; its shadow fields are written here.
        lull: number of the present lull of live work; None while live images run or wait.
        failed: called once, with a reason, if the engine cannot be made or fails on an image;
            nothing is scored after that.
    """

    def __init__(
        self,
        load: Callable[[], Engine],
        *,
        share: float,
        counts: Counts,
        lull: Callable[[], int | None],
        failed: Callable[[str], None],
    ) -> None:
        self.counts = counts
        self._load = load
        self._share = share
        self._lull = lull
        self._failed = failed
        self._owed = 0.0
        self._waiting: deque[_Answered] = deque()
        self._offered = asyncio.Event()
        self._undisturbed_images = 0
        self._undisturbed_s = 0.0
        self._engine: Engine | None = None
        self._thread = ThreadPoolExecutor(1, "shadow", initializer=step_back)
        self._task = contextvars.Context().run(asyncio.create_task, self._work())

    def offer(
        self, images: Iterable[npt.NDArray[np.uint8]], predicted_classes: Iterable[str]
    ) -> None:
        """Take the share of some images that were just answered; drop what finds no room.

        Args:
            images: each uint8, shape (224, 224, 3); copied where taken.
            predicted_classes: what the model that serves said of them.
        """
        for pixels, predicted_class in zip(images, predicted_classes, strict=True):
            self._owed += self._share
            if self._owed < 1:
                continue
            self._owed -= 1
            if len(self._waiting) == MAX_WAITING:
                self.counts.dropped += 1
            else:
                # A view would keep the message alive that it came in, of many images.
                self._waiting.append(_Answered(pixels.copy(), predicted_class))
        self._offered.set()

    def close(self) -> None:
        """Stop, and free the engine on its thread."""
        self._task.cancel()
        self._waiting.clear()
        self._thread.submit(setattr, self, "_engine", None)
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        piece: list[_Answered] = []
        try:
            max_piece = await loop.run_in_executor(self._thread, self._start)
            due = loop.time() + PATIENCE_S
            while True:
                self._offered.clear()
                while self._waiting and ((lull := self._lull()) is not None or loop.time() >= due):
                    count = min(max_piece, len(self._waiting))
                    piece = [self._waiting.popleft() for _ in range(count)]
                    predicted, seconds = await loop.run_in_executor(
                        self._thread, self._forward, [answered.pixels for answered in piece]
                    )
                    undisturbed = lull is not None and self._lull() == lull
                    self._count(piece, predicted, seconds, undisturbed=undisturbed)
                    piece = []
                    due = loop.time() + PATIENCE_S
                await self._offered.wait()
        except Exception:
            logger.exception("The standby failed")
            self.counts.dropped += len(piece) + len(self._waiting)
            self._failed("The standby failed. The log of the classifier says how.")

    def _count(
        self, piece: list[_Answered], predicted: list[str], seconds: float, *, undisturbed: bool
    ) -> None:
        self.counts.shadow_images += len(piece)
        self.counts.disagreements += sum(
            answered.predicted_class != other
            for answered, other in zip(piece, predicted, strict=True)
        )
        # Beside live work a niced thread hardly runs, which is no fault of the standby's.
        if undisturbed:
            self._undisturbed_images += len(piece)
            self._undisturbed_s += seconds
        if self._undisturbed_images:
            image_s = self._undisturbed_s / self._undisturbed_images
            self.counts.shadow_forward_s = image_s * self.counts.shadow_images

    def _start(self) -> int:
        """Make the engine, on its thread; the images it takes at once."""
        self._engine = self._load()
        return self._engine.max_piece

    def _forward(self, images: Sequence[npt.NDArray[np.uint8]]) -> tuple[list[str], float]:
        """Score images on the engine's thread; their classes, and the seconds it took."""
        assert self._engine is not None  # made by the job before
        started = time.perf_counter()
        logits = self._engine.forward(images).logits
        seconds = time.perf_counter() - started
        if not np.isfinite(logits).all():
            raise ValueError("its logits are not finite")
        return [CLASSES[column] for column in logits.argmax(axis=1)], seconds
