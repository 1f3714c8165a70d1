"""The live window: what the network said of the latest images, as many as a bound allows."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from models.live_sample import LiveSample
from models.novelty import STATISTICS


@dataclass(frozen=True)
class LiveRows:
    """Images of a window, the oldest first."""

    statistics: npt.NDArray[np.float32]
    """Shape (images, 192)."""
    logits: npt.NDArray[np.float32]
    """Shape (images, 7)."""

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True, slots=True)
class _Row:
    priority: float
    time: float
    statistics: npt.NDArray[np.float16]
    logits: npt.NDArray[np.float32]


class LiveWindow:
    """The latest images of all replicas together.

    Under load, only as many images a second are taken as fill it once in `span_s`, evenly among
    those that came; so it holds at least the last `span_s` and not somebody's last batch. Where
    less comes, it takes all.

    Args:
        capacity: images that it holds at most.
        span_s: seconds.
        max_age_s: seconds after which an image is dropped.
        now: moment at which it begins; moments are seconds of any clock that never goes back.
    """

    def __init__(self, capacity: int, span_s: float, max_age_s: float, now: float) -> None:
        self._capacity = capacity
        self._rate = capacity / span_s
        self._max_age_s = max_age_s
        self._settled = now
        self._room = float(capacity)
        self._waiting: list[_Row] = []
        self._rows: deque[_Row] = deque(maxlen=capacity)
        self.taken = 0
        """Images that it has taken since it began."""
        self.discarded = 0
        """Images that it did not take because a number was not finite."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def since(self) -> float | None:
        """The moment of the oldest image."""
        return self._rows[0].time if self._rows else None

    def offer(self, sample: LiveSample, now: float) -> None:
        """Let the images of a sample take part.

        Args:
            sample: of one replica.
            now: moment at which it came.
        """
        finite = np.isfinite(sample.statistics).all(axis=1) & np.isfinite(sample.logits).all(axis=1)
        self.discarded += int((~finite).sum())
        self._waiting += [
            _Row(
                float(sample.priorities[row]),
                now,
                sample.statistics[row].copy(),
                sample.logits[row].copy(),
            )
            for row in np.flatnonzero(finite)
        ]
        if len(self._waiting) > self._capacity:
            self._waiting = _lowest(self._waiting, self._capacity)

    def settle(self, now: float) -> None:
        """Take what there is room for of all that was offered since the last time.

        Args:
            now: at least the moment of every offer.
        """
        elapsed_s = now - self._settled
        self._settled = now
        self._room = min(self._room + elapsed_s * self._rate, float(self._capacity))
        taken = _lowest(self._waiting, int(self._room))
        self._waiting = []
        self._room -= len(taken)
        self.taken += len(taken)
        self._rows.extend(sorted(taken, key=lambda row: row.time))
        while self._rows and now - self._rows[0].time > self._max_age_s:
            self._rows.popleft()

    def rows(self) -> LiveRows:
        """A copy of what it holds."""
        return LiveRows(
            np.array([row.statistics for row in self._rows], np.float32).reshape(-1, STATISTICS),
            np.array([row.logits for row in self._rows], np.float32).reshape(-1, len(CLASSES)),
        )


def _lowest(rows: list[_Row], count: int) -> list[_Row]:
    """The rows of the lowest priorities, as many as these."""
    return sorted(rows, key=lambda row: row.priority)[:count]
