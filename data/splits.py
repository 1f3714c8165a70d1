"""Lesion-grouped, class-stratified splits: no lesion is seen in two of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.frozen import SEED, VERSION, FrozenSplit, Part, lesion_table
from data.ham10000 import LesionImage
from models.classes import CLASSES
from models.errors import InvalidDataset

SPLITS: tuple[Part, ...] = ("train", "validation", "test")
FRACTIONS = (0.7, 0.1, 0.2)

Merged = Iterable[Sequence[str]]
"""Disjoint groups of lesion ids that are to be one lesion, as `merged_lesions` finds them."""


@dataclass(frozen=True)
class Split:
    """Images of the three splits."""

    train: tuple[LesionImage, ...]
    validation: tuple[LesionImage, ...]
    test: tuple[LesionImage, ...]
    seed: int
    version: str | None = None
    """Name of the frozen split that placed the lesions it names; None where only the seed did."""

    @property
    def lesions(self) -> dict[str, Part]:
        """The split of each lesion, by lesion id."""
        return {image.lesion_id: name for name in SPLITS for image in getattr(self, name)}

    @property
    def hash(self) -> str:
        """SHA-256 of which lesion is where; all of HAM10000 gives that of the frozen file."""
        return hashlib.sha256(lesion_table(self.lesions)).hexdigest()


def split_by_lesion(
    images: Sequence[LesionImage], seed: int, merged: Merged | None = None
) -> Split:
    """Split 70/10/20 by lesion within each class.

    Args:
        images: at least three lesions of each class; a lesion's images share one class.
        seed: of the shuffle; the same images and seed give the same split in any order.
        merged: lesions that share a picture; a group is placed as its first lesion that is
            among the images. None takes those of HAM10000, which the frozen split names.

    Raises:
        InvalidDataset: if a class has fewer than three lesions, so that one split would
            miss it, or a lesion carries two labels.
    """
    if merged is None:
        merged = FrozenSplit.load().merged
    lesions = _group_by_lesion(images, merged)
    for code, count in _lesions_by_class(lesions).items():
        if count < len(SPLITS):
            raise InvalidDataset(
                f"Class {code} has {count} lesions; a split needs at least {len(SPLITS)}."
            )
    placed = _place(lesions, seed)
    return _collect({lesion: (lesions[lesion], part) for lesion, part in placed.items()}, seed)


def frozen_split(images: Sequence[LesionImage], merged: Merged | None = None) -> Split:
    """Split as published with the model: a test image of HAM10000 is never trained on.

    Lesions that the frozen file names keep their split. A lesion that shares a picture with
    such ones goes where they are, to test before validation before training. All others are
    split among themselves as `split_by_lesion` does, with the file's seed; of a class with
    fewer than three such lesions, all are trained on. Those others may therefore move when
    images are added: freeze the split of a dataset that is to be compared over time.

    Args:
        images: HAM10000, a part of it, another dataset or a mixture.
        merged: as in `split_by_lesion`.

    Raises:
        InvalidDataset: if a class has no lesion in one of the splits, or a lesion carries two
            labels.
    """
    frozen = FrozenSplit.load()
    groups = _group_by_lesion(images, frozen.merged if merged is None else merged)
    placed: dict[str, tuple[list[LesionImage], str]] = {}
    others: dict[str, list[LesionImage]] = {}
    for group, members in groups.items():
        ids = {image.lesion_id for image in members}
        parts = {frozen.lesions[lesion] for lesion in ids if lesion in frozen.lesions}
        if not parts:
            others[group] = members
            continue
        strictest = max(parts, key=SPLITS.index)
        for lesion in ids:
            own = [image for image in members if image.lesion_id == lesion]
            placed[lesion] = (own, frozen.lesions.get(lesion, strictest))
    version = frozen.version if placed else None
    for group, part in _place(others, frozen.seed).items():
        placed[group] = (others[group], part)
    split = _collect(placed, frozen.seed, version)
    _check_classes(split)
    return split


def freeze_split(
    images: Sequence[LesionImage], merged: Merged, dataset_hash: str, folder: Path | None = None
) -> FrozenSplit:
    """Make `ham10000_split_v1` again: the split of the published dataset, to be committed.

    The result must be the file that is there, or models are judged on what they learned from;
    for another split, give it another version. From a folder with all of HAM10000:

        from data.importing import check_images
        from data.splits import freeze_split
        checked = check_images(load_ham10000(folder))
        freeze_split(checked.dataset.images, checked.merged, checked.dataset.hash)

    Args:
        images: all of HAM10000.
        merged: lesions that share a picture, from `merged_lesions`.
        dataset_hash: `Ham10000.hash`.
        folder: where the two files are written; None is where they are read.

    Raises:
        InvalidDataset: as `split_by_lesion`.
    """
    groups = tuple(tuple(group) for group in merged)
    split = split_by_lesion(images, SEED, groups)
    made = FrozenSplit(
        version=VERSION,
        seed=SEED,
        fractions=FRACTIONS,
        merged=groups,
        images={name: _images_by_class(getattr(split, name)) for name in SPLITS},
        lesion_counts={name: list(split.lesions.values()).count(name) for name in SPLITS},
        dataset_hash=dataset_hash,
        sha256=split.hash,
        lesions=split.lesions,
    )
    made.write(folder)
    return made


def _group_by_lesion(images: Iterable[LesionImage], merged: Merged) -> dict[str, list[LesionImage]]:
    lesions: dict[str, list[LesionImage]] = defaultdict(list)
    for image in images:
        lesions[image.lesion_id].append(image)
    for lesion, members in lesions.items():
        labels = sorted({image.diagnosis for image in members})
        if len(labels) > 1:
            raise InvalidDataset(
                f"Lesion {lesion} is labelled {' and '.join(labels)}. Correct the metadata."
            )
    for group in merged:
        first, *others = [lesion for lesion in group if lesion in lesions] or [""]
        for other in others:
            lesions[first] += lesions.pop(other)
    return dict(lesions)


def _label(members: Sequence[LesionImage]) -> str:
    """The class that a lesion counts for; merged ones may be labelled differently."""
    return members[0].diagnosis


def _lesions_by_class(lesions: Mapping[str, Sequence[LesionImage]]) -> dict[str, int]:
    counts = Counter(_label(members) for members in lesions.values())
    return {code: counts[code] for code in CLASSES}


def _images_by_class(images: Iterable[LesionImage]) -> dict[str, int]:
    counts = Counter(image.diagnosis for image in images)
    return {code: counts[code] for code in CLASSES}


def _place(lesions: Mapping[str, Sequence[LesionImage]], seed: int) -> dict[str, Part]:
    """Choose the split of each lesion, class by class."""
    placed: dict[str, Part] = {}
    for code in CLASSES:
        ids = sorted(lesion for lesion, members in lesions.items() if _label(members) == code)
        # One generator per class, so that a class keeps its split when another one grows.
        rng = np.random.default_rng([seed, *code.encode()])
        rng.shuffle(ids)
        for name, part in zip(SPLITS, _cut(ids), strict=True):
            placed.update(dict.fromkeys(part, name))
    return placed


def _cut(ids: list[str]) -> tuple[list[str], list[str], list[str]]:
    if len(ids) < len(SPLITS):
        return ids, [], []
    validation = max(1, round(FRACTIONS[1] * len(ids)))
    test = max(1, round(FRACTIONS[2] * len(ids)))
    train = len(ids) - validation - test
    return ids[:train], ids[train : train + validation], ids[train + validation :]


def _collect(
    placed: Mapping[str, tuple[list[LesionImage], str]], seed: int, version: str | None = None
) -> Split:
    chosen: dict[str, list[LesionImage]] = {name: [] for name in SPLITS}
    for members, part in placed.values():
        chosen[part].extend(members)
    parts = {name: tuple(sorted(part, key=_image_id)) for name, part in chosen.items()}
    return Split(**parts, seed=seed, version=version)


def _image_id(image: LesionImage) -> str:
    return image.image_id


def _check_classes(split: Split) -> None:
    for name in SPLITS:
        absent = [code for code, n in _images_by_class(getattr(split, name)).items() if n == 0]
        if absent:
            raise InvalidDataset(
                f"No lesion of {', '.join(absent)} is in the {name} split. Add images: a split "
                f"needs at least {len(SPLITS)} lesions of each class."
            )
