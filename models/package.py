"""A model package: one folder that holds everything a version of the model consists of.

`model.json` names every other file with its SHA-256, so a package is either whole and
unaltered or refused. Nothing in it is executable and nothing is unpickled.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from models.classes import CLASSES
from models.errors import InvalidPackage
from models.preprocessing import IMAGE_SIZE

MANIFEST_FILE = "model.json"
WEIGHTS_FILE = "weights.safetensors"
GRAPH_FILE = "graph.xml"
GRAPH_WEIGHTS_FILE = "graph.bin"
INT8_GRAPH_FILE = "graph_int8.xml"
INT8_GRAPH_WEIGHTS_FILE = "graph_int8.bin"
NOVELTY_FILE = "novelty.safetensors"
REPLAY_FILE = "replay.safetensors"
REFERENCE_FILE = "reference.safetensors"
DRIFT_FILE = "drift.safetensors"
CARD_FILE = "card.md"

BUNDLED_CHAMPION = Path(__file__).parent / "champion"
"""The package that ships with the project."""

CHAMPION_VARIABLE = "DERMSERVE_CHAMPION"
"""Environment variable: folder of the package that a registry without a champion begins with;
the bundled one if it is not set."""
"""Environment variable that names another package folder as the champion."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputContract(_Frozen):
    """What the inference graph takes."""

    height: Literal[224] = IMAGE_SIZE
    width: Literal[224] = IMAGE_SIZE
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    colorspace: Literal["RGB"] = "RGB"


class OperatingPoint(_Frozen):
    """A decision threshold, and what it did on images that did not choose it."""

    threshold: float = Field(ge=0, le=1)
    validation_sensitivity: float = Field(ge=0, le=1, description="the sensitivity it was set for")
    test_sensitivity: float = Field(ge=0, le=1)
    test_specificity: float = Field(ge=0, le=1)


class DecisionRules(_Frozen):
    """How logits become an answer. Fitted on the validation split."""

    logit_shift: tuple[FiniteFloat, ...] = Field(
        min_length=len(CLASSES),
        max_length=len(CLASSES),
        description="added to the logits before probabilities are made of them: training kept "
        "the class frequencies out of the logits, probabilities have to hold them",
    )
    temperature: FiniteFloat = Field(gt=0)
    melanoma: OperatingPoint = Field(description="of the probability of mel")
    malignant: OperatingPoint = Field(description="of p(mel) + p(bcc) + p(akiec)")
    prediction_set_threshold: float = Field(ge=0, le=1)
    prediction_set_coverage: float = Field(gt=0, lt=1)
    max_prediction_set: int = Field(
        ge=1, description="a larger prediction set makes the model abstain as too uncertain"
    )
    novelty_threshold: FiniteFloat = Field(
        description="a higher novelty makes the model abstain as out of distribution"
    )


class SplitRecord(_Frozen):
    """Which images the model learned from and was judged on: their number by class."""

    name: str = Field(description="version of the frozen split")
    hash: str = Field(description="SHA-256 of its lesions and parts")
    train: dict[str, int]
    validation: dict[str, int]
    test: dict[str, int]
    uploads: dict[str, int] = Field({}, description="learned from beside the split's images")


class Manifest(_Frozen):
    """`model.json`."""

    format: Literal[2] = 2
    architecture: Literal["mobilenet_v2"] = "mobilenet_v2"
    version: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,63}$")
    created: datetime
    classes: tuple[str, ...]
    input: InputContract
    decision: DecisionRules
    metrics: dict[str, object]
    split: SplitRecord
    dataset_hash: str
    recipe: dict[str, object]
    notes: tuple[str, ...] = Field(
        (), description="what decided the recipe: ablations, a sentence each"
    )
    licence: str
    citation: str
    files: dict[str, str] = Field(description="SHA-256 in hexadecimal, by file name")


class ModelPackage:
    """A verified package on disk."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def load(cls, folder: Path) -> ModelPackage:
        """Read and verify a package.

        Raises:
            InvalidPackage: if a file is missing or altered, or if the package is for
                other classes or another input than this code.
        """
        path = folder / MANIFEST_FILE
        if not path.is_file():
            raise InvalidPackage(
                f"There is no model package in {folder}. Name a folder that holds {MANIFEST_FILE}, "
                "or train one with `dermserve train`."
            )
        try:
            manifest = Manifest.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise InvalidPackage(f"{path} is no valid manifest: {error}") from error
        if manifest.classes != CLASSES:
            raise InvalidPackage(
                f"{folder} classifies {', '.join(manifest.classes)}; this server serves "
                f"{', '.join(CLASSES)}."
            )
        for name, expected in manifest.files.items():
            _verify(folder, name, expected)
        return cls(folder, manifest)

    def file(self, name: str) -> Path:
        """Path of a file of the package.

        Raises:
            InvalidPackage: if the manifest does not list it.
        """
        if name not in self.manifest.files:
            raise InvalidPackage(f"{self.folder} has no {name}.")
        return self.folder / name

    def __contains__(self, name: str) -> bool:
        """Whether the package holds a file of this name."""
        return name in self.manifest.files


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _verify(folder: Path, name: str, expected: str) -> None:
    if Path(name).name != name:
        raise InvalidPackage(f"{folder} lists a file outside itself: {name!r}.")
    path = folder / name
    if not path.is_file():
        raise InvalidPackage(f"{path} is missing.")
    if sha256_of(path) != expected:
        raise InvalidPackage(
            f"{path} is altered or damaged: its SHA-256 is not the one in {MANIFEST_FILE}."
        )
