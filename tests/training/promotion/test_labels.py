"""Label check: true labels of any mix of classes pass, wrong ones do not, however they are sent."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image
from training.judged import Judged
from training.promotion.gate_file import GateFile
from training.promotion.labels import MAX_LESION_IMAGES, judge_labels

SHIPPED = GateFile.load()
CHAMPION = judged(1500, seed=1)
POOL = judged(2500, seed=2)


def _uploads(count: int, *, code: str | None = None) -> Judged:
    """Images of others, with true labels, each of its own lesion."""
    rows = np.arange(len(POOL)) if code is None else np.flatnonzero(POOL.labels == _column(code))
    firsts = list({POOL.images[row].lesion_id: row for row in rows}.values())[:count]
    assert len(firsts) == count  # else the case is lost
    return POOL.select(np.isin(np.arange(len(POOL)), firsts))


def _column(code: str) -> int:
    return CLASSES.index(code)


def _relabelled(uploads: Judged, labels: np.ndarray) -> Judged:
    images = [
        replace(image, diagnosis=CLASSES[label])
        for image, label in zip(uploads.images, labels, strict=True)
    ]
    return Judged(tuple(images), uploads.logits, uploads.probabilities, labels)


def _flipped(uploads: Judged) -> Judged:
    return _relabelled(uploads, (uploads.labels + 1) % len(CLASSES))


def _of_lesions(uploads: Judged, *lesions: str) -> Judged:
    images = [replace(i, lesion_id=lesions[n % len(lesions)]) for n, i in enumerate(uploads.images)]
    return replace(uploads, images=tuple(images))


@pytest.mark.parametrize("count", [20, 50, 200])
def test_true_labels_pass_and_wrong_ones_do_not(count: int) -> None:
    honest = judge_labels(CHAMPION, _uploads(count), (), SHIPPED)
    assert honest.passed
    assert honest.judged
    poisoned = judge_labels(CHAMPION, _flipped(_uploads(count)), (), SHIPPED)
    assert not poisoned.passed
    assert poisoned.value is not None
    assert poisoned.value > 0.4


def test_the_excess_is_over_what_the_test_images_show_by_class() -> None:
    # The champion's own test images: no excess, whatever their mix.
    for mask in (np.ones(len(CHAMPION), bool), CHAMPION.labels == _column("mel")):
        found = judge_labels(CHAMPION, CHAMPION.select(mask), (), SHIPPED)
        assert found.value == pytest.approx(0)
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0 < found.high


def test_a_lesion_counts_once() -> None:
    nevi = _uploads(60, code="nv")
    for lesions, counted in ((60, 60), (20, 20), (10, 10), (9, 15), (5, 10), (1, 10)):
        names = [f"lesion {n}" for n in range(lesions)]
        found = judge_labels(CHAMPION, _of_lesions(nevi, *names), (), SHIPPED)
        assert f"of {counted} uploaded lesions" in found.sentence, lesions
    # Six images are all that one lesion has to say.
    few = _of_lesions(nevi.select(np.arange(60) < MAX_LESION_IMAGES), "one")
    assert not judge_labels(CHAMPION, few, (), SHIPPED).judged


@pytest.mark.parametrize(("images", "contradicted"), [(1, 12), (2, 12), (3, 0), (4, 0)])
def test_a_lesion_is_contradicted_if_half_of_its_images_are(images: int, contradicted: int) -> None:
    """Of each lesion's images of a nevus, the first looks just like a melanoma."""
    code = np.array([_column("nv" if n % images else "mel") for n in range(12 * images)])
    looks = judge([lesion_image(CLASSES[c], n) for n, c in enumerate(code)], 20 * np.eye(7)[code])
    uploads = _of_lesions(
        _relabelled(looks, np.full(len(code), _column("nv"))),
        *(f"L{n // images}" for n in range(len(code))),
    )
    found = judge_labels(CHAMPION, uploads, (), SHIPPED)
    assert f"contradicts {contradicted} of 12 uploaded lesions" in found.sentence


def test_wrong_labels_do_not_hide_behind_a_lesion_id() -> None:
    wrong = _flipped(_uploads(200))
    for lesions in (("one",), ("one", "other")):
        assert not judge_labels(CHAMPION, _of_lesions(wrong, *lesions), (), SHIPPED).passed


def test_wrong_labels_do_not_hide_behind_what_the_champion_learned() -> None:
    honest, wrong = _uploads(600), _flipped(_uploads(100))
    wrong = replace(
        wrong,
        images=tuple(
            replace(i, image_id=f"new-{i.image_id}", lesion_id=f"new-{i.lesion_id}")
            for i in wrong.images
        ),
    )
    together = Judged(
        honest.images + wrong.images,
        np.concatenate([honest.logits, wrong.logits]),
        np.concatenate([honest.probabilities, wrong.probabilities]),
        np.concatenate([honest.labels, wrong.labels]),
    )
    assert judge_labels(CHAMPION, together, (), SHIPPED).passed
    learned = {(image.image_id, image.diagnosis) for image in honest.images}
    found = judge_labels(CHAMPION, together, learned, SHIPPED)
    assert not found.passed
    assert found == judge_labels(CHAMPION, wrong, (), SHIPPED)
    # A label that was changed since is a new one.
    before = {(image_id, "nv" if code != "nv" else "mel") for image_id, code in learned}
    assert judge_labels(CHAMPION, together, before, SHIPPED).passed


def test_few_or_no_uploads_are_not_judged_and_said_so() -> None:
    few = _flipped(_uploads(4))
    for uploads, learned in (
        (None, ()),
        (few, ()),
        (_uploads(5), {(i.image_id, i.diagnosis) for i in _uploads(5).images}),
    ):
        result = judge_labels(CHAMPION, uploads, learned, SHIPPED)
        assert (result.passed, result.value) == (True, None)
        assert "fewer than 5" in result.sentence
    assert judge_labels(CHAMPION, _uploads(5), (), SHIPPED).judged


def test_a_class_without_test_images_is_left_out() -> None:
    champion = CHAMPION.select(CHAMPION.labels != _column("df"))
    assert not judge_labels(champion, _uploads(20, code="df"), (), SHIPPED).judged
    mixed = judge_labels(champion, _uploads(200), (), SHIPPED)
    others = _uploads(200)
    others = others.select(others.labels != _column("df"))
    assert len(others) < 200  # else the case is lost
    assert mixed == judge_labels(champion, others, (), SHIPPED)
