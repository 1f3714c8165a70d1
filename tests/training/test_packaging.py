"""Packaging: decision rules from validation, and a package that is written whole or not at all."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from models.architecture import LesionClassifier
from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.decision import calibrated_probabilities, decide
from models.errors import InvalidConfiguration
from models.export import export_openvino
from models.package import (
    CARD_FILE,
    GRAPH_FILE,
    GRAPH_WEIGHTS_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    DecisionRules,
    ModelPackage,
    SplitRecord,
)
from training import packaging
from training.card import model_card
from training.draft import PackageNotWritten
from training.packaging import Labels, Logits, check_target, fit_decision_rules, write_package

FREQUENCIES = np.array([0.05, 0.08, 0.12, 0.04, 0.13, 0.53, 0.05])
SHIFT = np.log(FREQUENCIES).astype(np.float32)
NO_SHIFT = np.zeros(len(CLASSES), np.float32)


def _predictions(seed: int, loudness: float = 1.0, count: int = 7_000) -> tuple[Logits, Labels]:
    """What each image says for each class, and labels at HAM10000's frequencies.

    The logits, 1.5 times a normal around 1.5 for the true class and 0 for the others, are the
    exact logarithms of the likelihoods; `loudness` makes them overconfident.
    """
    rng = np.random.default_rng(seed)
    labels = rng.choice(len(CLASSES), count, p=FREQUENCIES)
    evidence = rng.normal(0, 1, (count, len(CLASSES))) + 1.5 * np.eye(len(CLASSES))[labels]
    return (loudness * 1.5 * evidence).astype(np.float32), labels


def _write(folder: Path, version: str = "2") -> ModelPackage:
    """A package of an untrained network, judged by made-up predictions."""
    counts = dict.fromkeys(CLASSES, 100)
    return write_package(
        folder,
        LesionClassifier().eval(),
        version=version,
        validation=_predictions(1),
        test=_predictions(2),
        logit_shift=SHIFT,
        split=SplitRecord(seed=7, train=counts, validation=counts, test=counts),
        dataset_hash="0" * 64,
        recipe={"seed": 7},
    )


@pytest.fixture
def old(tiny_package: ModelPackage, tmp_path: Path) -> Path:
    """A package that a new one is to replace."""
    return shutil.copytree(tiny_package.folder, tmp_path / "models" / "old")


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def _small_disk(size_bytes: int) -> Iterator[None]:
    """A real limit of the kernel: no file may grow beyond it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _loss(predictions: tuple[Logits, Labels], rules: DecisionRules) -> float:
    """Negative log-likelihood of the labels."""
    logits, labels = predictions
    probabilities = calibrated_probabilities(logits, rules)
    return float(-np.log(probabilities[np.arange(len(labels)), labels]).mean())


def test_the_rules_are_fitted_on_validation_and_reported_on_test() -> None:
    validation, test = _predictions(1, loudness=2), _predictions(2, loudness=2)
    rules = fit_decision_rules(validation, test, SHIFT)
    assert rules.logit_shift == tuple(SHIFT.tolist())
    assert rules.temperature > 1.2  # the predictions are overconfident
    best, *worse = (
        _loss(validation, rules.model_copy(update={"temperature": factor * rules.temperature}))
        for factor in (1, 0.97, 1.03)
    )
    assert best < min(worse)
    for (logits, labels), sensitivity in (
        (validation, 0.95),
        (test, rules.malignant.test_sensitivity),
    ):
        decisions = decide(logits, rules)
        malignant = np.isin(labels, MALIGNANT_COLUMNS)
        scores = np.array([decision.malignant_score for decision in decisions])
        flagged = scores >= rules.malignant.threshold
        assert flagged[malignant].mean() == pytest.approx(sensitivity, abs=1e-3)
        truth = [CLASSES[label] for label in labels]
        held = [code in d.prediction_set for code, d in zip(truth, decisions, strict=True)]
        assert np.mean(held) == pytest.approx(rules.prediction_set_coverage, abs=0.02)
    assert (~flagged[~malignant]).mean() == pytest.approx(rules.malignant.test_specificity)
    assert rules.malignant.test_sensitivity == pytest.approx(0.95, abs=0.02)
    assert fit_decision_rules(validation, _predictions(3), SHIFT).temperature == rules.temperature


def test_the_shift_puts_the_class_frequencies_into_the_probabilities() -> None:
    logits, labels = _predictions(1, count=40_000)

    def mean_probabilities(shift: Logits) -> Logits:
        rules = fit_decision_rules((logits, labels), (logits, labels), shift)
        return calibrated_probabilities(logits, rules).mean(axis=0)

    assert fit_decision_rules((logits, labels), (logits, labels), SHIFT).temperature == (
        pytest.approx(1, rel=0.03)
    )
    assert mean_probabilities(SHIFT) == pytest.approx(FREQUENCIES, rel=0.1)
    assert mean_probabilities(NO_SHIFT) != pytest.approx(FREQUENCIES, rel=0.1)


