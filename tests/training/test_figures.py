"""Figures: every one draws from any evaluation, shows its numbers and leaves no global state."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from models.classes import CLASSES
from tests.conftest import PROJECT
from tests.training.predictions import judge, judged, lesion_image, perfect
from training.evaluate import evaluate
from training.figure_style import COLOURS, new_figure, png, spread
from training.figures import (
    class_counts_figure,
    class_heatmap,
    confusion_figure,
    reliability_figure,
    roc_figure,
    subgroup_figure,
    training_figure,
)
from training.results import Evaluation

FIGURES = (
    confusion_figure,
    roc_figure,
    reliability_figure,
    class_heatmap,
    class_counts_figure,
    subgroup_figure,
)
HISTORY = [
    {"epoch": 1, "loss": 1.2, "balanced_accuracy": 0.5, "macro_auc": 0.8, "seconds": 3},
    {"epoch": 2, "loss": 0.9, "balanced_accuracy": 0.7, "macro_auc": 0.9, "seconds": 3},
    {"epoch": 3, "loss": 0.8, "balanced_accuracy": 0.6, "macro_auc": None, "seconds": 3},
]


@pytest.fixture(scope="module")
def whole() -> Evaluation:
    return evaluate(judged(500), 50, malignant_threshold=0.3)


@pytest.fixture(scope="module", params=["all", "four classes", "one class", "one image", "perfect"])
def evaluation(request: pytest.FixtureRequest, whole: Evaluation) -> Evaluation:
    if request.param == "four classes":
        return evaluate(judged(300, classes=("bcc", "bkl", "mel", "nv")), 20)
    if request.param == "one class":
        return evaluate(perfect(("nv",), 30), 20, malignant_threshold=0.3)
    if request.param == "one image":
        return evaluate(judge([lesion_image("mel")], np.eye(7)[:1]), 0)
    if request.param == "perfect":
        return evaluate(perfect(), 20, malignant_threshold=0.5)
    return whole


def _texts(figure: Figure) -> str:
    parts = [figure.get_suptitle()]
    for axes in figure.axes:
        parts += [text.get_text() for text in axes.texts]
        parts += [label.get_text() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())]
        if legend := axes.get_legend():
            parts += [text.get_text() for text in legend.get_texts()]
    return " ".join(parts).replace("\n", " ")


@pytest.mark.parametrize("draw", FIGURES, ids=lambda draw: draw.__name__)
def test_any_evaluation_is_drawn(
    evaluation: Evaluation, draw: Callable[[Evaluation], Figure]
) -> None:
    before = dict(matplotlib.rcParams)
    figure = draw(evaluation)
    with Image.open(io.BytesIO(png(figure, dpi=50))) as image:
        assert image.format == "PNG"
        assert image.width == 400
        assert len(image.convert("L").getcolors() or ()) > 10  # something is drawn
    assert figure.get_suptitle()
    assert "nan" not in _texts(figure)
    assert dict(matplotlib.rcParams) == before


def test_pyplot_stays_out() -> None:
    code = "import sys, training.figures; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, check=True, timeout=60)


def test_the_numbers_are_on_the_pictures(whole: Evaluation) -> None:
    confusion, heatmap = _texts(confusion_figure(whole)), _texts(class_heatmap(whole))
    roc, counts = _texts(roc_figure(whole)), _texts(class_counts_figure(whole))
    for code, row in zip(CLASSES, whole.confusion.counts, strict=True):
        result = whole.by_class[code]
        assert f"{code} {sum(row):,} images" in confusion
        assert f"{result.images:,} images of {result.lesions:,} lesions" in counts
        assert result.auc is not None
        assert f"{code}  {result.auc.value:.3f}" in roc
        for name in ("recall", "precision", "f1", "specificity", "auc"):
            estimate = getattr(result, name)
            assert f"{estimate.value:.2f} " in heatmap
            assert f"{estimate.low:.2f} to {estimate.high:.2f}" in heatmap
    assert whole.malignant is not None
    assert whole.malignant.sensitivity is not None
    assert f"sensitivity {whole.malignant.sensitivity.value:.2f}" in roc


def test_the_same_numbers_give_the_same_bytes(whole: Evaluation) -> None:
    first, second = (png(class_counts_figure(whole)) for _ in range(2))
    assert first == second
    with Image.open(io.BytesIO(first)) as image:
        assert image.width == 1440


def test_small_groups_say_so(whole: Evaluation) -> None:
    untold = [g for g in whole.subgroups if g.specificity and not g.sensitivity]
    text = _texts(subgroup_figure(whole))
    assert text.count("too few to tell") == len(untold)


def test_training_curves_end_with_their_last_values() -> None:
    figure = training_figure(HISTORY)
    png(figure, dpi=50)
    assert "was best in epoch 2 (0.700)" in figure.get_suptitle().replace("\n", " ")
    text = _texts(figure)
    for end in ("training 0.800", "balanced accuracy 0.600", "macro AUC 0.900"):
        assert end in text
    for part in ([], HISTORY[:1], [{"epoch": 1}]):
        png(training_figure(part), dpi=50)


def test_labels_keep_their_distance_and_order() -> None:
    moved = spread([0.50, 0.20, 0.51, 0.505], 0.1)
    assert moved == pytest.approx([0.50, 0.20, 0.70, 0.60])
    assert spread([], 0.1) == []


def test_a_long_title_is_wrapped() -> None:
    title = new_figure(3, "word " * 30).get_suptitle()
    lines = title.split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= 80


def test_colours_are_distinct_in_grey_or_dash() -> None:
    assert COLOURS.keys() == {*CLASSES, "malignant"}
    assert len(set(COLOURS.values())) == len(COLOURS)
