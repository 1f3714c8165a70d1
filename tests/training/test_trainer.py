"""The trainer: resumed runs, killed workers, no room for any, and the loss that runs away."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
import torch
from safetensors.torch import load_file

from data.ham10000 import load_ham10000
from data.splits import Split, split_by_lesion
from models.errors import InvalidConfiguration, InvalidDataset
from training.loop import TrainingDiverged
from training.progress import EpochRecord, Progress, Step
from training.ray_run import WorkersUnavailable
from training.run_folder import TrainedRun
from training.settings import Phase, TrainingSettings
from training.stored_run import TrainingStopped
from training.trainer import fit

# Ray sets up its data library for each run, which warns of itself.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

RECIPE: dict[str, Any] = {
    "batch_size": 8,
    "checkpoint_steps": 2,
    "nice": 0,
    "threads_per_worker": 1,
    "resources_per_worker": {"CPU": 0.1},
    "start_timeout_s": 300,
}


def _settings(workers: int | tuple[int, int], epochs: int = 2, **changes: Any) -> TrainingSettings:
    phases = (Phase(epochs=epochs, image_size=32),)
    return TrainingSettings(**{**RECIPE, "phases": phases, "workers": workers, **changes})


@pytest.fixture(scope="module")
def split(synthetic_dataset: Path) -> Split:
    return split_by_lesion(load_ham10000(synthetic_dataset).images, 7)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[None]:
    """Ray, unless a server of the tests has started it."""
    if ray.is_initialized():
        yield
        return
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@dataclass
class Heard:
    """What a run told, and what to do at a step."""

    steps: list[Step] = field(default_factory=list)
    epochs: list[EpochRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    at_step: Callable[[Step], None] = lambda step: None

    @property
    def progress(self) -> Progress:
        return Progress(
            on_step=self._on_step, on_epoch=self.epochs.append, on_warning=self.warnings.append
        )

    def _on_step(self, step: Step) -> None:
        self.steps.append(step)
        self.at_step(step)


@dataclass(frozen=True)
class Fit:
    """`fit` with the arguments of this test."""

    split: Split
    start: Path
    storage: Path

    def __call__(
        self, settings: TrainingSettings, heard: Heard | None = None, **arguments: Any
    ) -> tuple[Path, TrainedRun]:
        return fit(
            self.split.train,
            self.split.validation,
            start=self.start,
            settings=settings,
            progress=(heard or Heard()).progress,
            **{"name": "run", "storage": self.storage, **arguments},
        )


@pytest.fixture
def run(split: Split, untrained_features: Path, tmp_path: Path) -> Fit:
    return Fit(split, untrained_features, tmp_path / "runs")


def _same(first: Path, second: Path) -> bool:
    one, other = load_file(first), load_file(second)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("stop", [3, 5])
def test_a_run_that_is_stopped_and_resumed_ends_as_one_that_was_not(run: Fit, stop: int) -> None:
    whole = Heard()
    expected, result = run(_settings(0), whole, name="whole")
    assert [step.step for step in whole.steps] == list(range(1, 11))
    assert list(result.history) == whole.epochs
    assert [record.epoch for record in result.history] == [1, 2]
    assert result.history[0].loss == pytest.approx(sum(s.loss for s in whole.steps[:5]) / 5)

    half = Heard()
    with pytest.raises(TrainingStopped, match=f"after step {stop} of 10.*--run run"):
        run(_settings(0), half, should_stop=lambda: len(half.steps) >= stop)
    rest = Heard()
    weights, resumed = run(_settings(0), rest)
    assert [step.step for step in half.steps + rest.steps] == list(range(1, 11))
    assert _same(weights, expected)
    for one, other in zip(resumed.history, result.history, strict=True):
        assert (one.epoch, one.loss, one.metrics) == (other.epoch, other.loss, other.metrics)

    again = Heard()
    assert run(_settings(0), again) == (weights, resumed)
    assert again.steps == []


def test_a_lost_process_costs_the_steps_since_its_last_checkpoint(run: Fit) -> None:
    def die(step: Step) -> None:
        if step.step == 8:
            raise RuntimeError("the machine is gone")

    with pytest.raises(RuntimeError, match="gone"):
        run(_settings(0), Heard(at_step=die))
    rest = Heard()
    run(_settings(0), rest)
    assert rest.steps[0].step == 7


def test_two_workers_survive_the_death_of_one(
    run: Fit, ray_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    killed: list[int] = []

    def kill(step: Step) -> None:
        if step.step >= 7 and not killed:
            killed.append(_kill_a_worker())

    heard = Heard(at_step=kill)
    weights, result = run(_settings(2, epochs=8), heard)
    assert len(killed) == 1
    numbers = [step.step for step in heard.steps]
    (back,) = (n for n in range(1, len(numbers)) if numbers[n] <= numbers[n - 1])
    # Ray keeps a checkpoint when its controller next looks, so the last one may be lost too.
    assert numbers[back] - 1 in {0, *range(2, 41, 2), *range(5, 41, 5)}
    assert numbers[:back] == list(range(1, numbers[back - 1] + 1))
    assert numbers[back:] == list(range(numbers[back], 41))
    assert [record.epoch for record in result.history] == list(range(1, 9))
    assert all(value.isfinite().all() for value in load_file(weights).values())
    assert result.class_counts["nv"] == sum(i.diagnosis == "nv" for i in run.split.train)
    kept = list((run.storage / "run").glob("checkpoint_2*"))
    # Two, and what the killed workers had stored before Ray's controller knew of it.
    assert 1 <= len(kept) <= 3


def _kill_a_worker() -> int:
    """SIGKILL to one of the workers that this process's Ray started."""
    for process in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            os.kill(process.pid, signal.SIGKILL)
            return process.pid
    raise AssertionError("no worker runs")


def test_a_loss_that_runs_away_ends_the_run_at_once(run: Fit, ray_here: None) -> None:
    heard = Heard()
    with pytest.raises(TrainingDiverged, match="Lower learning_rate"):
        run(_settings(1, learning_rate=1e25), heard)
    numbers = [step.step for step in heard.steps]
    assert numbers == sorted(set(numbers))  # no second try


def test_a_run_without_room_for_its_workers_says_what_to_do(run: Fit, ray_here: None) -> None:
    settings = _settings((1, 2), resources_per_worker={"CPU": 500}, start_timeout_s=3)
    with pytest.raises(WorkersUnavailable, match=r"needs 1 with .*500.*fewer workers"):
        run(settings)


def test_a_class_without_an_image_is_told_before_the_first_step(run: Fit) -> None:
    without = tuple(image for image in run.split.validation if image.diagnosis != "vasc")
    heard = Heard()
    with pytest.raises(InvalidDataset, match="validation split has no readable image of vasc"):
        fit(
            run.split.train,
            without,
            start=run.start,
            settings=_settings(0),
            name="run",
            storage=run.storage,
            progress=heard.progress,
        )
    assert heard.steps == []


def test_a_name_that_leaves_the_storage_is_refused(run: Fit) -> None:
    with pytest.raises(InvalidConfiguration, match="no name of a run"):
        run(_settings(0), name="../run")
    assert not run.storage.exists()


def test_too_few_images_for_the_workers_are_refused(run: Fit) -> None:
    few = Fit(
        Split(run.split.train[:7], run.split.validation, run.split.test, 7), run.start, run.storage
    )
    with pytest.raises(InvalidConfiguration, match="7 training images are too few for 4 workers"):
        few(_settings(4))
