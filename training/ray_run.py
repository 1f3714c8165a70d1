"""A run with Ray Train: workers are started and watched, and what they tell is passed on."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import DermServeError
from training.progress import Progress, ProgressFile
from training.ray_connection import ray_connection
from training.stored_run import StoredRun

CHECKPOINTS_KEPT = 2

_POLL_S = 0.1
# For the step under way and its checkpoint, after Ctrl-C.
_STOP_GRACE_S = 30.0
# Ray Train otherwise looks at its workers every two seconds, and starts a process that waits for
# word of machines about to be taken away; on a small machine that costs seconds of each run.
_RAY_TRAIN = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}


class WorkersUnavailable(DermServeError):
    """The cluster has no room for the workers."""

    code = "workers_unavailable"


class TrainingFailed(DermServeError):
    """Workers died more often than the settings allow."""

    code = "training_failed"


@dataclass(frozen=True)
class Workers:
    """Who carries out a run; as the fields of `TrainingSettings` of the same names."""

    workers: int | tuple[int, int]
    resources_per_worker: Mapping[str, float]
    use_gpu: bool | None = False
    max_failures: int = 3
    start_timeout_s: float = 120.0

    @property
    def least(self) -> int:
        return self.workers if isinstance(self.workers, int) else self.workers[0]


def run_with_ray(
    run: StoredRun,
    worker: Callable[[dict[str, Any]], DermServeError | None],
    workers: Workers,
    progress: Progress,
    should_stop: Callable[[], bool],
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Let Ray Train's workers do a run, whatever thread this is.

    Args:
        run: its folder tells workers what to do, and takes what they come to.
        worker: what each of them calls, with `folder` of the run and `attempt`, which names the
            file that stops it. What it returns ends the run for good; after an error that it
            raises, Ray starts the workers again.
        workers: how many, and what Ray sets aside for them.
        progress: listeners, called in this thread.
        should_stop: asked a few times a second.
        meanwhile: called once, when Ray has begun to start the workers, which takes it seconds.

    Raises:
        WorkersUnavailable: if no worker was at work for `start_timeout_s`, at first or later.
        TrainingFailed: if workers died more than `max_failures` times.
        RayUnavailable: as `ray_connection` raises it.
        DermServeError: that a worker returned.
    """
    for name, value in _RAY_TRAIN.items():
        os.environ.setdefault(name, value)
    attempt = uuid.uuid4().hex
    stop = run.stop_file(attempt)
    events = ProgressFile(run.events)
    beat = _Heartbeat(run.heartbeat)
    with ray_connection():
        # In a thread of its own, Ray does not replace the handler of Ctrl-C.
        fit = _Fit(_trainer(run, worker, workers, attempt))
        try:
            meanwhile()
            while not fit.ended(_POLL_S):
                for event in events.new():
                    progress.tell(event)
                if should_stop():
                    stop.touch()
                if beat.silence_s() > workers.start_timeout_s:
                    # Should they come after all, they find the file and end at once.
                    stop.touch()
                    raise WorkersUnavailable(_unavailable(workers))
        except WorkersUnavailable:
            raise
        except BaseException:
            stop.touch()
            if fit.ended(_STOP_GRACE_S):
                stop.unlink(missing_ok=True)
            raise
        for event in events.new():
            progress.tell(event)
        stop.unlink(missing_ok=True)
        fit.check(workers)


def _trainer(
    run: StoredRun,
    worker: Callable[[dict[str, Any]], DermServeError | None],
    workers: Workers,
    attempt: str,
) -> Any:
    import ray
    import ray.train
    from ray.train.torch import TorchTrainer

    use_gpu = workers.use_gpu
    if use_gpu is None:
        gpus = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
        use_gpu = gpus >= workers.least * workers.resources_per_worker.get("GPU", 1)
    # Type checkers see the classes of Ray Train V1, which have other arguments.
    v2: Any = ray.train
    trainer: Any = TorchTrainer
    return trainer(
        worker,
        train_loop_config={"folder": str(run.path), "attempt": attempt},
        scaling_config=v2.ScalingConfig(
            num_workers=workers.workers,
            use_gpu=use_gpu,
            resources_per_worker=dict(workers.resources_per_worker),
        ),
        run_config=v2.RunConfig(
            name=run.path.name,
            storage_path=str(run.path.parent),
            failure_config=v2.FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=v2.CheckpointConfig(num_to_keep=CHECKPOINTS_KEPT),
            logging_config=v2.LoggingConfig(log_level="ERROR"),
        ),
    )


class _Fit:
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

    def check(self, workers: Workers) -> None:
        """Raises: what ended the run, if it did not end well."""
        if isinstance(self._said, DermServeError):
            raise self._said
        if self._error is not None:
            lines = [line.strip() for line in str(self._error).splitlines() if line.strip()]
            reason = lines[-1].rstrip(".") if lines else type(self._error).__name__
            raise TrainingFailed(
                f"Training failed, after {workers.max_failures} restarts at most: {reason}. Go on "
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


def _unavailable(workers: Workers) -> str:
    import ray

    total = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free = ray.available_resources()  # type: ignore[no-untyped-call]
    names = [name for name, amount in workers.resources_per_worker.items() if amount]
    if workers.use_gpu:
        names.append("GPU")
    has = ", ".join(f"{free.get(n, 0):g} of {total.get(n, 0):g} {n} free" for n in set(names))
    return (
        f"No worker has been at work for {workers.start_timeout_s:g} s. The run needs "
        f"{workers.least} with {dict(workers.resources_per_worker)} each; the Ray cluster has "
        f"{has}. Train with fewer workers, lower resources_per_worker in the recipe, or add "
        "machines. If this one is only busy, raise start_timeout_s."
    )
