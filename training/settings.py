"""Settings of a training run: `configs/training.yaml`, validated."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_RULES = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

MIN_SHARE = 2
"""Images of a batch that a worker gets at least; batch normalisation needs two to compare."""


class Phase(BaseModel):
    """Some epochs at one image size."""

    model_config = _RULES

    epochs: int = Field(ge=1)
    image_size: int = Field(ge=32, le=512, description="side in pixels")


class TrainingSettings(BaseModel):
    """One run's recipe, and the workers that carry it out. The file explains the values."""

    model_config = _RULES

    seed: int = Field(default=7, ge=0, lt=2**63)
    batch_size: int = Field(default=64, ge=2, description="of all workers together")
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    logit_adjustment: float = Field(default=1.0, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    phases: tuple[Phase, ...] = Field(min_length=1)
    notes: tuple[str, ...] = Field(default=(), description="what decided the recipe, for the card")

    workers: int | tuple[int, int] = Field(
        default=1, description="0 trains in this process, without Ray; a pair is [least, most]"
    )
    resources_per_worker: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={"CPU": 1.0}, description="what Ray sets aside, by its names"
    )
    use_gpu: bool | None = Field(
        default=None, description="a GPU for each worker; None takes them where there are enough"
    )
    threads_per_worker: int | None = Field(
        default=None, ge=1, description="None shares a machine's cores among its workers"
    )
    nice: int = Field(default=10, ge=0, le=19, description="of the workers; not with workers: 0")
    checkpoint_steps: int = Field(default=200, ge=1, description="besides one after each epoch")
    max_failures: int = Field(default=3, ge=0, description="dead workers that a run survives")
    start_timeout_s: float = Field(default=120, gt=0, description="longest wait for workers")

    @field_validator("workers", mode="before")
    @classmethod
    def _check_workers(cls, value: Any) -> int | tuple[int, int]:
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        if not all(type(number) is int for number in numbers):
            raise ValueError("Input should be a whole number or a pair [least, most]")
        if isinstance(value, int) and value >= 0:
            return value
        if len(numbers) == 2 and 1 <= numbers[0] <= numbers[1]:
            return numbers[0], numbers[1]
        raise ValueError("Input should be at least 0, or a pair [least, most] with 1 <= least")

    @model_validator(mode="after")
    def _check_shares(self) -> TrainingSettings:
        if self.most_workers * MIN_SHARE > self.batch_size:
            raise ValueError(
                f"{self.most_workers} workers need a batch_size of at least "
                f"{self.most_workers * MIN_SHARE}"
            )
        return self

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def least_workers(self) -> int:
        """At least 1, also where this process is the worker."""
        return max(1, self.workers if isinstance(self.workers, int) else self.workers[0])

    @property
    def most_workers(self) -> int:
        """At least 1, also where this process is the worker."""
        return max(1, self.workers if isinstance(self.workers, int) else self.workers[1])

    def recipe(self) -> dict[str, Any]:
        """What decides the weights, as JSON; the number of workers hardly does."""
        return self.model_dump(mode="json", exclude=set(_EXECUTION))


_EXECUTION = (
    "notes",
    "workers",
    "resources_per_worker",
    "use_gpu",
    "threads_per_worker",
    "nice",
    "checkpoint_steps",
    "max_failures",
    "start_timeout_s",
)
