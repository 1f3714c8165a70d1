"""The report: self-contained, accessible, escaped, and the same numbers on page and in JSON."""

from __future__ import annotations

import json
import re
from datetime import datetime, timezone
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from models.classes import CLASSES
from tests.training.predictions import judge, judged, lesion_image, perfect
from training.evaluate import calibration_of, evaluate
from training.operating_points import operating_points
from training.report import Report, ReportNotWritten, Section, render, write_report
from training.results import Evaluation

HOSTILE = '<script>alert("1")</script> & "quotes" {{ 7 * 7 }}'
HISTORY = [{"epoch": 1, "loss": 1.0, "balanced_accuracy": 0.5, "images_per_s": 50.0}]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(judged(500), 50, malignant_threshold=0.3)


@pytest.fixture(scope="module")
def page(evaluation: Evaluation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with every section."""
    split = judged(500)
    step = calibration_of(split.probabilities, split.predicted, split.labels)
    return write_report(
        tmp_path_factory.mktemp("report") / "new" / "folder",
        evaluation,
        model_version=HOSTILE,
        dataset_hash="abc123",
        facts={"engine": HOSTILE},
        before_after_calibration={"before": step, HOSTILE: step},
        operating_points=operating_points(judged(300, seed=3), split, {HOSTILE: 0.4}, 20),
        history=HISTORY,
        created=datetime(2026, 1, 2, tzinfo=timezone.utc),
        novelty=Section(title="Novelty", columns=("a", "b"), rows=((HOSTILE, "0.5"),)),
        quantisation=Section(title=HOSTILE, sentences=(HOSTILE,)),
        extra=(Section(title="More"),),
    )


class _Elements(HTMLParser):
    """Collects start tags, checks that every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_needs_nothing_beside_it(page: Path) -> None:
    elements = _Elements(page.read_text())
    for tag, attributes in elements.found:
        assert tag not in ("script", "link", "iframe", "object")
        assert not any(name.startswith("on") for name in attributes)
        if source := attributes.get("src"):
            assert source.startswith("data:image/png;base64,")
        if target := attributes.get("href"):
            assert target.startswith("#")
            assert any(other.get("id") == target[1:] for _, other in elements.found)
    assert "url(" not in page.read_text()


def test_the_page_can_be_read_without_seeing_it(page: Path) -> None:
    elements = _Elements(page.read_text())
    assert elements.all("html") == [{"lang": "en"}]
    assert len(elements.all("h1")) == 1
    images = elements.all("img")
    assert len(images) == 7
    assert all(len(image["alt"] or "") > 40 for image in images)
    assert len({image["alt"] for image in images}) == 7
    assert len(elements.all("caption")) == len(elements.all("table")) > 4
    assert all(header.get("scope") in ("col", "row") for header in elements.all("th"))


def test_text_is_escaped(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text
    assert "{{ 7 * 7 }}" in text  # neither run
    assert "&lt;script&gt;" in text
    assert HOSTILE in " ".join(_Elements(text).text)


def test_page_and_json_say_the_same(page: Path, evaluation: Evaluation) -> None:
    report = Report.model_validate_json((page.parent / "report.json").read_bytes())
    assert report.evaluation == evaluation
    assert report.model_version == HOSTILE
    assert report.history[0].balanced_accuracy == 0.5
    text = " ".join(_Elements(page.read_text()).text)
    for code in CLASSES:
        result = evaluation.by_class[code]
        assert result.recall is not None
        assert f"{result.recall.value:.3f}\n({result.recall.low:.3f} to" in text
    assert "Research and education only." in text
    assert "abc123" in text
    assert "2026-01-02" in text
    assert "too few to tell" in text
    assert "Intended use and limits" in text


def test_the_figures_lie_beside_it(page: Path) -> None:
    names = {path.name for path in page.parent.iterdir()}
    pictures = {
        f"{name}.png"
        for name in (
            "classes",
            "counts",
            "confusion",
            "roc",
            "reliability",
            "subgroups",
            "training",
        )
    }
    assert names == pictures | {"report.html", "report.json"}
    for name in pictures:
        assert (page.parent / name).read_bytes().startswith(b"\x89PNG")


def test_nothing_more_than_an_evaluation_is_needed(tmp_path: Path) -> None:
    lone = evaluate(judge([lesion_image("mel")], judged(3).logits[:1]), 0)
    text = write_report(tmp_path, lone, model_version="1", dataset_hash="x").read_text()
    elements = _Elements(text)
    assert len(elements.all("img")) == 5
    assert "No resamples were made" in text
    assert not re.search(r"\b(nan|None)\b", re.sub(r"data:image[^\"]*", "", text))
    data: Any = json.loads((tmp_path / "report.json").read_text())
    assert data["operating_points"] == data["history"] == data["sections"] == []


@pytest.mark.parametrize(("split", "warns"), [("validation", True), ("test", False)])
def test_validation_numbers_carry_a_warning(page: Path, split: str, warns: bool) -> None:
    report = Report.model_validate_json((page.parent / "report.json").read_bytes())
    text = render(report.model_copy(update={"split": split}), {})
    assert ("flatter the model" in text) == warns
    assert f"evaluation on the {split} split" in text
    assert _Elements(text).all("img") == []


def test_a_folder_that_cannot_be_written_is_one_sentence(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ReportNotWritten, match=r"Choose another folder or free some space\.$"):
        write_report(tmp_path / "file", evaluation, model_version="1", dataset_hash="x")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("epoch", [{"loss": 1.0}, {"epoch": "last"}, {"epoch": 1, "loss": "low"}])
def test_a_broken_history_is_refused(epoch: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ReportNotWritten, match="not as described"):
        write_report(
            tmp_path / "new",
            evaluate(perfect(), 0),
            model_version="1",
            dataset_hash="x",
            history=[epoch],
        )
    assert not (tmp_path / "new").exists()


def test_a_diverged_epoch_is_reported(tmp_path: Path) -> None:
    history = [{"epoch": 1, "loss": float("nan"), "balanced_accuracy": 0.2}]
    write_report(
        tmp_path, evaluate(perfect(), 0), model_version="1", dataset_hash="x", history=history
    )
    data: Any = json.loads((tmp_path / "report.json").read_text())
    assert data["history"][0]["loss"] is None
