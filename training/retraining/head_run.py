"""A head run: the champion's head refitted on replayed features and those of the uploads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.ham10000 import LesionImage
from models.features import ReplayFeatures, load_replay
from models.package import REPLAY_FILE, ModelPackage
from training.draft import check_target, clear_drafts
from training.progress import ImagesDecoded, Progress, Step
from training.ray_run import TrainingFailed, Workers, run_with_ray
from training.retraining.challenger import Challenger, Listener, Meter, require_unseen
from training.retraining.head_folder import HeadFolder, HeadPlan
from training.retraining.head_worker import refit_head
from training.settings import RetrainSettings
from training.stored_run import TrainingStopped

if TYPE_CHECKING:
    from training.retraining.head_judge import HeadJudge

START_TIMEOUT_S = 120.0
"""Longest silence of the workers."""

_PHASES = {"starting": 0.7, "features": 0.72, "training": 0.76, "packaging": 1.0}
"""Of ten uploads on two cores: most of the time, processes start."""


def run_head(
    champion: ModelPackage,
    uploads: Sequence[LesionImage],
    *,
    version: str,
    output: Path,
    storage: Path,
    name: str,
    settings: RetrainSettings,
    progress: Listener = lambda progress: None,
    should_stop: Callable[[], bool] = lambda: False,
    bootstrap: int = 1000,
) -> Challenger:
    """Refit the champion's head, judge it and write its package.

    A run that was begun under the name goes on: features of uploads, the head and the package
    are taken as they are, if they are of the same champion, uploads and settings. The caller
    may be in any thread or task.

    Args:
        champion: with replay features.
        uploads: to be learned from, all that there are, with a file each.
        version: name of the challenger.
        output: folder of its package; a package in it is replaced.
        storage: folder of the runs, on storage that all machines share.
        name: of the run and its folder in `storage`.
        settings: of retraining.
        progress: told in this thread.
        should_stop: asked a few times a second.
        bootstrap: as `write_head_package` takes it.

    Raises:
        InvalidConfiguration: if a name or folder is not valid, or another process does the run.
        InvalidDataset: if no upload can be read, or if one shows a lesion to be judged on.
        InvalidPackage: if the champion is damaged or lacks what is needed.
        TrainingStopped: if `should_stop` said so.
        TrainingDiverged, WorkersUnavailable, TrainingFailed, RayUnavailable, RunNotStored,
            PackageNotWritten: as the parts raise them.
    """
    folder = HeadFolder.named(storage, name)
    meter = Meter(progress, _PHASES)
    meter.tell("starting")
    with folder.held():
        check_target(output, version)
        clear_drafts(output)
        replay = load_replay(champion.file(REPLAY_FILE))
        require_unseen(uploads, {*replay["validation"].lesion_ids, *replay["test"].lesion_ids})
        plan = HeadPlan.of(champion, uploads, settings.head)
        folder.begin(plan, champion)
        read_judge = cache(lambda: _judge(champion, replay))
        if folder.result() is None:
            run_with_ray(
                folder,
                refit_head,
                Workers(
                    settings.workers,
                    settings.resources_per_worker,
                    start_timeout_s=START_TIMEOUT_S,
                ),
                _listeners(meter),
                should_stop,
                meanwhile=read_judge,
            )
        judge, head, found = read_judge(), folder.result(), folder.features()
        if head is None or found is None:
            raise TrainingFailed(f"The run left no head in {folder.path}. Start it again.")
        if should_stop():
            raise TrainingStopped(f"The run {name} is stopped.")
        meter.tell("packaging")
        package = judge.package(
            head, plan, found, run=name, version=version, output=output, bootstrap=bootstrap
        )
        test: Any = package.manifest.metrics["test"]
        meter.tell("packaging", 1.0, metrics={"balanced_accuracy": test["balanced_accuracy"]})
        return Challenger(
            package,
            test=judge.test(package),
            champion_test=judge.test(champion),
            champion_uploads=judge.uploads(plan.uploads, found),
            unreadable=found.unreadable(plan.uploads),
        )


def _judge(champion: ModelPackage, replay: dict[str, ReplayFeatures]) -> HeadJudge:
    # Imported here: it takes seconds, for which Ray would have to wait.
    from training.retraining.head_judge import HeadJudge

    return HeadJudge(champion, replay)


def _listeners(meter: Meter) -> Progress:
    def on_images(images: ImagesDecoded) -> None:
        meter.tell("features", images.done / images.count)

    def on_step(step: Step) -> None:
        meter.tell(
            "training",
            step.step / step.steps,
            epoch=step.step,
            epochs=step.steps,
            metrics={"loss": step.loss},
        )

    return Progress(on_images=on_images, on_step=on_step)
