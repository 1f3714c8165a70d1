"""Splits: every image in one, no lesion in two, the same from any order."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.frozen import FrozenSplit
from data.ham10000 import Ham10000, LesionImage
from data.splits import (
    FRACTIONS,
    SPLITS,
    Split,
    freeze_split,
    frozen_split,
    split_by_lesion,
)
from models.classes import CLASSES
from models.errors import InvalidDataset
from tests.conftest import PROJECT

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
def test_merged_lesions_stay_together(seed: int) -> None:
    images = _images({code: [1] * 30 for code in CLASSES})
    related = [_image(f"{lesion} {n}", lesion, "nv") for lesion in "abc" for n in range(2)]
    groups = [("b", "absent", "a", "c"), ("nowhere", "else")]
    parts = _parts(split_by_lesion(images + related, seed, groups))
    assert {len(set(related) & set(part)) for part in parts.values()} == {0, 6}


def test_merged_lesions_are_those_of_ham10000_unless_told() -> None:
    (group,) = FrozenSplit.load().merged
    images = _images({code: [1] * 30 for code in CLASSES})
    related = [_image(lesion, lesion, "nv") for lesion in group]
    apart = 0
    for seed in range(20):
        together = split_by_lesion(images + related, seed).lesions
        assert len({together[lesion] for lesion in group}) == 1
        alone = split_by_lesion(images + related, seed, merged=()).lesions
        apart += len({alone[lesion] for lesion in group}) == 2
    assert apart > 0


def test_merged_lesions_of_two_labels_are_one_lesion() -> None:
    images = _images({code: [1] * 5 for code in CLASSES})
    images += [_image("one", "first", "nv"), _image("other", "second", "mel")]
    lesions = split_by_lesion(images, 0, [("first", "second")]).lesions
    assert lesions["first"] == lesions["second"]


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


def test_other_datasets_split_as_ever() -> None:
    images = _images({code: [2] * 12 for code in CLASSES})
    split = frozen_split(images)
    assert split == split_by_lesion(images, seed=7)
    assert split.version is None


def _of_ham10000(count: int = 400) -> list[LesionImage]:
    """Images of lesions that the frozen split names; their classes are made up."""
    lesions = sorted(FrozenSplit.load().lesions)[:count]
    return [
        _image(f"{lesion}-{number}", lesion, CLASSES[index % len(CLASSES)])
        for index, lesion in enumerate(lesions)
        for number in range(1 + index % 2)
    ]


@settings(deadline=None, max_examples=30)
@given(others=st.dictionaries(st.sampled_from(CLASSES), _lesions).map(_images))
def test_named_lesions_keep_their_split_whatever_comes_with_them(
    others: list[LesionImage],
) -> None:
    named = FrozenSplit.load().lesions
    split = frozen_split(_of_ham10000() + others)
    assert split.version == "ham10000-v1"
    assert {k: v for k, v in split.lesions.items() if k in named} == {
        image.lesion_id: named[image.lesion_id] for image in _of_ham10000()
    }
    placed = Counter(image for part in _parts(split).values() for image in part)
    assert placed == Counter(_of_ham10000() + others)


@pytest.mark.parametrize("count", [1, 2])
def test_few_new_lesions_are_trained_on(count: int) -> None:
    new = [_image(f"new {number}", f"new {number}", "df") for number in range(count)]
    split = frozen_split(_of_ham10000() + new)
    assert set(new) <= set(split.train)


@pytest.mark.parametrize(
    ("near", "goes"),
    [
        (["train"], "train"),
        (["validation", "train"], "validation"),
        (["train", "test", "validation"], "test"),
    ],
)
def test_a_copy_of_a_named_lesion_goes_to_the_strictest_of_its_splits(
    near: list[str], goes: str
) -> None:
    known = _of_ham10000()
    named = FrozenSplit.load().lesions
    originals = [next(i.lesion_id for i in known if named[i.lesion_id] == part) for part in near]
    lesions = frozen_split([*known, _image("copy", "new", "nv")], [("new", *originals)]).lesions
    assert lesions["new"] == goes
    assert [lesions[lesion] for lesion in originals] == near


def test_a_class_that_a_split_lacks_is_refused() -> None:
    named = FrozenSplit.load().lesions
    images = [i for i in _of_ham10000() if i.diagnosis != "df" or named[i.lesion_id] != "test"]
    with pytest.raises(InvalidDataset, match="No lesion of df is in the test split"):
        frozen_split(images)


def test_the_hash_names_where_each_lesion_is() -> None:
    images = _images({code: [2] * 12 for code in CLASSES})
    split = split_by_lesion(images, seed=1)
    assert split_by_lesion(images[::-1], seed=1).hash == split.hash
    assert split_by_lesion(images[:-2], seed=1).hash != split.hash
    assert split_by_lesion(images, seed=2).hash != split.hash


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
    assert placed["ISIC_0030074"] == placed["ISIC_0025226"]


def test_the_frozen_split_is_that_of_the_published_model(real_ham10000: Ham10000) -> None:
    frozen = FrozenSplit.load()
    split = frozen_split(real_ham10000.images)
    # The champion was trained with this call, before there was a file.
    assert _parts(split) == _parts(split_by_lesion(real_ham10000.images, seed=7))
    assert split.hash == frozen.sha256
    assert frozen.dataset_hash == real_ham10000.hash
    for name, part in _parts(split).items():
        assert frozen.images[name] == Counter(image.diagnosis for image in part)
        assert frozen.lesion_counts[name] == len({image.lesion_id for image in part})


def test_the_frozen_split_can_be_made_again(real_ham10000: Ham10000, tmp_path: Path) -> None:
    frozen = FrozenSplit.load()
    freeze_split(real_ham10000.images, frozen.merged, real_ham10000.hash, tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (PROJECT / "data" / path.name).read_bytes()
    assert FrozenSplit.load(tmp_path) == frozen


def test_half_of_the_images_split_as_all_of_them(real_ham10000: Ham10000) -> None:
    whole = frozen_split(real_ham10000.images).lesions
    half = frozen_split(real_ham10000.images[::2])
    assert half.lesions.items() <= whole.items()
    assert half.hash != FrozenSplit.load().sha256
