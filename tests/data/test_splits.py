"""Splits: every image in one, no lesion in two, the same from any order."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.ham10000 import Ham10000, LesionImage
from data.splits import FRACTIONS, SAME_LESION, SPLITS, Split, split_by_lesion
from models.classes import CLASSES
from models.errors import InvalidDataset

Sizes = dict[str, list[int]]
"""Number of images of each lesion, by class."""


def _image(image_id: str, lesion_id: str, diagnosis: str) -> LesionImage:
    return LesionImage(image_id, lesion_id, diagnosis, "histo", Path(f"{image_id}.jpg"), True)


def _images(sizes: Sizes) -> list[LesionImage]:
    return [
        _image(f"{code}-{lesion}-{number}", f"{code}-{lesion}", code)
        for code, lesions in sizes.items()
        for lesion, count in enumerate(lesions)
        for number in range(count)
    ]


def _parts(split: Split) -> dict[str, tuple[LesionImage, ...]]:
    return {name: getattr(split, name) for name in SPLITS}


_lesions = st.lists(st.integers(1, 4), min_size=3, max_size=40)
datasets = st.fixed_dictionaries(dict.fromkeys(CLASSES, _lesions)).map(_images)
seeds = st.integers(0, 2**32)


@settings(deadline=None, max_examples=50)
@given(images=datasets, seed=seeds)
def test_every_image_is_in_one_split_and_no_lesion_in_two(
    images: list[LesionImage], seed: int
) -> None:
    parts = _parts(split_by_lesion(images, seed))
    assert Counter(image for part in parts.values() for image in part) == Counter(images)
    lesions = Counter(lesion for part in parts.values() for lesion in {i.lesion_id for i in part})
    assert set(lesions.values()) == {1}


@settings(deadline=None, max_examples=50)
@given(images=datasets, seed=seeds)
def test_the_fractions_hold_within_one_lesion_of_each_class(
    images: list[LesionImage], seed: int
) -> None:
    parts = _parts(split_by_lesion(images, seed))
    for code in CLASSES:
        lesions = {i.lesion_id for i in images if i.diagnosis == code}
        got = [len({i.lesion_id for i in part} & lesions) for part in parts.values()]
        wanted = [fraction * len(lesions) for fraction in FRACTIONS]
        assert min(got) >= 1
        # With three lesions each split has one, which leaves training 1.1 short.
        assert all(abs(g - w) <= 1.1 for g, w in zip(got, wanted, strict=True))
        if len(lesions) > 3:
            assert all(abs(g - w) <= 1 for g, w in zip(got, wanted, strict=True))


@settings(deadline=None, max_examples=50)
@given(images=datasets, seed=seeds, shuffle=st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(
    images: list[LesionImage], seed: int, shuffle: random.Random
) -> None:
    shuffled = images.copy()
    shuffle.shuffle(shuffled)
    assert split_by_lesion(shuffled, seed) == split_by_lesion(images, seed)


def test_the_seed_decides() -> None:
    images = _images({code: [1] * 20 for code in CLASSES})
    splits = {split_by_lesion(images, seed).test for seed in range(5)}
    assert len(splits) == 5
    assert split_by_lesion(images, seed=3).seed == 3


def test_a_class_keeps_its_split_when_another_grows() -> None:
    before = split_by_lesion(_images({code: [1] * 20 for code in CLASSES}), seed=1)
    sizes = {code: [1] * (20 if code == "mel" else 90) for code in CLASSES}
    after = split_by_lesion(_images(sizes), seed=1)
    assert [i for i in after.test if i.diagnosis == "mel"] == [
        i for i in before.test if i.diagnosis == "mel"
    ]


@pytest.mark.parametrize("seed", range(10))
def test_near_copies_and_their_lesions_stay_together(seed: int) -> None:
    images = _images({code: [1] * 30 for code in CLASSES})
    (copy, original), *_ = SAME_LESION.items()
    related = [
        _image(copy, "copy", "nv"),
        _image("sister of the copy", "copy", "nv"),
        _image(original, "original", "nv"),
        _image("sister of the original", "original", "nv"),
    ]
    parts = _parts(split_by_lesion(images + related, seed))
    assert {len(set(related) & set(part)) for part in parts.values()} == {0, 4}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_class_with_too_few_lesions_is_refused(count: int) -> None:
    sizes = {code: [2] * (count if code == "df" else 5) for code in CLASSES}
    with pytest.raises(InvalidDataset, match=f"Class df has {count} lesions"):
        split_by_lesion(_images(sizes), seed=0)


def test_a_lesion_with_two_labels_is_refused() -> None:
    images = _images({code: [1] * 5 for code in CLASSES})
    images += [_image("one", "both", "nv"), _image("other", "both", "mel")]
    with pytest.raises(InvalidDataset, match="Lesion both is labelled mel and nv"):
        split_by_lesion(images, seed=0)


def test_the_real_dataset_splits_as_published_with_the_model(real_ham10000: Ham10000) -> None:
    parts = _parts(split_by_lesion(real_ham10000.images, seed=7))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 7012,
        "validation": 994,
        "test": 2009,
    }
    counts = Counter(image.diagnosis for image in parts["test"])
    assert [counts[code] for code in CLASSES] == [79, 105, 212, 27, 228, 1329, 29]
    placed = {image.image_id: name for name, part in parts.items() for image in part}
    assert all(placed[copy] == placed[original] for copy, original in SAME_LESION.items())
