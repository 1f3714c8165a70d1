"""Label check: do the uploads' labels look like labels, to a champion that knows the classes?"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from training.bootstrap import wilson_interval
from training.judged import Judged, Labels, Mask
from training.promotion.gate_file import GateFile
from training.promotion.rule_result import RuleResult

Labelled = tuple[str, str]
"""Image id and class code."""

MAX_LESION_IMAGES = 6
"""Of one lesion in HAM10000. Uploads of what is called one lesion count as several if they are
more, or whoever uploads could hide any number of wrong labels behind one lesion id."""


def judge_labels(
    champion: Judged, uploads: Judged | None, learned: Collection[Labelled], gate: GateFile
) -> RuleResult:
    """Hold the uploads' labels to what the champion makes of true ones.

    The champion is confident of a class if it gives it at least the probability that it gives
    it on average where it is true, and contradicts a label if the likeliest of these classes is
    another one. It contradicts true labels too; how often, by class, is known from the test
    images. Uploads of the same classes are held to that share, so that hard classes are no
    suspects; what is beyond it, the excess, is judged by the lower end of its interval.

    What this cannot tell: wrong labels from pictures that the champion does not understand,
    such as those of another camera. Either way a person has to look.

    Args:
        champion: of the test images.
        uploads: what the champion says of the uploads; their labels are the uploaders'.
        learned: uploads, with their labels of then, that the champion learned from. It agrees
            with them, and they were judged before; they are left out.
        gate: the rules.

    Source: Northcutt, Jiang, Chuang, "Confident Learning: Estimating Uncertainty in Dataset
    Labels", JAIR 2021. Its thresholds are averages over the labels under suspicion; here they
    come from the test images, whose labels are not.
    """
    rule, thresholds = gate.labels, _self_confidence(champion)
    true, contradicted = _lesions(champion, thresholds)
    uploads = _without(uploads, learned)
    given, suspect = (
        (true[:0], contradicted[:0]) if uploads is None else _lesions(uploads, thresholds)
    )
    # A class without test images has no usual share to be held to.
    known = np.isin(given, true)
    given, suspect = given[known], suspect[known]
    count, contradictions = len(given), int(suspect.sum())
    interval = wilson_interval(contradictions, count)
    if interval is None or count < rule.minimum_lesions:
        return RuleResult(
            name="labels",
            passed=True,
            value=None,
            bound=rule.max_excess,
            sentence=f"Labels: not judged, because there are {count} uploaded lesions that the "
            f"champion did not learn from, fewer than {rule.minimum_lesions}.",
        )
    usual = {label: contradicted[true == label].mean() for label in np.unique(given)}
    expected = float(np.mean([usual[label] for label in given]))
    found = contradictions / count
    low, high = interval[0] - expected, interval[1] - expected
    passed = low <= rule.max_excess
    return RuleResult(
        name="labels",
        passed=passed,
        value=found - expected,
        low=low,
        high=high,
        bound=rule.max_excess,
        sentence=f"Labels: the champion contradicts {contradictions} of {count} uploaded lesions "
        f"with confidence, {found:.0%}, where true labels of these classes have it contradict "
        f"{expected:.0%}: an excess of {found - expected:+.0%} (95 % interval {low:+.0%} to "
        f"{high:+.0%}); the lower end must not be above {rule.max_excess:+.0%}."
        + ("" if passed else " Review the labels before the next run."),
    )


def _without(uploads: Judged | None, learned: Collection[Labelled]) -> Judged | None:
    if uploads is None:
        return None
    unseen = [(image.image_id, image.diagnosis) not in learned for image in uploads.images]
    return uploads.select(np.array(unseen)) if any(unseen) else None


def _self_confidence(champion: Judged) -> npt.NDArray[np.float64]:
    """Mean probability of each class where it is true; above 1 for a class without images."""
    thresholds = np.full(len(CLASSES), np.inf)
    for column in np.unique(champion.labels):
        thresholds[column] = champion.probabilities[champion.labels == column, column].mean()
    return thresholds


def _lesions(judged: Judged, thresholds: npt.NDArray[np.float64]) -> tuple[Labels, Mask]:
    """The label of each lesion, and whether the champion contradicts it on half of its images.

    A lesion with two labels counts for each; one with too many images, several times.
    """
    confident = np.where(judged.probabilities >= thresholds, judged.probabilities, -1)
    against = (confident.max(axis=1) >= 0) & (confident.argmax(axis=1) != judged.labels)
    _, lesion = np.unique([image.lesion_id for image in judged.images], return_inverse=True)
    labelled = np.stack([lesion, judged.labels], axis=1)
    lesions, member = np.unique(labelled, axis=0, return_inverse=True)
    images = np.bincount(member)
    suspect = 2 * np.bincount(member, weights=against) >= images
    times = -(-images // MAX_LESION_IMAGES)
    return lesions[:, 1].repeat(times), suspect.repeat(times)
