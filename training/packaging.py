"""Packaging: a trained network judged, calibrated and written as a model package."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from data.splits import Split
from data.synthetic import synthetic_lesion
from models.architecture import LesionClassifier
from models.classes import CLASSES
from models.drift_reference import DriftReference
from models.errors import InvalidPackage
from models.export import export_openvino
from models.features import save_replay
from models.package import (
    DRIFT_FILE,
    GRAPH_FILE,
    INT8_GRAPH_FILE,
    INT8_GRAPH_WEIGHTS_FILE,
    NOVELTY_FILE,
    REFERENCE_FILE,
    REPLAY_FILE,
    WEIGHTS_FILE,
    ModelPackage,
    SplitRecord,
)
from models.preprocessing import IMAGE_SIZE
from models.reference import Reference
from training.dataset import load_images
from training.draft import check_target, draft_of
from training.judgement import judge
from training.novelty import NoveltyResult, learn_novelty
from training.predictions import Answers, Predictions, describe_pixels
from training.quantization import Int8Verdict, calibration_pixels, compare, graph_outputs, quantize
from training.rules import fit_decision_rules
from training.seal import Origin, seal


def write_package(
    folder: Path,
    model: LesionClassifier,
    *,
    version: str,
    predictions: Mapping[str, Predictions],
    logit_shift: npt.NDArray[np.float32],
    split: Split,
    dataset_hash: str,
    recipe: Mapping[str, object],
    history: Sequence[Mapping[str, object]] = (),
    notes: Sequence[str] = (),
    uploads: Mapping[str, int] | None = None,
    int8: bool = True,
    bootstrap: int = 1000,
) -> ModelPackage:
    """Judge a model and write its package, whole or not at all.

    Args:
        folder: as `check_target` accepts it; a package in it is replaced.
        model: the trained network, on the CPU.
        version: names the model in every answer.
        predictions: of the splits `train`, `validation`, on which the decision rules are
            fitted, and `test`, which decides nothing.
        logit_shift: what training added to the logits to keep class frequencies out of them.
        split: which images were used.
        dataset_hash: of the dataset, as `Ham10000.hash` gives it.
        recipe: settings of the run, for the record.
        history: of each epoch what `training_figure` takes.
        notes: what decided the recipe, a sentence each, for the card.
        uploads: images learned from beside the split's, by class.
        int8: whether to try an INT8 graph, which takes minutes.
        bootstrap: resamples of lesions for the intervals; >= 0.

    Raises:
        InvalidConfiguration: as `check_target` raises it.
        PackageNotWritten: if the disk is full or the folder cannot be written; `folder` is
            then as it was.
    """
    check_target(folder, version)
    train, validation, test = (predictions[name] for name in ("train", "validation", "test"))
    origin = Origin(
        version, _record(split, predictions, uploads or {}), dataset_hash, recipe, notes, history
    )
    with draft_of(folder) as draft:
        _write_network(draft, model)
        verdict = _add_int8_graph(draft, train, validation) if int8 else None
        detector, novelty = learn_novelty(model, train, validation, test)
        detector.save(draft / NOVELTY_FILE)
        DriftReference(validation.statistics, validation.logits, validation.labels).save(
            draft / DRIFT_FILE
        )
        save_replay(draft / REPLAY_FILE, {name: p.replay for name, p in predictions.items()})
        rules = fit_decision_rules(validation, test, logit_shift, novelty.threshold)
        judgement = judge(validation, test, rules, novelty, verdict, bootstrap)
        seal(draft, origin, rules, judgement)
    return ModelPackage.load(folder)


def write_head_package(
    folder: Path,
    model: LesionClassifier,
    champion: ModelPackage,
    *,
    validation: Answers,
    test: Answers,
    origin: Origin,
    bootstrap: int = 1000,
) -> ModelPackage:
    """Judge a model that shares the champion's backbone, and write its package, whole or not.

    What follows from the backbone alone, novelty, replay features and the statistics of the drift
    reference, is the champion's. An INT8 graph is not tried: that takes minutes, and images.

    Args:
        folder: as `check_target` accepts it; a package in it is replaced.
        model: the champion's network with another head, on the CPU.
        champion: whose replay features the answers are made of.
        validation: on which the decision rules are fitted.
        test: which decides nothing.
        origin: where the model comes from.
        bootstrap: as `write_package` takes it.

    Raises:
        InvalidConfiguration: as `check_target` raises it.
        InvalidPackage: if the champion lacks what is to be taken over.
        PackageNotWritten: as `write_package` raises it.
    """
    check_target(folder, origin.version)
    novelty = _novelty_of(champion)
    rules = fit_decision_rules(
        validation,
        test,
        np.array(champion.manifest.decision.logit_shift, np.float32),
        champion.manifest.decision.novelty_threshold,
    )
    judgement = judge(validation, test, rules, novelty, None, bootstrap)
    with draft_of(folder) as draft:
        _write_network(draft, model)
        for name in (NOVELTY_FILE, REPLAY_FILE):
            shutil.copyfile(champion.file(name), draft / name)
        if DRIFT_FILE in champion:
            _same_backbone(champion, validation).save(draft / DRIFT_FILE)
        seal(draft, origin, rules, judgement)
    return ModelPackage.load(folder)


def _write_network(draft: Path, model: LesionClassifier) -> None:
    """What runs the network, and what tells that it runs as it should."""
    state = {k: v.contiguous() for k, v in model.state_dict().items()}
    save_file(state, draft / WEIGHTS_FILE, metadata={"format": "pt"})
    export_openvino(model, draft / GRAPH_FILE)
    lesions = np.stack([synthetic_lesion(code, 0, IMAGE_SIZE, IMAGE_SIZE) for code in CLASSES])
    said = describe_pixels(model, torch.from_numpy(lesions).permute(0, 3, 1, 2))
    Reference(lesions, said.logits.numpy()).save(draft / REFERENCE_FILE)


def _novelty_of(champion: ModelPackage) -> NoveltyResult:
    try:
        return NoveltyResult.model_validate(champion.manifest.metrics.get("novelty"))
    except ValidationError as error:
        raise InvalidPackage(
            f"The manifest of {champion.folder} does not say how novelty was judged, so its head "
            "cannot be retrained. Retrain the whole network, or package the model again."
        ) from error


def _same_backbone(champion: ModelPackage, validation: Answers) -> DriftReference:
    """The champion's drift reference with another head's answers to the same images."""
    before = DriftReference.load(champion.file(DRIFT_FILE))
    if not np.array_equal(before.labels, validation.labels):
        raise InvalidPackage(
            f"The drift reference of {champion.folder} is of other images than its replay "
            "features. Package the model again."
        )
    return replace(before, logits=validation.logits)


def _add_int8_graph(draft: Path, train: Predictions, validation: Predictions) -> Int8Verdict:
    """Quantise the draft's graph; it stays only if it answers as well."""
    int8_graph = draft / INT8_GRAPH_FILE
    quantize(draft / GRAPH_FILE, calibration_pixels(train.images), int8_graph)
    pixels = load_images(validation.images).pixels.permute(0, 2, 3, 1).numpy()
    logits = graph_outputs(int8_graph, pixels)["logits"]
    verdict = compare(validation.logits, logits, validation.labels)
    if not verdict.shipped:
        int8_graph.unlink()
        (draft / INT8_GRAPH_WEIGHTS_FILE).unlink()
    return verdict


def _record(
    split: Split, predictions: Mapping[str, Predictions], uploads: Mapping[str, int]
) -> SplitRecord:
    counts: dict[str, Any] = {
        name: dict(zip(CLASSES, np.bincount(part.labels, minlength=7).tolist(), strict=True))
        for name, part in predictions.items()
    }
    name = split.version or f"seed {split.seed}"
    return SplitRecord(name=name, hash=split.hash, uploads=dict(uploads), **counts)
