"""The bootstrap: how far a measure would move if other lesions had been photographed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from models.errors import InvalidConfiguration

CONFIDENCE = 0.95
"""Share of intervals that hold the true value, all intervals of this project."""

_MAX_WEIGHTS = 4_000_000  # of one block: 32 MB

Weights = npt.NDArray[np.float64]
Interval = tuple[float, float]


def lesion_resamples(
    labels: npt.NDArray[np.int64], lesions: Sequence[str], resamples: int, seed: int
) -> Iterator[Weights]:
    """Draw lesions with replacement, within each class, so that no class vanishes.

    The images of a lesion look alike: drawn one by one, they would pretend to more evidence
    than there is.

    Args:
        labels: class of each image, shape (images,).
        lesions: lesion of each image, shape (images,).
        resamples: how many, >= 0.
        seed: the same labels, lesions and seed give the same resamples.

    Yields:
        Blocks of float64, shape (up to resamples, images): how often each image was drawn.

    Raises:
        InvalidConfiguration: if `resamples` is negative.

    Source: Field, Welsh, "Bootstrapping clustered data", JRSS B 2007; Efron, Tibshirani, "An
    Introduction to the Bootstrap", 1993.
    """
    if resamples < 0:
        raise InvalidConfiguration(f"The number of resamples must be 0 or more, not {resamples}.")
    rng = np.random.default_rng(seed)
    names = np.asarray(lesions)
    strata = []
    for label in np.unique(labels):
        columns = np.flatnonzero(labels == label)
        lesion = np.unique(names[columns], return_inverse=True)[1]
        strata.append((columns, lesion, int(lesion.max()) + 1))
    block = max(1, _MAX_WEIGHTS // len(labels))
    for start in range(0, resamples, block):
        weights = np.empty((min(block, resamples - start), len(labels)))
        for columns, lesion, count in strata:
            drawn = rng.multinomial(count, np.full(count, 1 / count), size=len(weights))
            weights[:, columns] = drawn[:, lesion]
        yield weights


def percentile_interval(
    values: npt.NDArray[np.float64], centre: float | None = None
) -> Interval | None:
    """The middle 95 % of a measure's resampled values.

    Args:
        values: shape (resamples,); NaN where a resample leaves the measure undefined.
        centre: shifts the interval until the mean of the values is here, but not below 0; for
            calibration errors, which resampling can hardly but raise: each bin's gap gets a
            second helping of noise, and only its size counts.

    Returns:
        None if the measure is undefined in more than one resample of twenty, or never moves:
        what cannot vary says nothing about its uncertainty.
    """
    defined = values[np.isfinite(values)]
    if len(defined) == 0 or len(defined) < 0.95 * len(values) or np.ptp(defined) < 1e-12:
        return None
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    if centre is None:
        return float(low), float(high)
    shift = centre - float(defined.mean())
    return max(0.0, float(low) + shift), float(high) + shift


def wilson_interval(successes: int, trials: int) -> Interval | None:
    """Interval of a share of independent trials; None without trials.

    Resampling cannot move a share of 0 or 1; this interval still has a width there.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 1927.
    """
    if trials == 0:
        return None
    interval = binomtest(successes, trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
