"""The training pipeline: from a dataset folder to a model package."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from data.ham10000 import LesionImage, load_ham10000
from data.splits import Split, frozen_split
from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.errors import DermServeError
from models.package import ModelPackage
from models.preprocessing import decode_image
from training.draft import check_target
from training.packaging import write_package
from training.progress import EpochRecord, Progress
from training.run_folder import TrainedRun
from training.settings import TrainingSettings
from training.soup import average_networks
from training.split_predictions import logit_shift, predict_splits
from training.tracking import Tracking
from training.trainer import fit
from training.worker import require_every_class


def run_training(
    *,
    dataset: Path,
    weights: Path | None,
    output: Path,
    version: str,
    settings: TrainingSettings,
    progress: Progress | None = None,
    run: str | None = None,
    storage: Path | None = None,
    tracked: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    int8: bool = True,
    bootstrap: int = 1000,
) -> ModelPackage:
    """Train, judge and package a model.

    Args:
        dataset: folder with HAM10000, as `load_ham10000` reads it.
        weights: what training starts from, as `fit` takes it.
        output: folder of the package; a package in it is replaced.
        version: name of the new version.
        settings: the recipe and its workers.
        progress: listeners.
        run: name of the run, to resume it or to package it again; None makes one of the
            version and the time.
        storage: folder of the runs; None leaves nothing but the package.
        tracked: whether MLflow records the run.
        should_stop: as `fit` takes it.
        int8, bootstrap: as `write_package` takes them.

    Raises:
        InvalidDataset, InvalidConfiguration, InvalidPackage, TrainingDiverged,
            PackageNotWritten, and all that `fit` raises: `output` is then as it was.
    """
    progress = progress or Progress()
    ham10000 = load_ham10000(dataset)
    if ham10000.missing:
        progress.on_warning(
            f"{len(ham10000.missing)} images named by the metadata are not in {dataset}."
        )
    split = frozen_split(ham10000.images)
    check_target(output, version)
    run = run or run_name(version)
    with ExitStack() as stack:
        if storage is None:
            storage = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dermserve-")))
        tracking = None
        if tracked:
            tags = {"version": version, "dataset_hash": ham10000.hash}
            tracking = Tracking(run, settings, tags, progress.on_warning)
        metrics = None
        try:
            # Hours of training would be lost on a test split that cannot judge.
            _require_readable("test", split.test)
            average, trained = fit(
                split.train,
                split.validation,
                start=weights,
                settings=settings,
                name=run,
                storage=storage,
                progress=_both(progress, tracking),
                should_stop=should_stop,
            )
            package = judge_and_package(
                average,
                trained,
                split,
                output=output,
                version=version,
                settings=settings,
                dataset_hash=ham10000.hash,
                progress=progress,
                int8=int8,
                bootstrap=bootstrap,
            )
            metrics = package.manifest.metrics
        finally:
            if tracking is not None:
                tracking.finish(metrics)
    return package


def run_name(version: str) -> str:
    """A new name for a run: the version and the time."""
    return f"{version}-{datetime.now():%Y%m%d-%H%M%S}"


def judge_and_package(
    weights: Path,
    trained: TrainedRun,
    split: Split,
    *,
    output: Path,
    version: str,
    settings: TrainingSettings,
    dataset_hash: str,
    progress: Progress | None = None,
    int8: bool = True,
    bootstrap: int = 1000,
) -> ModelPackage:
    """Judge trained weights, and package them.

    Args:
        weights: safetensors of a whole network, as `fit` gives it.
        trained: what `fit` gives beside it.
        split: that of the training.
        output, version, settings, progress: as `run_training` takes them.
        dataset_hash: as `Ham10000.hash` gives it.
        int8, bootstrap: as `write_package` takes them.

    Raises:
        InvalidDataset, InvalidConfiguration, InvalidPackage, TrainingDiverged,
            PackageNotWritten: as the steps raise them; `output` is then as it was.
    """
    return _package(
        load_classifier(weights),
        split,
        output=output,
        version=version,
        settings=settings,
        dataset_hash=dataset_hash,
        history=trained.curves(),
        progress=progress or Progress(),
        int8=int8,
        bootstrap=bootstrap,
    )


def package_weights(
    weights: Sequence[Path],
    *,
    dataset: Path,
    output: Path,
    version: str,
    settings: TrainingSettings,
    history: Sequence[Mapping[str, object]] = (),
    progress: Progress | None = None,
    int8: bool = True,
    bootstrap: int = 1000,
) -> ModelPackage:
    """Judge and package networks that were trained before on the same split.

    Args:
        weights: safetensors of whole networks; several are averaged.
        dataset, output, version, settings, progress: as `run_training` takes them.
        history: of each epoch what `training_figure` takes.
        int8, bootstrap: as `write_package` takes them.

    Raises:
        InvalidDataset, InvalidConfiguration, InvalidPackage, TrainingDiverged,
            PackageNotWritten: as the steps raise them; `output` is then as it was.
    """
    ham10000 = load_ham10000(dataset)
    split = frozen_split(ham10000.images)
    check_target(output, version)
    return _package(
        average_networks(weights),
        split,
        output=output,
        version=version,
        settings=settings,
        dataset_hash=ham10000.hash,
        history=history,
        progress=progress or Progress(),
        int8=int8,
        bootstrap=bootstrap,
    )


def _package(
    model: LesionClassifier,
    split: Split,
    *,
    output: Path,
    version: str,
    settings: TrainingSettings,
    dataset_hash: str,
    history: Sequence[Mapping[str, object]],
    progress: Progress,
    int8: bool,
    bootstrap: int,
) -> ModelPackage:
    predictions = predict_splits(model, split, progress)
    return write_package(
        output,
        model.cpu(),
        version=version,
        predictions=predictions,
        logit_shift=logit_shift(predictions["train"], settings.logit_adjustment),
        split=split,
        dataset_hash=dataset_hash,
        recipe=settings.model_dump(mode="json", exclude={"notes", "retrain", "drift"}),
        history=history,
        notes=settings.notes,
        int8=int8,
        bootstrap=bootstrap,
    )


def _require_readable(name: str, images: tuple[LesionImage, ...]) -> None:
    """Refuse a split without a readable image of each class; reads no more than it must."""

    def readable(image: LesionImage) -> bool:
        try:
            decode_image(image.path.read_bytes())
        except (DermServeError, OSError):
            return False
        return True

    by_class = [[image for image in images if image.diagnosis == code] for code in CLASSES]
    require_every_class(name, [int(any(map(readable, part))) for part in by_class])


def _both(progress: Progress, tracking: Tracking | None) -> Progress:
    if tracking is None:
        return progress

    def on_epoch(record: EpochRecord) -> None:
        progress.on_epoch(record)
        tracking.on_epoch(record)

    return Progress(progress.on_images, progress.on_step, on_epoch, progress.on_warning)
