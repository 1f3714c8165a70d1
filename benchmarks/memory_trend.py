"""A trend of memory: whether a process grows, by a slope that single samples do not sway."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.stats import theilslopes

from benchmarks.process_tree import MIB

LIMIT_BYTES_PER_H = 2 * MIB
"""What a process may gain in an hour; a month of more would be over 1.4 GiB."""

CONFIDENCE = 0.95
BLOCKS = 30
"""That the time is divided into. Samples that follow each other say nearly the same, and would make
the interval narrower than it is; the medians of blocks do less so."""
LEAST_BLOCKS = 8

_HOUR_S = 3600.0


class Trend(BaseModel):
    """How the memory of one process changes, in bytes an hour."""

    model_config = ConfigDict(frozen=True)

    slope: float
    low: float
    high: float
    """Ends of the interval of `CONFIDENCE`."""

    @property
    def grows(self) -> bool:
        """Whether it surely gains more than `LIMIT_BYTES_PER_H`."""
        return self.low > LIMIT_BYTES_PER_H

    @property
    def steady(self) -> bool:
        """Whether it surely does not."""
        return self.high <= LIMIT_BYTES_PER_H


def trend_of(at_s: Sequence[float], sizes: Sequence[int]) -> Trend | None:
    """The Theil-Sen slope over medians of blocks of time.

    Args:
        at_s: moments of the samples, rising.
        sizes: bytes at those moments.

    Returns:
        None if there are too few samples to say.

    Source: Sen, "Estimates of the Regression Coefficient Based on Kendall's Tau", JASA 1968.
    """
    if len(at_s) < LEAST_BLOCKS:
        return None
    blocks = np.array_split(np.arange(len(at_s)), min(BLOCKS, len(at_s)))
    times, values = np.asarray(at_s), np.asarray(sizes)
    slope, _, low, high = theilslopes(
        [float(np.median(values[block])) for block in blocks],
        [float(np.mean(times[block])) for block in blocks],
        CONFIDENCE,
    )
    return Trend(slope=slope * _HOUR_S, low=low * _HOUR_S, high=high * _HOUR_S)
