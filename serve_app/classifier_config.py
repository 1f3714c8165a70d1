"""The classifier's `user_config`: what may change without a restart."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from models.registered_version import CHAMPION


class ClassifierConfig(BaseModel):
    """Which models a replica holds, and what each of them does.

    An operator writes `model`; the rest is written by the trainer while it rolls a version out.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str = Field(
        CHAMPION,
        min_length=1,
        description="the version that answers: `champion`, or a version of the registry or the "
        "folder of a package, which pins it",
    )
    standby: str | None = Field(
        None,
        min_length=1,
        description="a version kept warm beside it, so that a change to it takes no loading",
    )
    shadow_share: float = Field(
        0.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="share of live images that the standby scores too, in the background",
    )
    generation: int = Field(
        0, ge=0, description="number of the rollout that wrote it; 0 if an operator did"
    )
