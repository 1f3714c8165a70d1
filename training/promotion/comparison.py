"""Comparison: a challenger's measures less the champion's, on the same resampled lesions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.classes import CLASSES
from training.bootstrap import Weights
from training.estimates import Estimates
from training.judged import InvalidPredictions, Judged, Mask
from training.measures import Values, calibration_error, mean_of_defined, share
from training.promotion.gate_file import GateFile
from training.promotion.sensitivity import sensitivity_at_specificity
from training.results import Estimate


@dataclass(frozen=True)
class Difference:
    """One measure of both models."""

    champion: float
    challenger: float
    low: float
    """Ends of the 95 % interval of challenger less champion; both are that difference where no
    resample moves it, as with two models that decide alike."""
    high: float

    @property
    def value(self) -> float:
        """Challenger less champion."""
        return self.challenger - self.champion


@dataclass(frozen=True)
class Comparison:
    """Both models on the test images.

    Every resample draws lesions, and both models answer for the same ones: what makes a set
    of lesions hard for both cancels out, and the interval holds only what they differ in.
    """

    champion: dict[str, float]
    """The measures, NaN where one is undefined."""
    challenger: dict[str, float]
    differences: Estimates

    @classmethod
    def of(cls, champion: Judged, challenger: Judged, gate: GateFile) -> Comparison:
        """Compare two models that judged the same images in the same order.

        Raises:
            InvalidPredictions: if the images differ.
        """
        if champion.images != challenger.images:
            raise InvalidPredictions(
                "Champion and challenger were judged on different images, so neither can be held "
                "to the other. Predict the same split with both."
            )
        specificity = gate.melanoma_sensitivity.specificity

        def differences(weights: Weights) -> dict[str, Values]:
            before = _measures(weights, champion, specificity)
            after = _measures(weights, challenger, specificity)
            return {name: after[name] - before[name] for name in before}

        ones = np.ones((1, len(champion)))
        return cls(
            _plain(_measures(ones, champion, specificity)),
            _plain(_measures(ones, challenger, specificity)),
            Estimates.of(challenger, differences, gate.resamples, gate.seed),
        )

    def get(self, name: str) -> Difference | None:
        """One measure, None where it is undefined."""
        found: Estimate | None = self.differences.get(name)
        if found is None:
            return None
        low = found.value if found.low is None else found.low
        high = found.value if found.high is None else found.high
        return Difference(self.champion[name], self.challenger[name], low, high)

    def require(self, name: str) -> Difference:
        """A measure that is defined for any image."""
        found = self.get(name)
        assert found is not None, f"{name} is undefined"
        return found


def balanced_accuracy(weights: Weights, judged: Judged, among: Mask | None = None) -> Values:
    """Mean recall of the classes, shape (resamples,).

    Args:
        weights: shape (resamples, images).
        judged: the images.
        among: True for the classes that count, shape (7,); those without images never do.
    """
    member = np.eye(len(CLASSES))[judged.labels]
    right = member * (judged.predicted == judged.labels)[:, None]
    recall = share(weights @ right, weights @ member)
    return mean_of_defined(recall if among is None else recall[:, among])


def _measures(weights: Weights, judged: Judged, specificity: float) -> dict[str, Values]:
    scores, positive = judged.scored("mel")
    correct = judged.predicted == judged.labels
    return {
        "balanced_accuracy": balanced_accuracy(weights, judged),
        "melanoma_sensitivity": sensitivity_at_specificity(weights, scores, positive, specificity),
        # Not under its usual name, by which `Estimates` would take the bias of resampling out
        # of it; both models have about the same bias, so that a difference has none.
        "calibration": calibration_error(weights, judged.confidence, correct),
    }


def _plain(measures: dict[str, Values]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in measures.items()}
