"""The decision: logits to a calibrated answer by a model's own rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.package import DecisionRules

AbstainReason = Literal["out_of_distribution", "too_uncertain"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one image."""

    predicted_class: str
    """The class that the image speaks for most, all classes taken as equally frequent."""
    probabilities: tuple[float, ...]
    """Calibrated at the training data's class frequencies, in the order of `CLASSES`, summing
    to 1. Another class than `predicted_class` may be likelier only because it is common."""
    malignant_score: float
    """p(mel) + p(bcc) + p(akiec)."""
    prediction_set: tuple[str, ...]
    """`predicted_class` and what else the stated coverage cannot rule out, likeliest first."""
    novelty: float
    """How unlike the training images the image is; see `models.novelty`."""
    abstain_reason: AbstainReason | None
    """Why the answer should not be relied on; None if it may be."""


def calibrated_probabilities(
    logits: npt.NDArray[np.float32], rules: DecisionRules
) -> npt.NDArray[np.float32]:
    """Class probabilities at the frequencies of the training data.

    Args:
        logits: shape (batch, 7).
        rules: of the model that made them.

    Returns:
        float32, shape (batch, 7), each row summing to 1.
    """
    return temperature_scale(logits + np.asarray(rules.logit_shift, np.float32), rules.temperature)


def decide(
    logits: npt.NDArray[np.float32], novelty: npt.NDArray[np.float32], rules: DecisionRules
) -> list[Decision]:
    """Apply a model's decision rules.

    Args:
        logits: shape (batch, 7).
        novelty: scores of the same images, shape (batch,).
        rules: of the model that made them.
    """
    probabilities = calibrated_probabilities(logits, rules)
    predicted = logits.argmax(axis=1).tolist()
    malignant = probabilities[:, MALIGNANT_COLUMNS].sum(axis=1).tolist()
    order = np.argsort(-probabilities, axis=1).tolist()
    decisions = []
    for row, best, score, unlikeness, ranking in zip(
        probabilities.tolist(), predicted, malignant, novelty.tolist(), order, strict=True
    ):
        prediction_set = tuple(
            CLASSES[column]
            for column in ranking
            if row[column] >= rules.prediction_set_threshold or column == best
        )
        reason: AbstainReason | None = None
        # Of a picture that shows no lesion, nothing else is worth saying.
        if unlikeness > rules.novelty_threshold:
            reason = "out_of_distribution"
        elif len(prediction_set) > rules.max_prediction_set:
            reason = "too_uncertain"
        decisions.append(
            Decision(
                predicted_class=CLASSES[best],
                probabilities=tuple(row),
                malignant_score=min(score, 1.0),
                prediction_set=prediction_set,
                novelty=unlikeness,
                abstain_reason=reason,
            )
        )
    return decisions
