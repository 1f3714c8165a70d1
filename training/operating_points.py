"""Operating points: thresholds, chosen on validation, tried on test."""

from __future__ import annotations

from collections.abc import Mapping

from models.errors import InvalidConfiguration
from training.calibration import threshold_at_sensitivity
from training.estimates import rates
from training.judged import InvalidPredictions, Judged, Target
from training.results import OperatingPointResult

SENSITIVITIES = (0.80, 0.90, 0.95, 0.98)
"""Targets of the table, beside the threshold that is served."""


def thresholds_for(
    validation: Judged,
    target: Target = "malignant",
    sensitivities: tuple[float, ...] = SENSITIVITIES,
) -> dict[str, float]:
    """The highest threshold that reaches each sensitivity on the validation split, by name.

    Raises:
        InvalidPredictions: if the split has no image of the target.
    """
    scores, positive = validation.scored(target)
    if not positive.any():
        raise InvalidPredictions(
            f"The validation split has no {target} image to choose a threshold with. Add some."
        )
    return {
        f"sensitivity {sensitivity:.2f}": threshold_at_sensitivity(scores, positive, sensitivity)
        for sensitivity in sensitivities
    }


def operating_points(
    validation: Judged,
    test: Judged,
    thresholds: Mapping[str, float],
    bootstrap: int = 1000,
    seed: int = 0,
    target: Target = "malignant",
) -> tuple[OperatingPointResult, ...]:
    """What each threshold does on both splits, from the highest threshold down.

    Args:
        validation: the split that chose the thresholds.
        test: images that did not.
        thresholds: in 0..1, by name.
        bootstrap: resamples for the intervals; >= 0.
        seed: of the resamples.
        target: what the thresholds are to find.

    Raises:
        InvalidConfiguration: if a threshold is outside 0..1.
    """
    outside = {name: t for name, t in thresholds.items() if not 0 <= t <= 1}
    if outside:
        raise InvalidConfiguration(f"Thresholds lie between 0 and 1, not {outside}.")
    return tuple(
        OperatingPointResult(
            name=name,
            target=target,
            threshold=threshold,
            validation=rates(validation, threshold, bootstrap, seed, target),
            test=rates(test, threshold, bootstrap, seed, target),
        )
        for name, threshold in sorted(thresholds.items(), key=lambda item: -item[1])
    )
