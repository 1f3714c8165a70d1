"""The folder of a run: its plan, its start, its progress and what it came to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file

from data.ham10000 import LesionImage
from models.architecture import LesionClassifier
from models.errors import InvalidConfiguration
from training.progress import EpochRecord
from training.settings import TrainingSettings
from training.start import name_of, start_file, start_network
from training.stored_run import StoredRun, absolute

RAY_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list of a run's checkpoints."""


class Plan(BaseModel):
    """What a run is to do, for its workers and for whoever resumes it: `plan.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    settings: TrainingSettings
    start: str
    """SHA-256 of the weights it starts from, or `imagenet`."""
    train: tuple[LesionImage, ...]
    validation: tuple[LesionImage, ...]

    def identity(self) -> dict[str, Any]:
        """What must stay the same when a run is resumed; images may lie elsewhere by then."""
        return {
            "recipe": self.settings.recipe(),
            "start": self.start,
            "images": [
                [(image.image_id, image.diagnosis) for image in part]
                for part in (self.train, self.validation)
            ],
        }


class TrainedRun(BaseModel):
    """What a run came to: `result.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    history: tuple[EpochRecord, ...]
    class_counts: dict[str, int]
    """Readable training images by class."""
    unreadable: tuple[str, ...]
    """Ids of the images that could not be decoded."""

    def curves(self) -> list[dict[str, object]]:
        """The epochs as `write_package` takes them."""
        return [
            {**record.metrics, "epoch": record.epoch, "loss": record.loss}
            for record in self.history
        ]


@dataclass(frozen=True)
class RunFolder(StoredRun):
    """The run that trains a whole network."""

    @property
    def average(self) -> Path:
        """The averaged weights, when the run is finished: a whole network as safetensors."""
        return self.path / "average.safetensors"

    @property
    def checkpoints(self) -> Path:
        """Of runs without Ray; Ray keeps its own."""
        return self.path / "checkpoints"

    def begin(
        self,
        settings: TrainingSettings,
        start: Path | None,
        train: tuple[LesionImage, ...],
        validation: tuple[LesionImage, ...],
    ) -> None:
        """Write the plan and the start, or see that they are those of the run to resume.

        Raises:
            InvalidPackage: as `start_network` raises it.
            InvalidConfiguration: if the folder holds another run.
            RunNotStored: if a file cannot be written.
        """
        file = start_file(start)
        plan = Plan(
            settings=settings,
            start=name_of(file),
            train=tuple(map(absolute, train)),
            validation=tuple(map(absolute, validation)),
        )
        if self._plan.exists():
            if (old := self.plan().identity()) != (new := plan.identity()):
                changed = [name for name in new if old[name] != new[name]]
                raise InvalidConfiguration(
                    f"{self.path} holds a run with another {' and '.join(changed)}. Choose "
                    "another --run, or start it as it was started."
                )
        else:
            network = start_network(file, settings)
            with self.storing():
                save_file(network.state_dict(), self._start)
        # The plan comes last: where it is, the start is whole.
        self.write(self._plan, plan)

    def plan(self) -> Plan:
        """Raises: RunNotStored: if there is none, or if it is damaged."""
        with self.storing():
            return Plan.model_validate_json(self._plan.read_bytes())

    def network(self, dropout: float) -> LesionClassifier:
        """The network that training begins with, on the CPU.

        Raises:
            RunNotStored: if it cannot be read.
        """
        model = LesionClassifier(dropout=dropout)
        with self.storing():
            model.load_state_dict(load_file(self._start))
        return model

    def finish(self, average: LesionClassifier, result: TrainedRun) -> None:
        """Write what the run came to.

        Raises:
            RunNotStored: if a file cannot be written.
        """
        tensors = {name: value.cpu().contiguous() for name, value in average.state_dict().items()}
        with self.storing():
            save_file(tensors, self.average, metadata={"format": "pt"})
        # Where the result is, the weights are whole.
        self.write(self._result, result)

    def result(self) -> TrainedRun | None:
        """None if the run is not finished.

        Raises:
            RunNotStored: if it is damaged.
        """
        if not self._result.exists():
            return None
        with self.storing():
            return TrainedRun.model_validate_json(self._result.read_bytes())

    @property
    def _plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def _start(self) -> Path:
        return self.path / "start.safetensors"

    @property
    def _result(self) -> Path:
        return self.path / "result.json"
