"""What a class means to a reader: name, description, risk and recommendation."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, RootModel, model_validator

from configs import FOLDER
from models.classes import CLASSES
from models.configuration import read_config


class Diagnosis(BaseModel):
    """The text shown with a predicted class."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    risk_level: Literal["low", "medium", "high"]
    recommendation: str


class _Diagnoses(RootModel[dict[str, Diagnosis]]):
    @model_validator(mode="after")
    def _all_seven(self) -> _Diagnoses:
        if set(self.root) != set(CLASSES):
            raise ValueError(f"the classes must be {', '.join(CLASSES)}")
        return self


@cache
def diagnoses() -> dict[str, Diagnosis]:
    """The texts of `configs/diagnoses.yaml` by class code.

    Raises:
        InvalidConfiguration: if the file misses a class or a text.
    """
    return read_config(FOLDER / "diagnoses.yaml", _Diagnoses).root
