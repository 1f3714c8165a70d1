"""Subgroup comparison: a group that is served worse is found, and one of many by chance is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from data.ham10000 import UNKNOWN, LesionImage
from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image
from training.judged import Judged
from training.promotion.gate_file import GateFile
from training.promotion.subgroup_comparison import SubgroupDifference, compare_subgroups

SHIPPED = GateFile.load()
FEW_RESAMPLES = SHIPPED.model_copy(update={"resamples": 300})


def _noisy(before: Judged, seed: int, noise: float = 0.5) -> Judged:
    rng = np.random.default_rng(seed)
    return judge(list(before.images), before.logits + rng.normal(0, noise, before.logits.shape))


def _by_name(found: tuple[SubgroupDifference, ...]) -> dict[str, SubgroupDifference]:
    return {group.name: group for group in found}


def test_the_group_that_is_served_worse_is_found() -> None:
    before = judged(1500)
    feet = np.array([image.body_site == "foot" for image in before.images])
    logits = before.logits.copy()
    logits[feet] = np.roll(logits[feet], 1, axis=1)
    after = replace(before, logits=logits)
    found = _by_name(compare_subgroups(before, after, SHIPPED))
    assert found["body site: foot"].high < -0.2
    assert min(found.values(), key=lambda group: group.value).name == "body site: foot"
    for untouched in ("body site: back", "body site: face"):
        one = found[untouched]
        assert (one.value, one.low, one.high) == (0, 0, 0)


def test_one_of_many_groups_by_chance_is_no_proof() -> None:
    refused = 0
    for seed in range(40):
        pool = judged(500, seed)
        # Both models are as good as the other: only their noise differs.
        pair = _noisy(pool, 2 * seed + 1), _noisy(pool, 2 * seed + 2)
        found = compare_subgroups(*pair, FEW_RESAMPLES)
        assert len(found) > 8
        refused += any(group.high < 0 for group in found)
    assert refused <= 3  # 2.5 % of 40 is one


def test_simultaneous_intervals_are_wider_than_each_alone() -> None:
    before = judged(800)
    found = compare_subgroups(before, _noisy(before, 1), SHIPPED)
    men = np.array([image.sex == "male" for image in before.images])
    pair = (before.select(men), _noisy(before, 1).select(men))
    alone = compare_subgroups(*(replace(j, images=_one_group(j)) for j in pair), SHIPPED)
    assert len(alone) == 1
    ratio = _width(_by_name(found)["sex: male"]) / _width(alone[0])
    assert 1.2 < ratio < 2


def _one_group(one: Judged) -> tuple[LesionImage, ...]:
    """One group of all but one image, and none besides."""
    plain = {"sex": UNKNOWN, "age": None, "diagnosis_source": "", "sharp": False}
    return tuple(
        replace(image, body_site=UNKNOWN if n == 0 else "back", **plain)
        for n, image in enumerate(one.images)
    )


def _width(group: SubgroupDifference) -> float:
    return group.high - group.low


def test_a_class_with_an_image_or_two_does_not_weigh_like_one_with_a_hundred() -> None:
    images = [lesion_image("nv", n, sex="male") for n in range(100)]
    images += [lesion_image("mel", 200 + n, sex="male") for n in range(60)]
    images += [lesion_image("df", 300 + n, sex="male") for n in range(4)]
    images += [lesion_image("nv", 400 + n) for n in range(60)]
    right = np.array([5.0 * np.eye(7)[CLASSES.index(image.diagnosis)] for image in images])
    wrong = right.copy()
    wrong[160:164] = right[0]  # all four dermatofibromas of men
    wrong[100:106] = right[0]  # six melanomas of sixty
    found = _by_name(compare_subgroups(judge(images, right), judge(images, wrong), SHIPPED))
    assert found["sex: male"].value == pytest.approx(-0.1 / 2)
    assert found["sex: male"].images == 164


def test_small_groups_the_unknown_and_everybody_are_no_groups() -> None:
    rule = SHIPPED.subgroups
    images = [
        lesion_image("nv", n, age=None, sex="male" if n < 49 else "female", body_site=UNKNOWN)
        for n in range(300)
    ]
    one = judge(images, np.tile(5 * np.eye(7)[CLASSES.index("nv")], (300, 1)))
    assert set(_by_name(compare_subgroups(one, one, SHIPPED))) == {"sex: female"}
    lenient = SHIPPED.model_copy(
        update={"subgroups": rule.model_copy(update={"minimum_images": 49})}
    )
    assert set(_by_name(compare_subgroups(one, one, lenient))) == {"sex: female", "sex: male"}
    none = SHIPPED.model_copy(
        update={"subgroups": rule.model_copy(update={"minimum_images_of_class": 301})}
    )
    assert compare_subgroups(one, one, none) == ()
