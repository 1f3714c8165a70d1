"""The decision: logits to a calibrated answer by a model's own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.package import DecisionRules

AbstainReason = Literal["too_uncertain"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one image."""

    predicted_class: str
    probabilities: tuple[float, ...]
    """Calibrated, in the order of `CLASSES`, summing to 1."""
    malignant_score: float
    """p(mel) + p(bcc) + p(akiec)."""
    prediction_set: tuple[str, ...]
    """Classes that together hold the truth with the model's stated coverage, likeliest first."""
    abstain_reason: AbstainReason | None
    """Why the answer should not be relied on; None if it may be."""


def decide(logits: npt.NDArray[np.float32], rules: DecisionRules) -> list[Decision]:
    """Apply a model's decision rules.

    Args:
        logits: shape (batch, 7).
        rules: of the model that made them.
    """
    probabilities = temperature_scale(logits, rules.temperature)
    malignant = probabilities[:, MALIGNANT_COLUMNS].sum(axis=1).tolist()
    order = np.argsort(-probabilities, axis=1).tolist()
    decisions = []
    for row, score, ranking in zip(probabilities.tolist(), malignant, order, strict=True):
        # The likeliest class always belongs: an empty set would say less than nothing.
        prediction_set = tuple(
            CLASSES[column]
            for column in ranking
            if row[column] >= rules.prediction_set_threshold or column == ranking[0]
        )
        uncertain = len(prediction_set) > rules.max_prediction_set
        decisions.append(
            Decision(
                predicted_class=CLASSES[ranking[0]],
                probabilities=tuple(row),
                malignant_score=min(score, 1.0),
                prediction_set=prediction_set,
                abstain_reason="too_uncertain" if uncertain else None,
            )
        )
    return decisions
