"""The function that each worker of Ray Train runs: a shell around `work`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
from torch import nn

from models.architecture import LesionClassifier
from models.errors import DermServeError, InvalidDataset
from training.checkpoint import Checkpoint, CheckpointFolder
from training.loop import TrainingDiverged
from training.progress import ProgressFile
from training.ray_process import heart, join_group
from training.run_folder import RunFolder
from training.stored_run import TrainingStopped
from training.worker import Surroundings, work


def train_worker(config: dict[str, Any]) -> DermServeError | None:
    """Train as one of Ray Train's workers.

    Args:
        config: `folder` of the run, and `attempt`, which names the file that stops it.

    Returns:
        What ends the run for good, in every worker alike. Ray would start the workers again
        after an error that is raised.
    """
    folder = RunFolder(Path(config["folder"]))
    settings = folder.plan().settings
    group = join_group(settings.nice, settings.threads_per_worker)
    device = group.device

    def keep(checkpoint: Checkpoint) -> None:
        metrics: dict[str, Any] = {"step": checkpoint.position.step}
        if checkpoint.position.history:
            last = checkpoint.position.history[-1]
            metrics |= {"epoch": last.epoch, "loss": last.loss}
            metrics["balanced_accuracy"] = last.metrics["balanced_accuracy"]
        if not group.leads:
            ray.train.report(metrics)
            return
        with tempfile.TemporaryDirectory() as scratch:
            checkpoint.save(Path(scratch))
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(scratch))

    def parallel(model: LesionClassifier) -> nn.Module:
        if device.type == "cuda" and group.size > 1:
            # In place, and with the same names. On CPUs there is no such layer; see the loop.
            nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        options = {"broadcast_buffers": False}  # the loop keeps the statistics equal
        network: nn.Module = ray.train.torch.prepare_model(model, parallel_strategy_kwargs=options)
        return network

    with heart(folder, group):
        try:
            work(
                folder,
                Surroundings(
                    group=group,
                    tell=ProgressFile(folder.events).append,
                    keep=keep,
                    restored=_restored(folder),
                    stopped=folder.stop_file(config["attempt"]).exists,
                    parallel=parallel,
                ),
            )
        except (InvalidDataset, TrainingDiverged, TrainingStopped) as error:
            return error
    return None


def _restored(folder: RunFolder) -> Checkpoint | None:
    """Ray's last checkpoint of the run, or that of an earlier attempt without Ray."""
    if (kept := ray.train.get_checkpoint()) is not None:
        with kept.as_directory() as path:
            return Checkpoint.load(Path(path))
    latest = CheckpointFolder(folder.checkpoints).latest()
    return None if latest is None else Checkpoint.load(latest)
