"""A checkpoint: a folder from which a run goes on, as safetensors and JSON."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from models.errors import DermServeError
from training.progress import EpochRecord

TENSORS_FILE = "state.safetensors"
PROGRESS_FILE = "progress.json"


class InvalidCheckpoint(DermServeError):
    """A checkpoint is damaged, or of another network or version."""

    code = "invalid_checkpoint"


class Position(BaseModel):
    """How far a run is: `progress.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    step: int = Field(default=0, ge=0)
    history: tuple[EpochRecord, ...] = ()
    """Of the finished epochs."""
    loss_sum: float = 0.0
    """Of the steps of the epoch that is under way."""
    seconds: float = Field(default=0.0, ge=0)
    """Spent in those steps."""


@dataclass(frozen=True)
class Checkpoint:
    """A loop's state and position."""

    tensors: Mapping[str, torch.Tensor]
    position: Position

    def save(self, folder: Path) -> None:
        """Write both files into an existing folder.

        Raises:
            OSError, SafetensorError: if the disk is full or the folder cannot be written.
        """
        # A file must not hold two names for one memory, and carries no device.
        tensors = {name: value.detach().cpu().contiguous() for name, value in self.tensors.items()}
        save_file(tensors, folder / TENSORS_FILE)
        (folder / PROGRESS_FILE).write_text(self.position.model_dump_json(), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Checkpoint:
        """Read what `save` wrote, to the CPU.

        Raises:
            InvalidCheckpoint: if a file is missing or damaged.
        """
        try:
            text = (folder / PROGRESS_FILE).read_bytes()
            position = Position.model_validate_json(text)
            return cls(load_file(folder / TENSORS_FILE), position)
        except (OSError, ValidationError, SafetensorError, json.JSONDecodeError) as error:
            raise InvalidCheckpoint(
                f"The checkpoint {folder} cannot be read: {error}. Start a new run under another "
                "name."
            ) from error


class CheckpointFolder:
    """The checkpoints of a run without Ray, in one folder; the last `keep` stay."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep

    def add(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint whole or not at all.

        Raises:
            OSError, SafetensorError: as `Checkpoint.save` raises them.
        """
        draft = self._folder / "draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        checkpoint.save(draft)
        target = self._folder / f"{checkpoint.position.step:09}"
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
        for old in self._all()[: -self._keep]:
            shutil.rmtree(old, ignore_errors=True)

    def latest(self) -> Path | None:
        """The checkpoint of the last step; None if there is none."""
        found = self._all()
        return found[-1] if found else None

    def _all(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*"))
