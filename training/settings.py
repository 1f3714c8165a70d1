"""Settings of a training run: `configs/training.yaml`, validated."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

_RULES = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Phase(BaseModel):
    """Some epochs at one image size."""

    model_config = _RULES

    epochs: int = Field(ge=1)
    image_size: int = Field(ge=32, le=512, description="side in pixels")


class TrainingSettings(BaseModel):
    """One run's recipe. The file explains the values."""

    model_config = _RULES

    seed: int = Field(default=7, ge=0, lt=2**63)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.05, ge=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)
    ema_decay: float = Field(default=0.995, ge=0, lt=1)
    logit_adjustment: float = Field(default=1.0, ge=0)
    dropout: float = Field(default=0.2, ge=0, lt=1)
    phases: tuple[Phase, ...] = Field(min_length=1)

    @property
    def epochs(self) -> int:
        """Of all phases together."""
        return sum(phase.epochs for phase in self.phases)
