"""HAM10000 on disk: the published metadata file and its images, as any of its publishers pack them.

What makes the whole file unusable is an error; what is wrong with one row is a `Problem`,
listed and counted, while the other rows are used.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from models.classes import CLASSES
from models.errors import InvalidDataset
from models.preprocessing import IMAGE_SIZE

METADATA_FILE = "HAM10000_metadata.csv"
METADATA_NAMES = ("ham10000_metadata.csv", "ham10000_metadata", "ham10000_metadata.tab")
"""In lower case, the preferred one first. Harvard Dataverse serves the last two."""

IMAGE_FOLDERS = (
    "HAM10000_images_part_1",
    "HAM10000_images_part_2",
    "HAM10000_images",
    "images_224",
    "images_200x150",
)
"""Folders that we know, the best resolution first; others are taken where these lack an image."""

SHARP_FOLDERS = frozenset(IMAGE_FOLDERS[:4])
"""Folders whose images have at least the model's 224 pixels on the short side."""

IMAGE_SUFFIXES = (".jpg", ".jpeg")
UNKNOWN = "unknown"

_MAX_DEPTH = 4  # of folders below the root: enough for zip files packed in zip files
_MAX_AGE = 120.0
_NO_VALUE = frozenset({"", UNKNOWN, "na", "nan", "n/a", "none", "null"})

ProblemKind = Literal["missing", "unreadable", "unknown label", "no lesion id", "invalid age"]


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
    sex: str = UNKNOWN
    age: float | None = None
    """Years, in HAM10000 rounded to 5; None where it is not known."""
    body_site: str = UNKNOWN


@dataclass(frozen=True)
class Problem:
    """What is wrong with one row of the metadata."""

    kind: ProblemKind
    """With an invalid age the image is used without one; otherwise it is left out."""
    image_id: str
    detail: str = ""
    """The value that is refused, or why an image cannot be read."""


