"""The trainer: fits a network to images, with Ray Train or in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import torch

from data.ham10000 import LesionImage
from models.errors import InvalidConfiguration
from training.allocator import keep_freed_memory
from training.checkpoint import Checkpoint, CheckpointFolder
from training.group import Group
from training.progress import Progress
from training.ray_run import CHECKPOINTS_KEPT, TrainingFailed, Workers, run_with_ray
from training.run_folder import RAY_SNAPSHOT, RunFolder, TrainedRun
from training.settings import TrainingSettings
from training.storage import runs_folder
from training.worker import Surroundings, work


def fit(
    train: tuple[LesionImage, ...],
    validation: tuple[LesionImage, ...],
    *,
    start: Path | None,
    settings: TrainingSettings,
    name: str,
    storage: Path | None = None,
    progress: Progress | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[Path, TrainedRun]:
    """Train a network; a run that is stored under the name goes on where it ended.

    With Ray, the caller may be in any thread. Ctrl-C in the main thread, and `should_stop`,
    end the run after the step under way, with a checkpoint.

    Args:
        train: at least one readable image of each class.
        validation: the same, of other lesions.
        start: safetensors of a whole network or of a backbone, or a model package; None
            downloads ImageNet's backbone.
        settings: the recipe and its workers.
        name: of the run and its folder. A new run needs a new name: a finished one only gives
            its result again.
        storage: folder of the runs, on storage that all machines share; `runs_folder()` if
            None.
        progress: listeners, called in this thread.
        should_stop: asked a few times a second.

    Returns:
        The file of the averaged weights, and what the run came to.

    Raises:
        InvalidPackage, InvalidConfiguration, InvalidDataset: if an argument is at fault.
        TrainingDiverged: if the loss is no longer finite; no second try.
        TrainingStopped: if `should_stop` said so.
        WorkersUnavailable: if no worker was at work for `start_timeout_s`, at first or later.
        TrainingFailed: if workers died more than `max_failures` times.
        RayUnavailable, RunNotStored, InvalidCheckpoint: as the parts raise them.
    """
    folder = RunFolder.named(storage or runs_folder(), name)
    progress = progress or Progress()
    if len(train) < 2 * settings.most_workers:
        raise InvalidConfiguration(
            f"{len(train)} training images are too few for {settings.most_workers} workers. Add "
            "images or train with fewer workers."
        )
    with folder.held():
        folder.begin(settings, start, train, validation)
        if (finished := folder.result()) is not None:
            return folder.average, finished
        if settings.workers == 0:
            _fit_here(folder, progress, should_stop)
        else:
            from training.ray_worker import train_worker

            workers = Workers(
                settings.workers,
                settings.resources_per_worker,
                settings.use_gpu,
                settings.max_failures,
                settings.start_timeout_s,
            )
            run_with_ray(folder, train_worker, workers, progress, should_stop)
        result = folder.result()
    if result is None:
        raise TrainingFailed(f"The run left no result in {folder.path}. Start it again.")
    return folder.average, result


def _fit_here(folder: RunFolder, progress: Progress, should_stop: Callable[[], bool]) -> None:
    if (folder.path / RAY_SNAPSHOT).exists():
        raise InvalidConfiguration(
            f"The run {folder.path.name} was begun with Ray. Go on with --workers 1 or more."
        )
    keep_freed_memory()
    checkpoints = CheckpointFolder(folder.checkpoints, CHECKPOINTS_KEPT)
    latest = checkpoints.latest()
    work(
        folder,
        Surroundings(
            group=Group(device=torch.device("cuda" if torch.cuda.is_available() else "cpu")),
            tell=progress.tell,
            keep=checkpoints.add,
            restored=None if latest is None else Checkpoint.load(latest),
            stopped=should_stop,
        ),
    )
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
