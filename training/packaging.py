"""Packaging: a trained network judged, calibrated and written as a model package."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from models.architecture import LesionClassifier
from models.calibration import temperature_scale
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.decision import calibrated_probabilities
from models.errors import InvalidConfiguration
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
from training.draft import check_replaceable, draft_of
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


def check_target(folder: Path, version: str) -> None:
    """Refuse what no package can be written as; worth asking before hours of training.

    Args:
        folder: of the package to be.
        version: its name.

    Raises:
        InvalidConfiguration: if the version is no valid name, or if the folder cannot be
            written or holds something other than a package.
    """
    try:
        TypeAdapter(Annotated[str, Manifest.model_fields["version"]]).validate_python(version)
    except ValidationError as error:
        raise InvalidConfiguration(
            f"{version!r} is no version name. Use 1 to 64 letters, digits, dots, underscores "
            "and hyphens, and begin with a letter or digit."
        ) from error
    check_replaceable(folder)


def fit_decision_rules(
    validation: tuple[Logits, Labels],
    test: tuple[Logits, Labels],
    logit_shift: npt.NDArray[np.float32],
) -> DecisionRules:
    """Fit temperature and thresholds on validation; the test split only reports what they do.

    Args:
        validation: logits, shape (images, 7), and labels, of every class at least one.
        test: the same, of other images.
        logit_shift: what training added to the logits, shape (7,).
    """
    logits, labels = validation
    temperature = fit_temperature(logits + logit_shift, labels)
    probabilities = temperature_scale(logits + logit_shift, temperature)
    threshold = threshold_at_sensitivity(
        _malignant_score(probabilities), _malignant(labels), MALIGNANT_SENSITIVITY
    )
    sensitivity, specificity = sensitivity_specificity(
        _malignant_score(temperature_scale(test[0] + logit_shift, temperature)),
        _malignant(test[1]),
        threshold,
    )
    return DecisionRules(
        logit_shift=tuple(logit_shift.tolist()),
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
    logit_shift: npt.NDArray[np.float32],
    split: SplitRecord,
    dataset_hash: str,
    recipe: Mapping[str, object],
) -> ModelPackage:
    """Judge a model and write its package, whole or not at all.

    Args:
        folder: as `check_target` accepts it; a package in it is replaced.
        model: the trained network, on the CPU.
        version: names the model in every answer.
        validation: logits, shape (images, 7), and labels; the decision rules are fitted here.
        test: the same, of images that decided nothing.
        logit_shift: what training added to the logits to keep class frequencies out of them.
        split: which images were used.
        dataset_hash: of the dataset, as `Ham10000.hash` gives it.
        recipe: settings of the run, for the record.

    Raises:
        InvalidConfiguration: as `check_target` raises it.
        PackageNotWritten: if the disk is full or the folder cannot be written; `folder` is
            then as it was.
    """
    check_target(folder, version)
    decision = fit_decision_rules(validation, test, logit_shift)
    metrics: dict[str, object] = {
        name: evaluate(logits.argmax(axis=1), calibrated_probabilities(logits, decision), labels)
        for name, (logits, labels) in (("validation", validation), ("test", test))
    }
    with draft_of(folder) as draft:
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
    return ModelPackage.load(folder)


def _malignant(labels: Labels) -> npt.NDArray[np.bool_]:
    return np.isin(labels, MALIGNANT_COLUMNS)


def _malignant_score(probabilities: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    # The sum of probabilities may round to just above 1.
    score: npt.NDArray[np.float32] = probabilities[:, MALIGNANT_COLUMNS].sum(axis=1)
    return np.minimum(score, 1)
