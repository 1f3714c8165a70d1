"""Subgroups: every image in its band, small groups untold."""

from __future__ import annotations

import numpy as np
import pytest

from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image
from training.judged import Judged
from training.results import Subgroup
from training.subgroups import MINIMUM_IMAGES, age_band, subgroups


def _perfect(*groups: tuple[int, str, dict[str, object]]) -> Judged:
    images = []
    for count, code, attributes in groups:
        images += [lesion_image(code, len(images) + i, **attributes) for i in range(count)]
    labels = [CLASSES.index(image.diagnosis) for image in images]
    return judge(images, 9 * np.eye(7)[labels])


def _by_name(split: Judged, threshold: float | None = 0.5) -> dict[tuple[str, str], Subgroup]:
    return {(g.kind, g.name): g for g in subgroups(split, threshold, 50, 0)}


@pytest.mark.parametrize(
    ("age", "band"),
    [
        (0.0, "under 30"),
        (29.9, "under 30"),
        (30.0, "30 to 44"),
        (45.0, "45 to 59"),
        (60.0, "60 to 74"),
        (75.0, "75 and over"),
        (110.0, "75 and over"),
        (None, "unknown"),
        (-1.0, "unknown"),
        (float("nan"), "unknown"),
    ],
)
def test_age_bands(age: float | None, band: str) -> None:
    assert age_band(age) == band


def test_groups_are_judged_on_their_own_images() -> None:
    split = judged(900)
    groups = _by_name(split)
    for name in ("male", "female"):
        mask = np.array([image.sex == name for image in split.images])
        part, group = split.select(mask), groups["sex", name]
        recalls = [
            (part.predicted[part.labels == label] == label).mean()
            for label in np.unique(part.labels)
        ]
        assert group.images == mask.sum()
        assert group.balanced_accuracy is not None
        assert group.balanced_accuracy.value == pytest.approx(np.mean(recalls))
        assert group.sensitivity is not None
        assert group.sensitivity.value == pytest.approx(
            (part.malignant_score[part.malignant] >= 0.5).mean()
        )
    assert groups["label from", "histology"].images == sum(
        image.diagnosis_source == "histo" for image in split.images
    )
    assert groups["resolution", "sharp"].images == sum(image.sharp for image in split.images)


def test_the_classes_present_are_named_and_no_other_counts() -> None:
    split = _perfect((30, "nv", {"sex": "male"}), (25, "bkl", {"sex": "male"}))
    group = _by_name(split)["sex", "male"]
    assert group.images_by_class == {"bkl": 25, "nv": 30}
    assert group.balanced_accuracy is not None
    assert group.balanced_accuracy.value == 1
    assert group.sensitivity is None  # there is nothing malignant
    assert group.specificity is not None


def test_a_small_group_is_untold() -> None:
    least, fewer = MINIMUM_IMAGES, MINIMUM_IMAGES - 1
    groups = _by_name(
        _perfect((least, "nv", {"body_site": "foot"}), (fewer, "nv", {"body_site": "ear"}))
    )
    ear = groups["body site", "ear"]
    assert ear.too_few
    assert ear.images == fewer
    assert ear.balanced_accuracy is ear.sensitivity is ear.specificity is None
    assert not groups["body site", "foot"].too_few
    assert groups["body site", "foot"].specificity is not None


def test_a_few_malignant_images_give_no_sensitivity() -> None:
    split = _perfect((50, "nv", {}), (MINIMUM_IMAGES - 1, "mel", {}))
    group = _by_name(split)["sex", "female"]
    assert group.sensitivity is None
    assert group.specificity is not None


def test_ages_come_in_order_and_unknown_last() -> None:
    ages = (80.0, None, 20.0, 50.0)
    split = _perfect(*((3, "nv", {"age": age, "sex": "unknown"}) for age in ages))
    names = [name for kind, name in _by_name(split) if kind == "age"]
    assert names == ["under 30", "45 to 59", "75 and over", "unknown"]


def test_without_a_threshold_there_are_no_rates() -> None:
    group = _by_name(judged(400), None)["sex", "male"]
    assert group.sensitivity is group.specificity is None
    assert group.balanced_accuracy is not None