def test_malignant_scores_that_round_above_one_keep_the_threshold_a_probability() -> None:
    labels = np.array([4, 4, 0, 1, 5, 5, 5])
    raw_scores = []
    for akiec, bcc, mel in ((0.6, 0.8, 1.7), (1.3, 1.5, 2.0), (1.9, 2.3, 3.1), (0.5, 1.5, 2.0)):
        malignant = [akiec, bcc, -40, -40, mel, -40, -40]
        benign = [-40, -40, -40, -40, -40, 40, -40]
        logits = np.array([malignant] * 4 + [benign] * 3, np.float32)
        rules = fit_decision_rules((logits, labels), (logits, labels), NO_SHIFT)
        assert rules.malignant.threshold <= 1
        assert rules.malignant.test_sensitivity == rules.malignant.test_specificity == 1
        assert decide(logits[:1], rules)[0].malignant_score >= rules.malignant.threshold
        probabilities = temperature_scale(logits, rules.temperature)
        raw_scores += probabilities[:, MALIGNANT_COLUMNS].sum(axis=1).tolist()
    assert max(raw_scores) > 1  # else this test has lost its cases


def test_a_package_replaces_another_and_is_readable_by_all(old: Path) -> None:
    before = _contents(old)
    package = _write(old)
    assert package.manifest.version == "2"
    assert _contents(old).keys() == before.keys()
    assert all(data != before[name] for name, data in _contents(old).items())
    assert list(old.parent.iterdir()) == [old]
    assert old.stat().st_mode & 0o005 == 0o005
    assert all(path.stat().st_mode & 0o004 for path in old.iterdir())


def test_a_package_holds_safetensors_and_a_graph_and_nothing_pickled(
    tiny_package: ModelPackage,
) -> None:
    names = {WEIGHTS_FILE, GRAPH_FILE, GRAPH_WEIGHTS_FILE, CARD_FILE}
    assert {path.name for path in tiny_package.folder.iterdir()} == {*names, MANIFEST_FILE}
    assert tiny_package.manifest.files.keys() == names
    weights = load_file(tiny_package.file(WEIGHTS_FILE))
    assert weights["classifier.1.weight"].shape == (len(CLASSES), 1280)
    for path in tiny_package.folder.iterdir():
        assert not path.read_bytes().startswith((b"\x80", b"PK"))  # pickle, or zipped by torch


def test_a_full_disk_leaves_the_old_package_and_no_draft(old: Path) -> None:
    before = _contents(old)
    with _small_disk(1_000_000), pytest.raises(PackageNotWritten, match="File too large"):
        _write(old)
    assert _contents(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_a_disk_that_fills_up_at_the_graph_leaves_the_old_package_and_no_draft(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(model: LesionClassifier, path: Path) -> None:
        with _small_disk(1_000_000):
            export_openvino(model, path)

    monkeypatch.setattr(packaging, "export_openvino", export)
    before = _contents(old)
    with pytest.raises(PackageNotWritten, match="If the disk is full, free some space"):
        _write(old)
    assert _contents(old) == before
    assert list(old.parent.iterdir()) == [old]


def test_a_crash_in_the_middle_leaves_the_old_package_and_no_draft(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(model: LesionClassifier, path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(packaging, "export_openvino", crash)
    before = _contents(old)
    with pytest.raises(KeyboardInterrupt):
        _write(old)
    assert _contents(old) == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("version", ["", "my model", "-1", "../2", "2\n", "x" * 65])
def test_a_version_that_is_no_name_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(InvalidConfiguration, match="is no version name"):
        check_target(tmp_path / "model", version)
    with pytest.raises(InvalidConfiguration, match="is no version name"):
        _write(tmp_path / "model", version)


def test_good_names_and_folders_are_accepted(tmp_path: Path, old: Path) -> None:
    for version in ("1", "2026-01-31", "v1.2_b", "x" * 64):
        check_target(tmp_path / "model", version)
        check_target(old, version)


def test_the_card_says_what_the_manifest_says(tiny_package: ModelPackage) -> None:
    manifest = tiny_package.manifest
    card = tiny_package.file(CARD_FILE).read_text()
    assert card == model_card(manifest)
    assert "# DermServe model tiny" in card
    assert manifest.dataset_hash in card
    assert f"test sensitivity\n{manifest.decision.malignant.test_sensitivity:.3f}" in card
    for name in ("train", "validation", "test"):
        counts = getattr(manifest.split, name)
        assert f"| {name} | {' | '.join(str(counts[code]) for code in CLASSES)} |" in card
    for code in CLASSES:
        assert f"| {code} | {manifest.split.test[code]} |" in card
    assert f"On {sum(manifest.split.test.values())} images" in card
