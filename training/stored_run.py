"""A stored run: a folder under the run's name, by which its driver and its workers speak."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError

from data.ham10000 import LesionImage
from models.errors import DermServeError, InvalidConfiguration

_Run = TypeVar("_Run", bound="StoredRun")

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


class RunNotStored(DermServeError):
    """The folder of a run cannot be read or written."""

    code = "run_not_stored"


class TrainingStopped(DermServeError):
    """The run was stopped on request; it can be resumed."""

    code = "training_stopped"


@dataclass(frozen=True)
class StoredRun:
    """Paths and files of one run. Workers on other machines need it under the same path."""

    path: Path

    @classmethod
    def named(cls: type[_Run], storage: Path, name: str) -> _Run:
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
    def events(self) -> Path:
        """What rank 0's worker tells, as `ProgressFile` writes it."""
        return self.path / "events.jsonl"

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
        with self.storing():
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

    @contextmanager
    def storing(self) -> Iterator[None]:
        """Turn what goes wrong with files in the block into one error.

        Raises:
            RunNotStored: if a file cannot be read or written, or is damaged.
        """
        try:
            yield
        except (OSError, SafetensorError, ValidationError, RuntimeError) as error:
            raise RunNotStored(
                f"The run {self.path} cannot be read or written: {error}. Free or repair the "
                "disk, or choose another --run."
            ) from error

    def write(self, path: Path, document: BaseModel) -> None:
        """Write JSON whole or not at all.

        Raises:
            RunNotStored: if it cannot be written.
        """
        with self.storing():
            draft = path.with_suffix(".draft")
            draft.write_text(document.model_dump_json(), encoding="utf-8")
            draft.replace(path)


def absolute(image: LesionImage) -> LesionImage:
    """The image by a path that workers, which run in other folders, find too."""
    return LesionImage(**{**vars(image), "path": image.path.absolute()})
