"""Known images: what the project knows of each HAM10000 image on a machine that has none.

An upload may be a picture that the champion was trained on or, worse, is judged on. Both are
told by perceptual hashes, from which no picture can be made. The images' attributes let a
fresh machine judge a retrained head by subgroup.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from data.duplicates import NEAR_DUPLICATE_DISTANCE, HashIndex
from data.frozen import FrozenSplit, Part
from data.ham10000 import UNKNOWN, LesionImage
from data.importing import Checked
from data.splits import SPLITS
from models.errors import InvalidDataset

NAME = "ham10000_images_v1"
SOURCE = (
    "Metadata of HAM10000, and perceptual hashes of its images, doi:10.7910/DVN/DBW86T "
    "(Tschandl, Rosendahl, Kittler, Scientific Data 5:180161, 2018), CC BY-NC 4.0."
)
_FOLDER = Path(__file__).parent
_COLUMNS = (
    *("image_id", "lesion_id", "dx", "dx_type", "age", "sex", "localization"),
    *("sharp", "perceptual_hash"),
)


class _Record(BaseModel):
    """What stands beside the table, in `NAME`.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = SOURCE
    images: int
    dataset_hash: str
    sha256: str
    """Of the table, unpacked."""


@dataclass(frozen=True)
class KnownMatch:
    """A known image that a picture is, as far as perceptual hashes can tell."""

    image_id: str
    part: Part
    distance: int
    """Bits that differ, 0 to 256."""


@dataclass(frozen=True)
class KnownImages:
    """The table, searchable by hash; rows and hashes are in the same order."""

    rows: tuple[LesionImage, ...]
    """The path of each is only the name under which HAM10000 publishes it."""
    hashes: tuple[bytes, ...]
    """Perceptual hashes of what `decode_image` makes of the copy that `sharp` speaks of."""
    parts: Mapping[str, Part]
    """The split of each lesion, by lesion id."""

    @classmethod
    @cache
    def load(cls, folder: Path = _FOLDER) -> KnownImages:
        """Read and verify the table; the one that ships with the project is read once.

        Raises:
            InvalidDataset: if a file is missing, broken or altered, or holds a lesion that the
                frozen split does not place.
        """
        table, record_file = _paths(folder)
        try:
            record = _Record.model_validate_json(record_file.read_bytes())
            content = gzip.decompress(table.read_bytes())
            rows = list(csv.DictReader(io.StringIO(content.decode())))
            known = cls(
                tuple(_image(row) for row in rows),
                tuple(bytes.fromhex(row["perceptual_hash"]) for row in rows),
                FrozenSplit.load().lesions,
            )
        except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, csv.Error) as error:
            raise InvalidDataset(
                f"The known images {table} cannot be read: {error}. Install DermServe again."
            ) from error
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise InvalidDataset(
                f"{table} is altered: its SHA-256 is not the one in {record_file.name}. Install "
                "DermServe again; uploads must be told from the images that judge a model."
            )
        unplaced = [row.image_id for row in known.rows if row.lesion_id not in known.parts]
        if unplaced:
            raise InvalidDataset(
                f"{table} and the frozen split are of different datasets: {unplaced[0]} is in "
                "none of its parts. Install DermServe again."
            )
        return known

    def find(
        self, perceptual_hash: bytes, max_distance: int = NEAR_DUPLICATE_DISTANCE
    ) -> KnownMatch | None:
        """The known image that a picture is: of the test part before others, then the nearest.

        What may be a test image must not be learned from, even if a training image is nearer.

        Raises:
            InvalidDataset: if the hash has another length.
        """
        matches = [
            KnownMatch(row.image_id, self.parts[row.lesion_id], match.distance)
            for match in self._index.search(perceptual_hash, max_distance)
            for row in (self.rows[match.index],)
        ]
        return max(matches, key=lambda match: SPLITS.index(match.part), default=None)

    def image(self, image_id: str) -> LesionImage | None:
        """The image of an id; None if HAM10000 has none."""
        return self._by_id.get(image_id)

    def images(self, part: Part) -> tuple[LesionImage, ...]:
        """The images of one part of the frozen split, by image id."""
        return tuple(row for row in self.rows if self.parts[row.lesion_id] == part)

    def part_of_lesion(self, lesion_id: str) -> Part | None:
        """Where the frozen split has a lesion; None if HAM10000 has no such lesion."""
        return self.parts.get(lesion_id.strip().upper())

    @cached_property
    def _index(self) -> HashIndex:
        return HashIndex(self.hashes)

    @cached_property
    def _by_id(self) -> dict[str, LesionImage]:
        return {row.image_id: row for row in self.rows}


def freeze_known_images(checked: Checked, folder: Path | None = None) -> None:
    """Make `ham10000_images_v1` again, to be committed.

    From a folder with all of HAM10000:

        freeze_known_images(check_images(load_ham10000(folder)))

    It takes some seconds. The same images give the same table; the packed bytes may differ
    with the version of zlib.

    Args:
        checked: every image of HAM10000 that is to be known, with its hash.
        folder: where the two files are written; None is where they are read.
    """
    pairs = sorted(
        zip(checked.dataset.images, checked.hashes, strict=True), key=lambda pair: pair[0].image_id
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for image, perceptual_hash in pairs:
        writer.writerow(
            (
                image.image_id,
                image.lesion_id,
                image.diagnosis,
                image.diagnosis_source,
                "" if image.age is None else f"{image.age:g}",
                image.sex,
                image.body_site,
                int(image.sharp),
                perceptual_hash.hex(),
            )
        )
    content = text.getvalue().encode()
    record = _Record(
        images=len(pairs),
        dataset_hash=checked.dataset.hash,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    table, record_file = _paths(folder or _FOLDER)
    table.write_bytes(gzip.compress(content, mtime=0))
    record_file.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _image(row: Mapping[str, str]) -> LesionImage:
    return LesionImage(
        image_id=row["image_id"],
        lesion_id=row["lesion_id"],
        diagnosis=row["dx"],
        diagnosis_source=row["dx_type"],
        path=Path(f"{row['image_id']}.jpg"),
        sharp=row["sharp"] == "1",
        sex=row["sex"] or UNKNOWN,
        age=float(row["age"]) if row["age"] else None,
        body_site=row["localization"] or UNKNOWN,
    )


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / f"{NAME}.csv.gz", folder / f"{NAME}.json"
