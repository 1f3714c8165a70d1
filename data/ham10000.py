"""HAM10000 on disk: the published metadata file beside its images, at one or more resolutions."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.classes import CLASSES
from models.errors import InvalidDataset

METADATA_FILE = "HAM10000_metadata.csv"

IMAGE_FOLDERS = (
    "HAM10000_images_part_1",
    "HAM10000_images_part_2",
    "HAM10000_images",
    "images_224",
    "images_200x150",
)
"""Folders searched for `<image_id>.jpg`, the best resolution first."""

SHARP_FOLDERS = frozenset(IMAGE_FOLDERS[:4])
"""Folders whose images have at least the model's 224 pixels on the short side."""


@dataclass(frozen=True)
class LesionImage:
    """One dermatoscopic image and what is known about it."""

    image_id: str
    lesion_id: str
    diagnosis: str
    """Class code, one of `CLASSES`."""
    diagnosis_source: str
    """How the label was established: histo, follow_up, consensus or confocal."""
    path: Path
    sharp: bool
    """False if the only copy is smaller than the model's input and has to be enlarged."""


@dataclass(frozen=True)
class Ham10000:
    """The images that were found, and what was wrong with the rest."""

    images: tuple[LesionImage, ...]
    missing: tuple[str, ...]
    """Image ids that the metadata names but no folder holds."""

    @property
    def hash(self) -> str:
        """SHA-256 over (image id, lesion id, class), sorted: names the dataset on a model."""
        digest = hashlib.sha256()
        for image in sorted(self.images, key=lambda image: image.image_id):
            digest.update(f"{image.image_id},{image.lesion_id},{image.diagnosis}\n".encode())
        return digest.hexdigest()


def load_ham10000(root: Path) -> Ham10000:
    """Read the metadata and find each image's best copy.

    Args:
        root: the folder that holds `HAM10000_metadata.csv` and at least one of `IMAGE_FOLDERS`.

    Raises:
        InvalidDataset: if the metadata is missing or cannot be read, a column is missing, a
            label is not one of the seven, an image is named twice, or no image is found.
    """
    metadata = root / METADATA_FILE
    if not metadata.is_file():
        raise InvalidDataset(
            f"{metadata} does not exist. Point --data at a folder that holds HAM10000: "
            f"{METADATA_FILE} and its images."
        )
    copies = _find_images(root)
    images, missing = [], []
    for row in _read_metadata(metadata):
        path = copies.get(row["image_id"])
        if path is None:
            missing.append(row["image_id"])
            continue
        images.append(
            LesionImage(
                image_id=row["image_id"],
                lesion_id=row["lesion_id"],
                diagnosis=row["dx"],
                diagnosis_source=row["dx_type"],
                path=path,
                sharp=path.parent.name in SHARP_FOLDERS,
            )
        )
    if not images:
        raise InvalidDataset(f"None of the images that {metadata} names is in {root}.")
    return Ham10000(images=tuple(images), missing=tuple(missing))


def _find_images(root: Path) -> dict[str, Path]:
    copies: dict[str, Path] = {}
    folders = [root / name for name in IMAGE_FOLDERS if (root / name).is_dir()]
    if not folders:
        raise InvalidDataset(f"{root} holds none of the folders {', '.join(IMAGE_FOLDERS)}.")
    for folder in folders:
        for path in sorted(folder.glob("*.jpg")):
            copies.setdefault(path.stem, path)
    return copies


def _read_metadata(path: Path) -> Sequence[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = set(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{path} cannot be read as CSV in UTF-8: {error}.") from error
    absent = {"image_id", "lesion_id", "dx", "dx_type"} - columns
    if absent:
        raise InvalidDataset(f"{path} lacks the columns {', '.join(sorted(absent))}.")
    unknown = sorted({row["dx"] for row in rows} - set(CLASSES))
    if unknown:
        raise InvalidDataset(
            f"{path} has the labels {', '.join(map(repr, unknown))}, which are none of "
            f"{', '.join(CLASSES)}."
        )
    counts = Counter(row["image_id"] for row in rows)
    repeated = [image_id for image_id, count in counts.items() if count > 1]
    if repeated:
        raise InvalidDataset(
            f"{path} names {len(repeated)} images more than once: {', '.join(repeated[:10])}. "
            "Keep one row of each."
        )
    return rows
