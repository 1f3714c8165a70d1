"""Packaging: a trained network judged, calibrated and written as a model package."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file

from models.architecture import LesionClassifier
from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.export import export_openvino
from models.package import (
    CARD_FILE,
    GRAPH_FILE,
    GRAPH_WEIGHTS_FILE,
    MANIFEST_FILE,
    WEIGHTS_FILE,
    DecisionRules,
    InputContract,
    Manifest,
    ModelPackage,
    OperatingPoint,
    SplitRecord,
    sha256_of,
)
from training.calibration import (
    conformal_threshold,
    fit_temperature,
    threshold_at_sensitivity,
)
from training.card import model_card
from training.evaluation import evaluate, sensitivity_specificity

MALIGNANT_SENSITIVITY = 0.95
PREDICTION_SET_COVERAGE = 0.90
MAX_PREDICTION_SET = 3

LICENCE = "CC BY-NC 4.0 (weights derived from HAM10000; non-commercial)"
CITATION = (
    "Tschandl, Rosendahl, Kittler: The HAM10000 dataset. Scientific Data 5:180161 (2018), "
    "doi 10.1038/sdata.2018.161"
)

Logits = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def fit_decision_rules(
    validation: tuple[Logits, Labels], test: tuple[Logits, Labels]
) -> DecisionRules:
    """Fit temperature and thresholds on validation; the test split only reports what they do."""
    logits, labels = validation
    temperature = fit_temperature(logits, labels)
    probabilities = temperature_scale(logits, temperature)
    threshold = threshold_at_sensitivity(
        _malignant_score(probabilities), _malignant(labels), MALIGNANT_SENSITIVITY
    )
    sensitivity, specificity = sensitivity_specificity(
        _malignant_score(temperature_scale(test[0], temperature)), _malignant(test[1]), threshold
    )
    return DecisionRules(
        temperature=temperature,
        malignant=OperatingPoint(
            threshold=threshold,
            validation_sensitivity=MALIGNANT_SENSITIVITY,
            test_sensitivity=sensitivity,
            test_specificity=specificity,
        ),
        prediction_set_threshold=conformal_threshold(
            probabilities, labels, PREDICTION_SET_COVERAGE
        ),
        prediction_set_coverage=PREDICTION_SET_COVERAGE,
        max_prediction_set=MAX_PREDICTION_SET,
    )


def write_package(
    folder: Path,
    model: LesionClassifier,
    *,
    version: str,
    validation: tuple[Logits, Labels],
    test: tuple[Logits, Labels],
    split: SplitRecord,
    dataset_hash: str,
    recipe: Mapping[str, object],
) -> ModelPackage:
    """Judge a model and write its package, whole or not at all.

    Args:
        folder: replaced if it exists.
        model: the trained network, on the CPU.
        version: names the model in every answer.
        validation: logits, shape (images, 7), and labels; the decision rules are fitted here.
        test: the same, of images that decided nothing.
        split: which images were used.
        dataset_hash: of the dataset, as `Ham10000.hash` gives it.
        recipe: settings of the run, for the record.

    Raises:
        OSError: if the disk is full or the folder cannot be written; nothing is left behind.
    """
    decision = fit_decision_rules(validation, test)
    metrics = {
        name: evaluate(temperature_scale(logits, decision.temperature), labels)
        for name, (logits, labels) in (("validation", validation), ("test", test))
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        save_file(state, draft / WEIGHTS_FILE, metadata={"format": "pt"})
        (draft / WEIGHTS_FILE).chmod(0o644)
        export_openvino(model, draft / GRAPH_FILE)
        manifest = Manifest(
            version=version,
            created=datetime.now(timezone.utc).replace(microsecond=0),
            classes=CLASSES,
            input=InputContract(),
            decision=decision,
            metrics=metrics,
            split=split,
            dataset_hash=dataset_hash,
            recipe=dict(recipe),
            licence=LICENCE,
            citation=CITATION,
            files={},
        )
        (draft / CARD_FILE).write_text(model_card(manifest), encoding="utf-8")
        names = (WEIGHTS_FILE, GRAPH_FILE, GRAPH_WEIGHTS_FILE, CARD_FILE)
        files = {name: sha256_of(draft / name) for name in names}
        manifest = manifest.model_copy(update={"files": files})
        (draft / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        ModelPackage.load(draft)
        draft.chmod(0o755)  # temporary folders are made for their owner alone
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return ModelPackage.load(folder)


def _malignant(labels: Labels) -> npt.NDArray[np.bool_]:
    return np.isin(labels, MALIGNANT_COLUMNS)


def _malignant_score(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return probabilities[:, MALIGNANT_COLUMNS].sum(axis=1)
