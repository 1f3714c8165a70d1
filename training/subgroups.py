"""Subgroups: the same model on women and men, young and old, arms and backs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from data.ham10000 import UNKNOWN, LesionImage
from models.classes import CLASSES
from training.bootstrap import Weights
from training.estimates import Estimates
from training.judged import Judged, Mask
from training.measures import Values, confusion_matrices, mean_of_defined, rates_at, share
from training.results import Estimate, Subgroup

MINIMUM_IMAGES = 20
"""Of a subgroup to be judged at all, and of a rate's malignant or benign images."""

AGE_BANDS = (
    ("under 30", 0, 30),
    ("30 to 44", 30, 45),
    ("45 to 59", 45, 60),
    ("60 to 74", 60, 75),
    ("75 and over", 75, np.inf),
)
"""Name, first year, first year after."""


def subgroups(
    judged: Judged, threshold: float | None, resamples: int, seed: int
) -> tuple[Subgroup, ...]:
    """Judge every subgroup that has an image.

    Args:
        judged: all images.
        threshold: of the malignant score, in 0..1; None leaves the rates out.
        resamples: for the intervals; >= 0.
        seed: of the resamples.
    """
    return tuple(
        _judge(kind, name, judged.select(mask), threshold, resamples, seed)
        for kind, name, mask in masks(judged.images)
    )


def masks(images: tuple[LesionImage, ...]) -> Iterator[tuple[str, str, Mask]]:
    """Which images are in each subgroup: attribute, its value, and a mask of shape (images,)."""
    attributes = {
        "sex": [image.sex for image in images],
        "age": [age_band(image.age) for image in images],
        "body site": [image.body_site for image in images],
        "label from": ["histology" if i.diagnosis_source == "histo" else "" for i in images],
        "resolution": ["sharp" if image.sharp else "" for image in images],
    }
    bands = [name for name, _, _ in AGE_BANDS]
    for kind, values in attributes.items():
        column, counts = np.asarray(values), Counter(filter(None, values))
        # Ages in their order, the rest from the most frequent; unknown always last.
        names = sorted(
            counts,
            key=lambda name: (
                name == UNKNOWN,
                bands.index(name) if name in bands else 0,
                -counts[name],
                name,
            ),
        )
        for name in names:
            yield kind, name, column == name


def age_band(age: float | None) -> str:
    """The name of the band that an age in years falls into."""
    if age is not None:
        for name, first, after in AGE_BANDS:
            if first <= age < after:
                return name
    return UNKNOWN


def _judge(
    kind: str, name: str, judged: Judged, threshold: float | None, resamples: int, seed: int
) -> Subgroup:
    malignant = judged.malignant
    too_few = len(judged) < MINIMUM_IMAGES

    def measures(weights: Weights) -> dict[str, Values]:
        matrix = confusion_matrices(weights, judged.labels, judged.predicted)
        right = np.diagonal(matrix, axis1=1, axis2=2)
        values = {"balanced_accuracy": mean_of_defined(share(right, matrix.sum(axis=2)))}
        if threshold is not None:
            values["sensitivity"], values["specificity"] = rates_at(weights, judged, threshold)
        return values

    estimates = None if too_few else Estimates.of(judged, measures, resamples, seed)

    def rate(measure: str, among: Mask) -> Estimate | None:
        if estimates is None or threshold is None or among.sum() < MINIMUM_IMAGES:
            return None
        return estimates.get(measure, share_of=among)

    counts = np.bincount(judged.labels, minlength=len(CLASSES)).tolist()
    return Subgroup(
        kind=kind,
        name=name,
        images=len(judged),
        lesions=judged.count_lesions(),
        images_by_class={c: n for c, n in zip(CLASSES, counts, strict=True) if n},
        too_few=too_few,
        balanced_accuracy=estimates.get("balanced_accuracy") if estimates else None,
        sensitivity=rate("sensitivity", malignant),
        specificity=rate("specificity", ~malignant),
    )