@dataclass(frozen=True)
class Ham10000:
    """The images that can be used, and what was wrong with the rest."""

    images: tuple[LesionImage, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Image ids that the metadata names but no folder holds."""
        return tuple(one.image_id for one in self.problems if one.kind == "missing")

    @property
    def problem_counts(self) -> dict[ProblemKind, int]:
        """How many rows have each kind of problem; kinds that do not occur are left out."""
        return dict(Counter(one.kind for one in self.problems))

    @property
    def hash(self) -> str:
        """SHA-256 over (image id, lesion id, class), sorted: names the dataset on a model."""
        digest = hashlib.sha256()
        for image in sorted(self.images, key=lambda image: image.image_id):
            digest.update(f"{image.image_id},{image.lesion_id},{image.diagnosis}\n".encode())
        return digest.hexdigest()


def load_ham10000(*roots: Path) -> Ham10000:
    """Read the metadata and find each image's best copy.

    No image is decoded: a damaged file is found by `data.importing.check_images`, or by
    whoever decodes it.

    Args:
        roots: folders that together hold the metadata (`METADATA_NAMES`) and the images, at
            any nesting that the publishers' zip files give. Usually one.

    Raises:
        InvalidDataset: if the metadata is missing or cannot be read, a column is missing, an
            image is named twice, or no image can be used.
    """
    metadata = find_metadata(roots)
    copies = _find_images(roots)
    images: list[LesionImage] = []
    problems: list[Problem] = []
    for row in read_metadata(metadata):
        problem = _problem(row, copies)
        if problem is None:
            image, problem = _image(row, copies[row["image_id"]])
            images.append(image)
        if problem is not None:
            problems.append(problem)
    if not images:
        raise InvalidDataset(
            f"None of the images that {metadata} names can be used: {_told(problems)}. Put them "
            f"beside the metadata, for example in {IMAGE_FOLDERS[0]}."
        )
    return Ham10000(images=tuple(images), problems=tuple(problems))


def find_metadata(roots: Sequence[Path]) -> Path:
    """The metadata file: of several the one least deep, then the one preferred by name.

    Raises:
        InvalidDataset: if there is none.
    """
    found = [
        (depth, METADATA_NAMES.index(name.lower()), folder / name)
        for root in roots
        for depth, folder, names in _walk(root)
        for name in names
        if name.lower() in METADATA_NAMES
    ]
    if not found:
        raise InvalidDataset(
            f"{roots[0] / METADATA_FILE} does not exist. Point --data at a folder that holds "
            f"HAM10000: {METADATA_FILE} and its images; `dermserve import-ham10000` makes one."
        )
    return min(found)[2]


def read_metadata(path: Path) -> list[dict[str, str]]:
    """The rows of a metadata file; cells that a row lacks are empty.

    Raises:
        InvalidDataset: if it is no CSV in UTF-8, a column is missing or an image is named twice.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            # Dataverse serves tables with tabs, whatever was uploaded.
            delimiter = "\t" if "\t" in file.readline() else ","
            file.seek(0)
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            columns = set(reader.fieldnames or ())
            rows = [{k: v.strip() for k, v in row.items() if k in columns} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset(f"{path} cannot be read as CSV in UTF-8: {error}.") from error
    absent = {"image_id", "lesion_id", "dx", "dx_type"} - columns
    if absent:
        raise InvalidDataset(f"{path} lacks the columns {', '.join(sorted(absent))}.")
    counts = Counter(row["image_id"] for row in rows)
    repeated = [image_id for image_id, count in counts.items() if count > 1]
    if repeated:
        raise InvalidDataset(
            f"{path} names {len(repeated)} images more than once: {', '.join(repeated[:10])}. "
            "Keep one row of each."
        )
    return rows


def _problem(row: Mapping[str, str], copies: Mapping[str, Path]) -> Problem | None:
    """Why the row's image cannot be used, if so."""
    image_id = row["image_id"]
    if row["dx"] not in CLASSES:
        return Problem("unknown label", image_id, repr(row["dx"]))
    if not row["lesion_id"]:
        # Such images would otherwise all be one lesion.
        return Problem("no lesion id", image_id)
    if image_id not in copies:
        return Problem("missing", image_id)
    return None


def _image(row: Mapping[str, str], path: Path) -> tuple[LesionImage, Problem | None]:
    age, problem = None, None
    written = row.get("age", "")
    if written.lower() not in _NO_VALUE:
        try:
            age = float(written)
        except ValueError:
            age = math.nan
        if not 0 <= age <= _MAX_AGE:
            age, problem = None, Problem("invalid age", row["image_id"], repr(written))
    image = LesionImage(
        image_id=row["image_id"],
        lesion_id=row["lesion_id"],
        diagnosis=row["dx"],
        diagnosis_source=row["dx_type"],
        path=path,
        sharp=_is_sharp(path),
        sex=_known(row.get("sex", "")),
        age=age,
        body_site=_known(row.get("localization", "")),
    )
    return image, problem


def _known(value: str) -> str:
    value = value.lower()
    return UNKNOWN if value in _NO_VALUE else value


def _is_sharp(path: Path) -> bool:
    folder = known_folder(path.parent)
    if folder is not None:
        return folder in SHARP_FOLDERS
    try:
        with Image.open(path) as image:
            return min(image.size) >= IMAGE_SIZE
    except Exception:  # Pillow raises almost anything; whoever decodes the image reports it
        return False


def known_folder(folder: Path) -> str | None:
    """Which of `IMAGE_FOLDERS` a folder is, in whatever case it is written."""
    names = {name.lower(): name for name in IMAGE_FOLDERS}
    return names.get(folder.name.lower())


def _find_images(roots: Sequence[Path]) -> dict[str, Path]:
    ranks = {name: rank for rank, name in enumerate(IMAGE_FOLDERS)}
    folders = []
    for root in roots:
        for depth, folder, names in _walk(root):
            images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
            rank = ranks.get(known_folder(folder) or "", len(ranks))
            folders.append((rank, depth, folder, sorted(images)))
    copies: dict[str, Path] = {}
    for _, _, folder, names in sorted(folders, key=lambda found: found[:3]):
        for name in names:
            copies.setdefault(os.path.splitext(name)[0], folder / name)
    if not copies:
        raise InvalidDataset(
            f"{roots[0]} holds no JPEG images, neither itself nor in folders such as "
            f"{', '.join(IMAGE_FOLDERS)}."
        )
    return copies


def _walk(root: Path) -> Iterator[tuple[int, Path, list[str]]]:
    """Depth, path and file names of the root and the folders in it, links followed."""
    for place, folders, names in os.walk(root, followlinks=True):
        folder = Path(place)
        depth = len(folder.relative_to(root).parts)
        # Hidden folders and the __MACOSX of zip files hold no images of ours. The depth also
        # ends a circle of links.
        visible = [name for name in folders if not name.startswith((".", "__"))]
        folders[:] = sorted(visible) if depth < _MAX_DEPTH else []
        yield depth, folder, [name for name in names if not name.startswith(".")]


def _told(problems: Sequence[Problem]) -> str:
    counts = Counter(one.kind for one in problems)
    return ", ".join(f"{count} {kind}" for kind, count in counts.items()) or "there are no rows"
