"""The folder of a run: its plan, its start, its progress and what it came to."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from data.ham10000 import LesionImage
from models.architecture import LesionClassifier
from models.errors import DermServeError, InvalidConfiguration
from training.progress import EpochRecord
from training.settings import TrainingSettings
from training.start import name_of, start_file, start_network

RAY_SNAPSHOT = "checkpoint_manager_snapshot.json"
"""Ray Train's list of a run's checkpoints."""

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


class RunNotStored(DermServeError):
    """The folder of a run cannot be read or written."""

    code = "run_not_stored"


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


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run. Workers on other machines need it under the same path."""

    path: Path

    @classmethod
    def named(cls, storage: Path, name: str) -> RunFolder:
        """The folder of a run; it need not exist.

        Raises:
            InvalidConfiguration: if the name is not valid.
        """
        if not _NAME.fullmatch(name):
            raise InvalidConfiguration(
                f"{name!r} is no name of a run. Use 1 to 128 letters, digits, dots, underscores "
                "and hyphens, and begin with a letter or digit."
            )
        return cls(storage.absolute() / name)

    @property
    def average(self) -> Path:
        """The averaged weights, when the run is finished: a whole network as safetensors."""
        return self.path / "average.safetensors"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Of runs without Ray; Ray keeps its own."""
        return self.path / "checkpoints"

    @property
    def heartbeat(self) -> Path:
        """Changed every few seconds by rank 0's worker while it lives."""
        return self.path / "heartbeat"

    def stop_file(self, attempt: str) -> Path:
        """Its existence ends an attempt at the next step."""
        return self.path / f"stop-{attempt}"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from working on the same run; makes the folder.

        Raises:
            InvalidConfiguration: if another process holds the run.
            RunNotStored: if the folder cannot be made.
        """
        with _storing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InvalidConfiguration(
                f"Another process works on the run {self.path}. Wait for it or choose another "
                "--run."
            ) from error
        try:
            yield
        finally:
            lock.release()

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
            train=tuple(map(_absolute, train)),
            validation=tuple(map(_absolute, validation)),
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
            with _storing(self.path):
                save_file(network.state_dict(), self._start)
        # The plan comes last: where it is, the start is whole.
        self._write(self._plan, plan)

    def plan(self) -> Plan:
        """Raises: RunNotStored: if there is none, or if it is damaged."""
        with _storing(self.path):
            return Plan.model_validate_json(self._plan.read_bytes())

    def network(self, dropout: float) -> LesionClassifier:
        """The network that training begins with, on the CPU.

        Raises:
            RunNotStored: if it cannot be read.
        """
        model = LesionClassifier(dropout=dropout)
        with _storing(self.path):
            model.load_state_dict(load_file(self._start))
        return model

    def finish(self, average: LesionClassifier, result: TrainedRun) -> None:
        """Write what the run came to.

        Raises:
            RunNotStored: if a file cannot be written.
        """
        tensors = {name: value.cpu().contiguous() for name, value in average.state_dict().items()}
        with _storing(self.path):
            save_file(tensors, self.average, metadata={"format": "pt"})
        # Where the result is, the weights are whole.
        self._write(self._result, result)

    def result(self) -> TrainedRun | None:
        """None if the run is not finished.

        Raises:
            RunNotStored: if it is damaged.
        """
        if not self._result.exists():
            return None
        with _storing(self.path):
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

    def _write(self, path: Path, document: BaseModel) -> None:
        with _storing(self.path):
            draft = path.with_suffix(".draft")
            draft.write_text(document.model_dump_json(), encoding="utf-8")
            draft.replace(path)


def _absolute(image: LesionImage) -> LesionImage:
    """Workers run in other folders."""
    return LesionImage(**{**vars(image), "path": image.path.absolute()})


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, ValidationError, RuntimeError) as error:
        raise RunNotStored(
            f"The run {folder} cannot be read or written: {error}. Free or repair the disk, or "
            "choose another --run."
        ) from error
