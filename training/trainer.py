"""The trainer: fits a network to images, with Ray Train or in this process."""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from data.ham10000 import LesionImage
from models.errors import DermServeError, InvalidConfiguration
from models.tracking_uri import var_folder
from training.allocator import keep_freed_memory
from training.checkpoint import Checkpoint, CheckpointFolder
from training.group import Group
from training.progress import Progress, ProgressFile
from training.ray_connection import ray_connection
from training.run_folder import RAY_SNAPSHOT, RunFolder, TrainedRun
from training.settings import TrainingSettings
from training.worker import Surroundings, work

CHECKPOINTS_KEPT = 2

_POLL_S = 0.2
# For the step under way and its checkpoint, after Ctrl-C.
_STOP_GRACE_S = 30.0


class WorkersUnavailable(DermServeError):
    """The cluster has no room for the workers."""

    code = "workers_unavailable"


class TrainingFailed(DermServeError):
    """Workers died more often than the settings allow."""

    code = "training_failed"


def runs_folder() -> Path:
    """Where runs are stored unless the caller says otherwise."""
    return var_folder() / "runs"


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
            with ray_connection():
                _fit_with_ray(folder, settings, progress, should_stop)
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


def _fit_with_ray(
    folder: RunFolder,
    settings: TrainingSettings,
    progress: Progress,
    should_stop: Callable[[], bool],
) -> None:
    attempt = uuid.uuid4().hex
    stop = folder.stop_file(attempt)
    events = ProgressFile(folder.events)
    beat = _Heartbeat(folder.heartbeat)
    # In a thread of its own, Ray does not replace the handler of Ctrl-C.
    run = _Run(_torch_trainer(folder, settings, attempt))
    try:
        while not run.ended(_POLL_S):
            for event in events.new():
                progress.tell(event)
            if should_stop():
                stop.touch()
            if beat.silence_s() > settings.start_timeout_s:
                # Should they come after all, they find the file and end at once.
                stop.touch()
                raise WorkersUnavailable(_unavailable(settings))
    except WorkersUnavailable:
        raise
    except BaseException:
        stop.touch()
        if run.ended(_STOP_GRACE_S):
            stop.unlink(missing_ok=True)
        raise
    for event in events.new():
        progress.tell(event)
    stop.unlink(missing_ok=True)
    run.check(settings)


def _torch_trainer(folder: RunFolder, settings: TrainingSettings, attempt: str) -> Any:
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    from training.ray_worker import train_worker

    use_gpu = settings.use_gpu
    if use_gpu is None:
        gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
        use_gpu = gpus >= settings.least_workers * settings.resources_per_worker.get("GPU", 1)
    # Type checkers see the classes of Ray Train V1, which have other arguments.
    v2: Any = ray.train
    trainer: Any = TorchTrainer
    return trainer(
        train_worker,
        train_loop_config={"folder": str(folder.path), "attempt": attempt},
        scaling_config=v2.ScalingConfig(
            num_workers=settings.workers,
            use_gpu=use_gpu,
            resources_per_worker=dict(settings.resources_per_worker),
        ),
        run_config=v2.RunConfig(
            name=folder.path.name,
            storage_path=str(folder.path.parent),
            failure_config=v2.FailureConfig(max_failures=settings.max_failures),
            checkpoint_config=v2.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
            logging_config=v2.LoggingConfig(log_level="ERROR"),
        ),
    )


class _Run:
    """A trainer at work in its own thread."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._error: BaseException | None = None
        self._said: object = None
        # Not the thread's join: Ctrl-C in it makes Python take the thread for ended.
        self._ended = threading.Event()
        threading.Thread(target=self._fit, daemon=True).start()

    def _fit(self) -> None:
        try:
            self._said = self._trainer.fit().return_value
        except BaseException as error:
            self._error = error
        finally:
            self._ended.set()

    def ended(self, timeout_s: float) -> bool:
        """Whether the run ends within the time."""
        return self._ended.wait(timeout_s)

    def check(self, settings: TrainingSettings) -> None:
        """Raises: what ended the run, if it did not end well."""
        if isinstance(self._said, DermServeError):
            raise self._said
        if self._error is not None:
            lines = [line.strip() for line in str(self._error).splitlines() if line.strip()]
            reason = lines[-1].rstrip(".") if lines else type(self._error).__name__
            raise TrainingFailed(
                f"Training failed, after {settings.max_failures} restarts at most: {reason}. Go on "
                "with the same --run when the reason is gone; Ray's logs say more."
            ) from self._error


class _Heartbeat:
    """How long the workers have been silent, by this machine's clock alone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = self._read()
        self._changed = time.monotonic()

    def silence_s(self) -> float:
        if (now := self._read()) != self._seen:
            self._seen = now
            self._changed = time.monotonic()
        return time.monotonic() - self._changed

    def _read(self) -> int:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return 0


def _unavailable(settings: TrainingSettings) -> str:
    import ray

    total = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    names = [name for name, amount in settings.resources_per_worker.items() if amount]
    if settings.use_gpu:
        names.append("GPU")
    has = ", ".join(f"{free.get(n, 0):g} of {total.get(n, 0):g} {n} free" for n in set(names))
    return (
        f"No worker has been at work for {settings.start_timeout_s:g} s. The run needs "
        f"{settings.least_workers} with {settings.resources_per_worker} each; the Ray cluster has "
        f"{has}. Train with fewer workers, lower resources_per_worker in the recipe, or add "
        "machines. If this one is only busy, raise start_timeout_s."
    )
