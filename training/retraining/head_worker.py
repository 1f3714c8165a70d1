"""The function that each worker of a head run calls under Ray Train: a shell around the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from models.errors import DermServeError, InvalidDataset
from training.progress import ProgressFile
from training.retraining.head_folder import HeadFolder
from training.stored_run import TrainingStopped

NICE = 10


def refit_head(config: dict[str, Any]) -> DermServeError | None:
    """Do a worker's part of a head run.

    Args:
        config: as `run_with_ray` gives it.

    Returns:
        What ends the run for good, in every worker alike.
    """
    # The driver imports this file too, and would have to wait for what only workers need.
    from training.loop import TrainingDiverged
    from training.ray_process import heart, join_group
    from training.retraining.head_work import work_on_head

    folder = HeadFolder(Path(config["folder"]))
    group = join_group(NICE)
    with heart(folder, group):
        try:
            work_on_head(
                folder,
                group,
                tell=ProgressFile(folder.events).append,
                stopped=folder.stop_file(config["attempt"]).exists,
            )
        except (InvalidDataset, TrainingDiverged, TrainingStopped) as error:
            return error
    return None
