"""A full run: the whole network fine-tuned on the base images and the uploads."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from data.ham10000 import Ham10000, LesionImage, load_ham10000
from data.splits import SPLITS, Split, frozen_split
from models.architecture import LesionClassifier, load_classifier
from models.errors import InvalidDataset
from models.package import WEIGHTS_FILE, ModelPackage
from training.draft import check_target, clear_drafts
from training.judgement import judged_by
from training.packaging import write_package
from training.predictions import Predictions, predict
from training.progress import EpochRecord, ImagesDecoded, Progress, Step
from training.retraining.challenger import (
    Challenger,
    Listener,
    Meter,
    class_counts,
    finished_package,
    require_unseen,
)
from training.run_folder import TrainedRun
from training.settings import TrainingSettings
from training.split_predictions import logit_shift, predict_splits
from training.stored_run import StoredRun, TrainingStopped
from training.trainer import fit

_PHASES = {"starting": 0.1, "training": 0.66, "judging": 0.9, "packaging": 1.0}
"""Of one epoch at 224 pixels on all of HAM10000, two cores."""


def run_full(
    champion: ModelPackage,
    uploads: Sequence[LesionImage],
    *,
    base: Path,
    version: str,
    output: Path,
    storage: Path,
    name: str,
    settings: TrainingSettings,
    progress: Listener = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    bootstrap: int = 1000,
) -> Challenger:
    """Fine-tune the champion, judge it and write its package.

    A run that was begun under the name goes on from its last checkpoint, and a package that it
    has written stays, if champion, images and settings are the same. The caller may be in any
    thread or task.

    Args:
        champion: what training starts from.
        uploads: to be learned from, all that there are, with a file each.
        base: folder with HAM10000, as `load_ham10000` reads it.
        version: name of the challenger.
        output: folder of its package; a package in it is replaced.
        storage: folder of the runs, on storage that all machines share.
        name: of the run and its folder in `storage`.
        settings: the recipe, and in `retrain` what a full run changes of it.
        progress: told in this thread.
        should_stop: asked a few times a second.
        bootstrap: as `write_package` takes it.

    Raises:
        InvalidConfiguration: if a name or folder is not valid, or another process does the run.
        InvalidDataset: if the base images cannot be used, if no upload can be read, or if one
            shows a lesion to be judged on.
        InvalidPackage: if the champion is damaged.
        TrainingStopped: if `should_stop` said so; the run can be resumed.
        TrainingDiverged, WorkersUnavailable, TrainingFailed, RayUnavailable, RunNotStored,
            PackageNotWritten: as the parts raise them.
    """
    folder = StoredRun.named(storage, name)
    meter = Meter(progress, _PHASES)
    meter.tell("starting")

    def check() -> None:
        if should_stop():
            raise TrainingStopped(f"The run {name} is stopped.")

    with folder.held():
        check_target(output, version)
        clear_drafts(output)
        # Ray gives a task one thread, whatever the machine has.
        torch.set_num_threads(settings.threads_per_worker or len(os.sched_getaffinity(0)))
        ham10000 = load_ham10000(base)
        split = frozen_split(ham10000.images)
        require_unseen(uploads, {i.lesion_id for i in (*split.validation, *split.test)})
        network = load_classifier(champion.file(WEIGHTS_FILE))
        described = predict(network, uploads, check) if uploads else None
        if described is None or not len(described):
            raise InvalidDataset("None of the uploads can be read. Upload others.")
        run = _FullRun(champion, described.images, ham10000, split, settings, name)
        package = finished_package(output, version, run.stamp)
        if package is None:
            weights, trained = run.fit(folder, meter, should_stop)
            trained_network = load_classifier(weights)
            predictions = run.predict(trained_network, meter, check)
            meter.tell("packaging")
            package = run.package(trained_network, predictions, trained, version, output, bootstrap)
            test = predictions["test"]
        else:
            test = predict(load_classifier(package.file(WEIGHTS_FILE)), split.test, check)
        champion_test = predict(network, test.images, check)
        metrics: Any = package.manifest.metrics["test"]
        meter.tell("packaging", 1.0, metrics={"balanced_accuracy": metrics["balanced_accuracy"]})
        return Challenger(
            package,
            test=judged_by(package.manifest.decision, test),
            champion_test=judged_by(champion.manifest.decision, champion_test),
            champion_uploads=judged_by(champion.manifest.decision, described),
            unreadable=described.unreadable,
        )


@dataclass(frozen=True)
class _FullRun:
    champion: ModelPackage
    uploads: tuple[LesionImage, ...]
    """The readable ones."""
    ham10000: Ham10000
    split: Split
    """Of the base images."""
    settings: TrainingSettings
    name: str

    @property
    def recipe(self) -> TrainingSettings:
        return self.settings.retraining()

    @property
    def stamp(self) -> dict[str, str]:
        """What has to be the same for an attempt to go on where another one ended."""
        images = sorted((i.image_id, i.lesion_id, i.diagnosis) for i in self.uploads)
        plan = [
            self.champion.manifest.files[WEIGHTS_FILE],
            self.ham10000.hash,
            self.recipe.recipe(),
            self.settings.retrain.full.upload_copies,
            images,
        ]
        digest = hashlib.sha256(json.dumps(plan).encode()).hexdigest()
        return {"run": self.name, "plan": digest}

    def fit(
        self, folder: StoredRun, meter: Meter, should_stop: Callable[[], bool]
    ) -> tuple[Path, TrainedRun]:
        """Train; what an attempt with another plan has left is not touched."""

        def on_images(images: ImagesDecoded) -> None:
            meter.tell("starting", images.done / images.count if images.split == "train" else 1)

        def on_step(step: Step) -> None:
            meter.tell(
                "training",
                step.step / step.steps,
                epoch=step.epoch,
                epochs=self.recipe.epochs,
                metrics={"loss": step.loss},
            )

        def on_epoch(record: EpochRecord) -> None:
            metrics = {"validation_balanced_accuracy": record.metrics["balanced_accuracy"]}
            share = record.epoch / self.recipe.epochs
            meter.tell("training", share, epoch=record.epoch, metrics=metrics)

        copies = self.settings.retrain.full.upload_copies
        return fit(
            (*self.split.train, *self.uploads * copies),
            self.split.validation,
            start=self.champion.file(WEIGHTS_FILE),
            settings=self.recipe,
            name=f"fit-{self.stamp['plan'][:12]}",
            storage=folder.path,
            progress=Progress(on_images=on_images, on_step=on_step, on_epoch=on_epoch),
            should_stop=should_stop,
        )

    def predict(
        self, network: LesionClassifier, meter: Meter, check: Callable[[], None]
    ) -> dict[str, Predictions]:
        """What the trained network says of the base images."""
        count = sum(len(getattr(self.split, name)) for name in SPLITS)
        done = 0

        def on_images(images: ImagesDecoded) -> None:
            nonlocal done
            done += 1
            meter.tell("judging", done / count)
            check()

        return predict_splits(network, self.split, Progress(on_images=on_images))

    def package(
        self,
        network: LesionClassifier,
        predictions: Mapping[str, Predictions],
        trained: TrainedRun,
        version: str,
        output: Path,
        bootstrap: int,
    ) -> ModelPackage:
        """Write the package; its replay features are those of base images only."""
        champion = self.champion.manifest.version
        return write_package(
            output,
            network.cpu(),
            version=version,
            predictions=predictions,
            logit_shift=logit_shift(predictions["train"], self.recipe.logit_adjustment),
            split=self.split,
            dataset_hash=Ham10000((*self.ham10000.images, *self.uploads)).hash,
            recipe={
                **self.stamp,
                "mode": "full",
                "champion": champion,
                "upload_copies": self.settings.retrain.full.upload_copies,
                **self.recipe.recipe(),
            },
            history=trained.curves(),
            notes=self._notes(champion),
            uploads=class_counts(self.uploads),
            int8=False,
            bootstrap=bootstrap,
        )

    def _notes(self, champion: str) -> tuple[str, ...]:
        copies = self.settings.retrain.full.upload_copies
        return (
            f"The whole network was trained from version {champion} on the base images and on "
            f"{len(self.uploads)} uploads, each of which an epoch shows {copies} times.",
            "An eight-bit graph was not tried: quantising one and comparing it takes minutes in "
            "which nothing would be learned.",
        )
