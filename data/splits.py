"""Lesion-grouped, class-stratified splits: no lesion is seen in two of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data.ham10000 import LesionImage
from models.classes import CLASSES
from models.errors import InvalidDataset

SPLITS = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)

SAME_LESION: Mapping[str, str] = {"ISIC_0030074": "ISIC_0025226"}
"""Images published under another lesion id that are near-copies of the image given."""


@dataclass(frozen=True)
class Split:
    """Images of the three splits."""

    train: tuple[LesionImage, ...]
    validation: tuple[LesionImage, ...]
    test: tuple[LesionImage, ...]
    seed: int


def split_by_lesion(images: Sequence[LesionImage], seed: int) -> Split:
    """Split 70/10/20 by lesion within each class.

    Args:
        images: at least three lesions of each class; a lesion's images share one class.
        seed: of the shuffle; the same images and seed give the same split in any order.

    Raises:
        InvalidDataset: if a class has fewer than three lesions, so that one split would
            miss it, or a lesion carries two labels.
    """
    lesions = _group_by_lesion(images)
    by_class: dict[str, list[str]] = defaultdict(list)
    for lesion, members in lesions.items():
        labels = {image.diagnosis for image in members}
        if len(labels) > 1:
            raise InvalidDataset(
                f"Lesion {lesion} is labelled {' and '.join(sorted(labels))}. Correct the metadata."
            )
        by_class[labels.pop()].append(lesion)

    chosen: dict[str, list[LesionImage]] = {name: [] for name in SPLITS}
    for code in CLASSES:
        ids = sorted(by_class[code])
        if len(ids) < len(SPLITS):
            raise InvalidDataset(
                f"Class {code} has {len(ids)} lesions; a split needs at least {len(SPLITS)}."
            )
        # One generator per class, so that a class keeps its split when another one grows.
        rng = np.random.default_rng([seed, *code.encode()])
        rng.shuffle(ids)
        for name, part in zip(SPLITS, _cut(ids), strict=True):
            for lesion in part:
                chosen[name].extend(lesions[lesion])
    return Split(
        **{name: tuple(sorted(part, key=_image_id)) for name, part in chosen.items()}, seed=seed
    )


def _image_id(image: LesionImage) -> str:
    return image.image_id


def _group_by_lesion(images: Iterable[LesionImage]) -> dict[str, list[LesionImage]]:
    images = list(images)
    lesion_of = {image.image_id: image.lesion_id for image in images}
    # All images of a lesion follow it, not only the near-copy itself.
    merged = {
        lesion_of[copy]: lesion_of[original]
        for copy, original in SAME_LESION.items()
        if copy in lesion_of and original in lesion_of
    }
    lesions: dict[str, list[LesionImage]] = defaultdict(list)
    for image in images:
        lesions[merged.get(image.lesion_id, image.lesion_id)].append(image)
    return lesions


def _cut(ids: list[str]) -> tuple[list[str], list[str], list[str]]:
    validation = max(1, round(FRACTIONS[1] * len(ids)))
    test = max(1, round(FRACTIONS[2] * len(ids)))
    train = len(ids) - validation - test
    return ids[:train], ids[train : train + validation], ids[train + validation :]
