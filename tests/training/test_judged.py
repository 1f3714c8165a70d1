"""Judged images: what does not fit together is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image
from training.judged import InvalidPredictions, Judged


def test_decision_confidence_and_scores_by_hand() -> None:
    images = [lesion_image("mel"), lesion_image("nv", 1)]
    probabilities = np.array(
        [[0.1, 0.2, 0, 0, 0.3, 0.4, 0], [0, 0, 0, 0, 0, 1, 0]], dtype=np.float32
    )
    logits = np.eye(7, dtype=np.float32)[[4, 5]]  # decides for mel though nv is likelier
    one = Judged(tuple(images), logits, probabilities, np.array([4, 5]))
    assert one.predicted.tolist() == [4, 5]
    assert one.confidence == pytest.approx([0.3, 1])
    assert one.malignant.tolist() == [True, False]
    assert one.scored("malignant")[0] == pytest.approx([0.6, 0])
    assert one.scored("mel")[0] == pytest.approx([0.3, 0])


def test_scores_that_round_above_one_are_one() -> None:
    images = [lesion_image("mel", i) for i in range(500)]
    rng = np.random.default_rng(0)
    logits = np.full((500, 7), -40.0)
    logits[:, [0, 1, 4]] = rng.normal(0, 1, (500, 3))
    one = judge(images, logits)
    assert one.probabilities[:, [0, 1, 4]].sum(axis=1).max() > 1  # else the case is lost
    assert one.malignant_score.max() == 1


def test_a_selection_keeps_rows_together() -> None:
    everything = judged()
    mask = everything.labels == CLASSES.index("mel")
    part = everything.select(mask)
    assert len(part) == mask.sum() > 0
    assert {image.diagnosis for image in part.images} == {"mel"}
    assert np.array_equal(part.logits, everything.logits[mask])
    assert part.count_lesions() == everything.count_lesions(mask) < len(part)


def test_what_does_not_fit_is_refused() -> None:
    good = judged(30)
    wrong = {
        "There is no image": {
            "images": (),
            "logits": good.logits[:0],
            "probabilities": good.probabilities[:0],
            "labels": good.labels[:0],
        },
        "of shape": {"logits": good.logits[:, :6]},
        "not finite": {"logits": np.where(good.logits == good.logits.max(), np.nan, good.logits)},
        "sum to 1": {"probabilities": good.probabilities * 0.9},
        "negative": {"probabilities": np.full_like(good.probabilities, np.nan)},
        "not the images' diagnoses": {"labels": (good.labels + 1) % 7},
    }
    for says, change in wrong.items():
        with pytest.raises(InvalidPredictions, match=says):
            replace(good, **change)
    with pytest.raises(InvalidPredictions, match="shape"):
        replace(good, images=good.images[1:])
