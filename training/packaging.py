"""Packaging: a trained network judged, calibrated and written as a model package."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from data.splits import Split
from models.architecture import LesionClassifier
from models.classes import CLASSES
from models.errors import InvalidConfiguration
from models.export import export_openvino
from models.features import save_replay
from models.package import (
    CARD_FILE,
    GRAPH_FILE,
    INT8_GRAPH_FILE,
    INT8_GRAPH_WEIGHTS_FILE,
    MANIFEST_FILE,
    NOVELTY_FILE,
    REPLAY_FILE,
    WEIGHTS_FILE,
    InputContract,
    Manifest,
    ModelPackage,
    SplitRecord,
    sha256_of,
)
from training.card import model_card
from training.dataset import load_images
from training.draft import check_replaceable, draft_of
from training.judgement import judge, report
from training.novelty import learn_novelty
from training.predictions import Predictions
from training.quantization import Int8Verdict, calibration_pixels, compare, graph_outputs, quantize
from training.report import DATA_FILE, REPORT_FILE
from training.rules import fit_decision_rules

LICENCE = "CC BY-NC 4.0 (weights and features derived from HAM10000; non-commercial)"
CITATION = (
    "Tschandl, Rosendahl, Kittler: The HAM10000 dataset. Scientific Data 5:180161 (2018), "
    "doi 10.1038/sdata.2018.161"
)


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
        int8: whether to try an INT8 graph, which takes minutes.
        bootstrap: resamples of lesions for the intervals; >= 0.

    Raises:
        InvalidConfiguration: as `check_target` raises it.
        PackageNotWritten: if the disk is full or the folder cannot be written; `folder` is
            then as it was.
    """
    check_target(folder, version)
    train, validation, test = (predictions[name] for name in ("train", "validation", "test"))
    with draft_of(folder) as draft:
        state = {k: v.contiguous() for k, v in model.state_dict().items()}
        save_file(state, draft / WEIGHTS_FILE, metadata={"format": "pt"})
        export_openvino(model, draft / GRAPH_FILE)
        verdict = _add_int8_graph(draft, train, validation) if int8 else None
        detector, novelty = learn_novelty(model, train, validation, test)
        detector.save(draft / NOVELTY_FILE)
        save_replay(draft / REPLAY_FILE, {name: p.replay for name, p in predictions.items()})
        rules = fit_decision_rules(validation, test, logit_shift, novelty.threshold)
        judgement = judge(validation, test, rules, novelty, verdict, bootstrap)
        manifest = Manifest(
            version=version,
            created=datetime.now(timezone.utc).replace(microsecond=0),
            classes=CLASSES,
            input=InputContract(),
            decision=rules,
            metrics=judgement.metrics(),
            split=_record(split, predictions),
            dataset_hash=dataset_hash,
            recipe=dict(recipe),
            notes=tuple(notes),
            licence=LICENCE,
            citation=CITATION,
            files={},
        )
        with tempfile.TemporaryDirectory() as scratch:
            report(
                Path(scratch),
                judgement,
                version=version,
                dataset_hash=dataset_hash,
                split_name=manifest.split.name,
                history=history,
            )
            for name in (REPORT_FILE, DATA_FILE):
                shutil.copyfile(Path(scratch) / name, draft / name)
        (draft / CARD_FILE).write_text(model_card(manifest, judgement), encoding="utf-8")
        for path in draft.iterdir():
            path.chmod(0o644)  # safetensors makes files that only their owner reads
        files = {path.name: sha256_of(path) for path in sorted(draft.iterdir())}
        manifest = manifest.model_copy(update={"files": files})
        (draft / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n")
        ModelPackage.load(draft)
    return ModelPackage.load(folder)


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


def _record(split: Split, predictions: Mapping[str, Predictions]) -> SplitRecord:
    counts: dict[str, Any] = {
        name: dict(zip(CLASSES, np.bincount(part.labels, minlength=7).tolist(), strict=True))
        for name, part in predictions.items()
    }
    return SplitRecord(name=split.version or f"seed {split.seed}", hash=split.hash, **counts)
