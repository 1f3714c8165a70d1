"""Settings of a training run: `configs/training.yaml`, validated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from models.classes import CLASSES
from models.errors import InvalidConfiguration

_RULES = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

MIN_SHARE = 2
"""Images of a batch that a worker gets at least; batch normalisation needs two to compare."""


class Phase(BaseModel):
    """Some epochs at one image size."""

    model_config = _RULES

    epochs: int = Field(ge=1)
    image_size: int = Field(ge=32, le=512, description="side in pixels")


Resources = dict[str, Annotated[float, Field(ge=0)]]


def _class_code(value: str) -> str:
    if value not in CLASSES:
        raise ValueError(f"Input should be one of {', '.join(CLASSES)}")
    return value


ClassCode = Annotated[str, AfterValidator(_class_code)]


class HeadSettings(BaseModel):
    """How a head run fits the head."""

    model_config = _RULES

    iterations: int = Field(default=100, ge=1, description="of L-BFGS, at most")
    anchor: float = Field(default=0.1, gt=0, description="pull towards the champion's head")
    upload_weight: float = Field(default=3.0, gt=0, description="of an upload in the loss")


class FullSettings(BaseModel):
    """What a full run does otherwise than the recipe of the file."""

    model_config = _RULES

    phases: tuple[Phase, ...] = Field(default=(Phase(epochs=1, image_size=224),), min_length=1)
    learning_rate: float = Field(default=2e-5, gt=0)
    ema_decay: float = Field(default=0.98, ge=0, lt=1)
    upload_copies: int = Field(default=3, ge=1, description="of an upload in an epoch")


class RetrainSettings(BaseModel):
    """When uploads become a retraining, and how it is done: `retrain:` of the file."""

    model_config = _RULES

    threshold: int = Field(default=10, ge=1, description="new labelled images that start a run")
    per_class_minimum: dict[ClassCode, Annotated[int, Field(ge=1)]] = Field(
        default={}, description="of these, by class"
    )
    quiet_s: float = Field(default=0.0, ge=0, description="without a change before a run starts")
    mode: Literal["auto", "head", "full"] = Field(
        default="auto", description="auto is full where there are base images, else head"
    )
    base_images: Path | None = Field(default=None, description="absolute; a folder as HAM10000's")
    workers: int = Field(default=1, ge=1, description="Ray Train workers")
    resources_per_worker: Resources = Field(
        default={"CPU": 0.25}, description="what Ray sets aside, by its names"
    )
    max_attempts: int = Field(default=3, ge=1, description="at a run whose process was lost")
    poll_s: float = Field(default=0.5, gt=0, description="between two looks at the catalogue")
    lease_s: float = Field(default=10.0, gt=0, description="of silence after which a run is lost")
    head: HeadSettings = HeadSettings()
    full: FullSettings = FullSettings()

    @model_validator(mode="after")
    def _check(self) -> RetrainSettings:
        if self.base_images is not None and not self.base_images.is_absolute():
            raise ValueError("base_images has to be absolute; workers run in other folders")
        if self.mode == "full" and self.base_images is None:
            raise ValueError("mode: full needs base_images")
        if self.lease_s < 4 * self.poll_s:
            raise ValueError("lease_s has to be at least four times poll_s, or a run loses itself")
        return self

    def mode_of(self, wish: Literal["head", "full"] | None = None) -> Literal["head", "full"]:
        """The mode of a run.

        Args:
            wish: of whoever asked for the run; None leaves it to `mode`.

        Raises:
            InvalidConfiguration: if the whole network is to be trained without base images.
        """
        mode = wish or self.mode
        if mode == "auto":
            return "head" if self.base_images is None else "full"
        if mode == "full" and self.base_images is None:
            raise InvalidConfiguration(
                "The whole network cannot be retrained without the images that it learned from. "
                "Name their folder as retrain.base_images, or retrain the head."
            )
        return mode


class DriftSettings(BaseModel):
    """How live traffic is watched for drift: `drift:` of the file."""

    model_config = _RULES

    window: int = Field(default=1000, ge=2, le=2000, description="latest images that are compared")
    minimum: int = Field(default=200, ge=2, description="images before anything is said")
    span_s: float = Field(
        default=600.0, gt=0, description="that a full window covers at least, under load"
    )
    max_age_s: float = Field(default=7 * 86_400.0, gt=0, description="of an image in the window")
    period_s: float = Field(default=60.0, gt=0, description="between two looks at what is new")

    @model_validator(mode="after")
    def _check(self) -> DriftSettings:
        if self.minimum > self.window:
            raise ValueError("minimum may be window at most, or nothing is ever said")
        return self


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
    resources_per_worker: Resources = Field(
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

    retrain: RetrainSettings = RetrainSettings()
    drift: DriftSettings = DriftSettings()

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
        most = max(self.most_workers, self.retrain.workers)
        if most * MIN_SHARE > self.batch_size:
            raise ValueError(f"{most} workers need a batch_size of at least {most * MIN_SHARE}")
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

    def retraining(self) -> TrainingSettings:
        """The settings of a full run: the recipe as far as `retrain` does not change it."""
        full, retrain = self.retrain.full, self.retrain
        return TrainingSettings.model_validate(
            {
                **self.model_dump(exclude={"retrain", "drift", "notes"}),
                **full.model_dump(exclude={"upload_copies"}),
                "workers": retrain.workers,
                "resources_per_worker": retrain.resources_per_worker,
            }
        )


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
    "retrain",
    "drift",
)
