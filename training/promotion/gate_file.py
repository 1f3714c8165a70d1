"""The gate file, `configs/promotion.yaml`: what a challenger has to show to be promoted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from configs import FOLDER
from models.configuration import read_config
from models.errors import InvalidConfiguration
from models.package import sha256_of

PROMOTION_FILE = FOLDER / "promotion.yaml"

_Share = Annotated[float, Field(ge=0, le=1)]
_Loss = Annotated[float, Field(ge=-1, le=0, description="0 or below: how much may be lost")]
_Images = Annotated[int, Field(ge=1)]


class _Rule(BaseModel):
    # No rule has a default: what a gate does not name, nobody has decided.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class BalancedAccuracyRule(_Rule):
    """Mean recall of the decisions over the classes."""

    min_difference: _Loss
    min: _Share = Field(description="of the challenger itself, whoever the champion is")


class MelanomaRule(_Rule):
    """Melanomas found when the score's threshold lets the same share of the others pass."""

    specificity: float = Field(gt=0, lt=1, description="that both models are held to")
    min_difference: _Loss


class CalibrationRule(_Rule):
    """Expected calibration error."""

    max: _Share
    max_increase: _Share


class SubgroupRule(_Rule):
    """Mean recall within each group of patients or images."""

    min_difference: _Loss
    minimum_images: _Images
    minimum_images_of_class: _Images


class LabelRule(_Rule):
    """Labels of uploads that the champion contradicts with confidence."""

    max_excess: _Share = Field(description="over the share that it contradicts of true labels")
    minimum_lesions: int = Field(ge=1)


class ShadowRule(_Rule):
    """What the challenger does with live images before it is promoted."""

    share: _Share = Field(description="of the live images that it scores too")
    window_s: float = Field(gt=0)
    minimum_images: _Images
    max_disagreement: _Share
    max_latency_ratio: float = Field(gt=0)
    required: bool = Field(description="whether too few images refuse the challenger")


class ObservationRule(_Rule):
    """What the promoted model does with live images, and whether it may stay."""

    share: _Share = Field(description="of the live images that its predecessor scores too")
    window_s: float = Field(gt=0)
    minimum_images: _Images
    max_error_rate: _Share
    max_disagreement: _Share


class Gate(_Rule):
    """The rules. The file explains the values."""

    minimum_new_images: int = Field(ge=0)
    balanced_accuracy: BalancedAccuracyRule
    melanoma_sensitivity: MelanomaRule
    calibration_error: CalibrationRule
    subgroups: SubgroupRule
    labels: LabelRule
    shadow: ShadowRule
    observation: ObservationRule
    resamples: int = Field(ge=200, le=20_000, description="of lesions, for the intervals")
    seed: int = Field(ge=0, lt=2**63)


class GateFile(Gate):
    """The rules as a file holds them."""

    hash: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file's bytes")

    @classmethod
    def load(cls, path: Path = PROMOTION_FILE) -> GateFile:
        """Read and validate a gate file.

        Raises:
            InvalidConfiguration: if it is missing, is no YAML, lacks a rule, breaks one, or
                changes while it is read.
        """
        rules = read_config(path, Gate)
        gate = cls(**dict(rules), hash=sha256_of(path))
        # What a decision records has to be the file that decided.
        if read_config(path, Gate) != rules:
            raise InvalidConfiguration(f"{path} was changed while it was read. Try again.")
        return gate
