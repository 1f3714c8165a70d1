"""The live sampler: keeps what the network said of a few of the images that it answers."""

from __future__ import annotations

import threading
from heapq import heappush, heapreplace

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from models.live_sample import LiveSample
from models.novelty import STATISTICS
from serve_app.engines.base import Outputs

CAPACITY = 128
"""Images between two drains, 2 s: 64 a second, and 50 KB at most."""


class LiveSampler:
    """The images of the lowest priorities since the last drain. May be used from several threads.

    Once it is full, an image costs a random number; hardly any is copied.

    Source: bottom-k sampling; Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches",
    PODC 2007.

    Args:
        capacity: images that it keeps, at least 1.
        seed: of the priorities; None draws one.
    """

    def __init__(self, capacity: int = CAPACITY, seed: int | None = None) -> None:
        self._capacity = capacity
        self._random = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._clear()

    def offer(self, outputs: Outputs) -> None:
        """Let some images take part.

        Args:
            outputs: what the network said of them; rows that stay are copied.
        """
        with self._lock:
            priorities = self._random.random(len(outputs.logits))
            self._images += len(priorities)
            for row in np.flatnonzero(priorities < self._bound):
                self._take(float(priorities[row]), outputs.statistics[row], outputs.logits[row])

    def drain(self, package_hash: str) -> LiveSample:
        """Hand over what is there, and begin anew.

        Args:
            package_hash: of the model that answered.
        """
        with self._lock:
            kept, images = self._kept, self._images
            self._clear()
        # By priority, which says nothing of the order in which they came.
        kept.sort(key=lambda entry: -entry[0])
        return LiveSample(
            package_hash,
            images,
            np.array([-negative for negative, _, _, _ in kept], np.float64),
            np.array([row for _, _, row, _ in kept], np.float16).reshape(-1, STATISTICS),
            np.array([row for _, _, _, row in kept], np.float32).reshape(-1, len(CLASSES)),
        )

    def _clear(self) -> None:
        # The first of the heap has the highest priority; the number tells equal ones apart.
        self._kept: list[tuple[float, int, npt.NDArray[np.float16], npt.NDArray[np.float32]]] = []
        self._images = 0
        self._offered = 0
        self._bound = 1.0

    def _take(
        self,
        priority: float,
        statistics: npt.NDArray[np.float32],
        logits: npt.NDArray[np.float32],
    ) -> None:
        if priority >= self._bound:
            return  # another row of this batch has lowered it
        self._offered += 1
        # What does not fit half precision becomes infinite, and the trainer passes over it.
        with np.errstate(over="ignore"):
            entry = (-priority, self._offered, statistics.astype(np.float16), logits.copy())
        if len(self._kept) < self._capacity:
            heappush(self._kept, entry)
        else:
            heapreplace(self._kept, entry)
        if len(self._kept) == self._capacity:
            self._bound = -self._kept[0][0]
