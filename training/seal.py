"""The seal of a package: report, card and manifest beside the files that are already there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from models.classes import CLASSES
from models.package import (
    CARD_FILE,
    MANIFEST_FILE,
    DecisionRules,
    InputContract,
    Manifest,
    ModelPackage,
    SplitRecord,
    sha256_of,
)
from training.card import model_card
from training.judgement import Judgement, report
from training.report import DATA_FILE, REPORT_FILE

LICENCE = "CC BY-NC 4.0 (weights and features derived from HAM10000; non-commercial)"
CITATION = (
    "Tschandl, Rosendahl, Kittler: The HAM10000 dataset. Scientific Data 5:180161 (2018), "
    "doi 10.1038/sdata.2018.161"
)


@dataclass(frozen=True)
class Origin:
    """Where a model comes from, as its package tells it."""

    version: str
    split: SplitRecord
    dataset_hash: str
    """Of all images together, as `Ham10000.hash` gives it."""
    recipe: Mapping[str, object]
    """Settings of the run."""
    notes: Sequence[str] = ()
    """What decided the recipe, a sentence each."""
    history: Sequence[Mapping[str, object]] = ()
    """Of each epoch what `training_figure` takes."""
    forward: str = "one per image at 224 x 224, float32, no test-time augmentation"
    """How the answers that judge the model were got."""


def seal(draft: Path, origin: Origin, rules: DecisionRules, judgement: Judgement) -> None:
    """Make a folder with a network's files a package that verifies.

    Args:
        draft: holds all files but these.
        origin: of the model.
        rules: of the model.
        judgement: of the model by these rules.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
        ReportNotWritten: as `write_report` raises it.
    """
    manifest = Manifest(
        version=origin.version,
        created=datetime.now(timezone.utc).replace(microsecond=0),
        classes=CLASSES,
        input=InputContract(),
        decision=rules,
        metrics=judgement.metrics(),
        split=origin.split,
        dataset_hash=origin.dataset_hash,
        recipe=dict(origin.recipe),
        notes=tuple(origin.notes),
        licence=LICENCE,
        citation=CITATION,
        files={},
    )
    with tempfile.TemporaryDirectory() as scratch:
        report(
            Path(scratch),
            judgement,
            version=origin.version,
            dataset_hash=origin.dataset_hash,
            split_name=origin.split.name,
            forward=origin.forward,
            history=origin.history,
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
