"""The pictures without a lesion are many, different, and the same each time."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from data.non_lesions import non_lesions


def test_a_seed_gives_the_same_pictures() -> None:
    kinds, pictures = non_lesions(24, seed=3)
    again, same = non_lesions(24, seed=3)
    assert kinds == again
    assert np.array_equal(pictures, same)
    assert not np.array_equal(pictures, non_lesions(24, seed=4)[1])


def test_more_pictures_begin_with_the_same() -> None:
    assert np.array_equal(non_lesions(6)[1], non_lesions(12)[1][:6])


def test_the_kinds_take_turns_and_the_pictures_differ() -> None:
    kinds, pictures = non_lesions()
    assert pictures.shape == (200, 224, 224, 3)
    assert pictures.dtype == np.uint8
    counts = Counter(kinds)
    assert set(counts) == {"photograph", "noise", "text", "plain", "face", "pattern"}
    assert min(counts.values()) >= 33
    assert len({picture.tobytes() for picture in pictures}) >= 195  # two plain ones may coincide


@pytest.mark.parametrize(("kind", "flat"), [("plain", True), ("noise", False), ("text", False)])
def test_a_kind_looks_like_its_name(kind: str, flat: bool) -> None:
    kinds, pictures = non_lesions(60)
    for name, picture in zip(kinds, pictures, strict=True):
        if name == kind:
            steps = np.abs(np.diff(picture.astype(int), axis=0)).mean()
            assert bool(steps < 1.5) is flat


def test_none_are_none() -> None:
    kinds, pictures = non_lesions(0)
    assert kinds == []
    assert pictures.shape == (0, 224, 224, 3)
