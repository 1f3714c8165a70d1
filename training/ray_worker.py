"""The function that each worker of Ray Train runs: a shell around `work`."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray.train
import ray.train.torch
import torch
from torch import nn

from models.architecture import LesionClassifier
from models.errors import DermServeError, InvalidDataset
from training.allocator import keep_freed_memory
from training.checkpoint import Checkpoint, CheckpointFolder
from training.group import Group
from training.loop import TrainingDiverged
from training.progress import ProgressFile
from training.run_folder import RunFolder
from training.worker import Surroundings, TrainingStopped, work

HEARTBEAT_S = 2.0


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
    context = ray.train.get_context()
    device = ray.train.torch.get_device()
    group = Group(context.get_world_rank(), context.get_world_size(), device)
    # Ray's CPUs are bookkeeping; this is what lets a server on the machine go first.
    os.nice(settings.nice)
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(
        settings.threads_per_worker or max(1, cores // context.get_local_world_size())
    )
    keep_freed_memory()

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

    with _heart(folder, group):
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


@contextmanager
def _heart(folder: RunFolder, group: Group) -> Iterator[None]:
    """Let rank 0 show the driver that it lives, also while it decodes or validates."""
    ended = threading.Event()

    def beat() -> None:
        folder.heartbeat.touch()
        while not ended.wait(HEARTBEAT_S):
            folder.heartbeat.touch()

    thread = threading.Thread(target=beat, daemon=True)
    if group.leads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
