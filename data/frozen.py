"""The frozen split of HAM10000: a file that says once and for all which lesion is where."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from models.errors import InvalidDataset

NAME = "ham10000_split_v1"
VERSION = "ham10000-v1"
SEED = 7
SOURCE = (
    "Lesion ids of HAM10000, doi:10.7910/DVN/DBW86T (Tschandl, Rosendahl, Kittler, Scientific "
    "Data 5:180161, 2018), CC BY-NC 4.0."
)
Part = Literal["train", "validation", "test"]
_FOLDER = Path(__file__).parent


class FrozenSplit(BaseModel):
    """The table of lesions, in `NAME`.csv, and what it was made from, in `NAME`.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    source: str = SOURCE
    seed: int
    fractions: tuple[float, float, float]
    """Of the lesions of each class: train, validation, test."""
    merged: tuple[tuple[str, ...], ...]
    """Lesions that share a picture, found by `data.duplicates.merged_lesions`."""
    images: dict[str, dict[str, int]]
    """Number of images, by split and class."""
    lesion_counts: dict[str, int]
    """Number of lesion ids, by split."""
    dataset_hash: str
    sha256: str
    """Of the table."""
    lesions: dict[str, Part] = Field(exclude=True)
    """The split of each lesion, by lesion id."""

    @classmethod
    @cache
    def load(cls, folder: Path = _FOLDER) -> FrozenSplit:
        """Read and verify the split; the one that ships with the project is read once.

        Raises:
            InvalidDataset: if a file is missing, broken or altered.
        """
        table, record = _paths(folder)
        try:
            content = table.read_bytes()
            rows = csv.DictReader(io.StringIO(content.decode()))
            lesions = {row["lesion_id"]: row["split"] for row in rows}
            frozen = cls.model_validate({**json.loads(record.read_bytes()), "lesions": lesions})
        except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
            raise InvalidDataset(
                f"The frozen split {table} cannot be read: {error}. Install DermServe again."
            ) from error
        if hashlib.sha256(content).hexdigest() != frozen.sha256:
            raise InvalidDataset(
                f"{table} is altered: its SHA-256 is not the one in {record.name}. Install "
                "DermServe again; a model must not learn from what it is judged on."
            )
        return frozen

    def write(self, folder: Path | None = None) -> None:
        """Write both files; None replaces those that ship with the project."""
        table, record = _paths(folder or _FOLDER)
        table.write_bytes(lesion_table(self.lesions))
        record.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


def lesion_table(lesions: Mapping[str, str]) -> bytes:
    """The table as bytes: CSV in UTF-8, sorted by lesion id, lines end in LF."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("lesion_id", "split"))
    writer.writerows(sorted(lesions.items()))
    return text.getvalue().encode()


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / f"{NAME}.csv", folder / f"{NAME}.json"
