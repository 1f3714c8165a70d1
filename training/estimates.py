"""Estimates: measures with intervals from resampled lesions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from training.bootstrap import (
    Weights,
    lesion_resamples,
    percentile_interval,
    wilson_interval,
)
from training.judged import Judged, Mask, Target
from training.measures import CALIBRATION_ERRORS, Values, rates_at
from training.results import Estimate, Rates

Measures = Callable[[Weights], dict[str, Values]]


@dataclass(frozen=True)
class Estimates:
    """Measures of one set of images, each with its resampled values."""

    judged: Judged
    values: dict[str, Values]
    """Each of shape (1,) or (1, 7)."""
    resampled: dict[str, Values]
    """Each of shape (resamples,) or (resamples, 7)."""

    @classmethod
    def of(cls, judged: Judged, measures: Measures, resamples: int, seed: int) -> Estimates:
        """Compute the measures of the images and of each resample.

        Args:
            judged: the images.
            measures: from weights, shape (resamples, images), to values by name.
            resamples: >= 0.
            seed: of the resamples.
        """
        values = measures(np.ones((1, len(judged))))
        lesions = [image.lesion_id for image in judged.images]
        blocks = [
            measures(weights)
            for weights in lesion_resamples(judged.labels, lesions, resamples, seed)
        ]
        return cls(
            judged,
            values,
            {
                name: np.concatenate([block[name] for block in blocks]) if blocks else value[:0]
                for name, value in values.items()
            },
        )

    def get(
        self, name: str, column: int | None = None, *, share_of: Mask | None = None
    ) -> Estimate | None:
        """One measure, None where it is undefined.

        Args:
            name: of the measure.
            column: of `CLASSES`, for a measure of each class.
            share_of: the images that the measure is a share of, shape (images,). Resampling
                cannot move a share of 0 or 1; it then gets Wilson's interval for as many
                trials as these images have lesions.
        """
        at = () if column is None else (column,)
        value = float(self.values[name][(0, *at)])
        if not np.isfinite(value):
            return None
        resampled = self.resampled[name][(slice(None), *at)]
        interval = percentile_interval(resampled, value if name in CALIBRATION_ERRORS else None)
        if interval is None and share_of is not None and len(resampled) and value in (0, 1):
            lesions = self.judged.count_lesions(share_of)
            interval = wilson_interval(int(value) * lesions, lesions)
        low, high = interval or (None, None)
        return Estimate(value=value, low=low, high=high)

    def require(self, name: str) -> Estimate:
        """A measure that is defined for any image."""
        estimate = self.get(name)
        assert estimate is not None, f"{name} is undefined"
        return estimate


def rates(
    judged: Judged, threshold: float, resamples: int, seed: int, target: Target = "malignant"
) -> Rates:
    """Sensitivity and specificity of flagging scores at or above a threshold.

    Args:
        judged: the images.
        threshold: in 0..1.
        resamples: for the intervals; >= 0.
        seed: of the resamples.
        target: what the score is for.
    """
    scores, positive = judged.scored(target)

    def measures(weights: Weights) -> dict[str, Values]:
        sensitivity, specificity = rates_at(weights, judged, threshold, target)
        return {"sensitivity": sensitivity, "specificity": specificity}

    estimates = Estimates.of(judged, measures, resamples, seed)
    return Rates(
        sensitivity=estimates.get("sensitivity", share_of=positive),
        specificity=estimates.get("specificity", share_of=~positive),
        flagged=float((scores >= threshold).mean()),
    )
