"""Subgroup comparison: which group of patients, if any, a challenger serves worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.ham10000 import UNKNOWN
from models.classes import CLASSES
from training.bootstrap import CONFIDENCE, Weights
from training.estimates import Estimates
from training.judged import Judged, Mask
from training.measures import Values
from training.promotion.comparison import balanced_accuracy
from training.promotion.gate_file import GateFile
from training.subgroups import masks


@dataclass(frozen=True)
class SubgroupDifference:
    """Mean recall of one group, challenger less champion."""

    name: str
    """Such as `body site: back`."""
    images: int
    value: float
    low: float
    """Ends of an interval that holds for all groups at once, with 95 % probability."""
    high: float


@dataclass(frozen=True)
class _Group:
    name: str
    mask: Mask
    champion: Judged
    challenger: Judged
    classes: Mask
    """Those with enough images in the group, shape (7,)."""

    def difference(self, weights: Weights) -> Values:
        drawn = weights[:, self.mask]
        before = balanced_accuracy(drawn, self.champion, self.classes)
        return balanced_accuracy(drawn, self.challenger, self.classes) - before


def compare_subgroups(
    champion: Judged, challenger: Judged, gate: GateFile
) -> tuple[SubgroupDifference, ...]:
    """Compare every group that has enough images, on the same resampled lesions.

    A group's measure is the mean recall of the classes that it has enough images of: a class
    with a single image would weigh as much as one with a hundred. Both models are held to the
    same images of a group, so that its mix of classes does not tell between them.

    Of some twenty groups, one looks worse by chance. The intervals are therefore simultaneous:
    each has the width, in its own standard errors, that the most deviating group of a resample
    stays within, 95 times out of 100.

    Args:
        champion, challenger: of the same images in the same order.
        gate: the rules.

    Source: Westfall, Young, "Resampling-Based Multiple Testing", 1993 (single-step maxT).
    """
    groups = list(_groups(champion, challenger, gate))
    if not groups:
        return ()

    def differences(weights: Weights) -> dict[str, Values]:
        return {"all": np.stack([group.difference(weights) for group in groups], axis=1)}

    found = Estimates.of(challenger, differences, gate.resamples, gate.seed)
    values, resampled = found.values["all"][0], found.resampled["all"]
    errors = np.nanstd(resampled, axis=0)
    # A group in which no decision changed has no error, and cannot be the one that deviates.
    moved = errors > 0
    width = 0.0
    if moved.any():
        deviations = np.abs(resampled - values)[:, moved] / errors[moved]
        width = float(np.nanquantile(np.nanmax(deviations, axis=1), CONFIDENCE))
    return tuple(
        SubgroupDifference(
            group.name,
            len(group.challenger),
            float(value),
            float(value - width * error),
            float(value + width * error),
        )
        for group, value, error in zip(groups, values, errors, strict=True)
    )


def _groups(champion: Judged, challenger: Judged, gate: GateFile) -> list[_Group]:
    rule = gate.subgroups
    groups = []
    for kind, name, mask in masks(challenger.images):
        counts = np.bincount(challenger.labels[mask], minlength=len(CLASSES))
        classes = counts >= rule.minimum_images_of_class
        # Nobody belongs to the unknown; the group of all would repeat the whole test.
        if name == UNKNOWN or mask.all() or mask.sum() < rule.minimum_images or not classes.any():
            continue
        groups.append(
            _Group(f"{kind}: {name}", mask, champion.select(mask), challenger.select(mask), classes)
        )
    return groups
