"""The import of HAM10000: from whatever was downloaded to one checked folder."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data.archive import unpack
from data.duplicates import merged_lesions, perceptual_hash
from data.ham10000 import (
    METADATA_FILE,
    METADATA_NAMES,
    Ham10000,
    LesionImage,
    Problem,
    find_metadata,
    known_folder,
    load_ham10000,
    read_metadata,
)
from data.splits import Split, frozen_split
from models.errors import DermServeError, InvalidDataset
from models.preprocessing import decode_image

REPORT_FILE = "import.json"
"""Beside the imported images: what was found, and every problem."""

OTHER_FOLDER = "images"
"""Where images go whose folder had no name that we know."""


@dataclass(frozen=True)
class Checked:
    """A dataset of which every image has been decoded."""

    dataset: Ham10000
    """Without the images that cannot be decoded; they are among its problems."""
    hashes: tuple[bytes, ...]
    """Perceptual hash of each image."""
    merged: tuple[tuple[str, ...], ...]
    """Lesions that share a picture."""


@dataclass(frozen=True)
class Imported:
    """What an import made."""

    folder: Path
    checked: Checked
    split: Split | None
    """None if there are too few lesions for one."""
    split_problem: str = ""


@dataclass(frozen=True)
class Listeners:
    """What a caller hears of while an import runs."""

    on_unpacked: Callable[[], None] = field(default=lambda: None)
    on_images: Callable[[int], Callable[[], None]] = field(default=lambda count: lambda: None)
    """Told the number of images; returns what is called after each that was checked."""


def import_ham10000(
    sources: Sequence[Path],
    output: Path,
    *,
    link: bool = False,
    listeners: Listeners | None = None,
) -> Imported:
    """Check a download and put it where `load_ham10000` reads it.

    The best copy of each image that can be used is taken, with the metadata and a report. The
    output appears at once, when it is whole.

    Args:
        sources: folders, zip files and the metadata file, which together hold all that is to
            be imported; zip files that lie directly in a folder are unpacked too.
        output: folder that does not exist or is empty.
        link: make symbolic links to images that lie in a folder instead of copies.

    Raises:
        InvalidDataset: if the output is taken, a source is missing or damaged, nothing usable is
            found, or the disk is full.
    """
    listeners = listeners or Listeners()
    check_output(output)
    for source in sources:
        if not source.exists():
            raise InvalidDataset(f"{source} does not exist. Name a folder or a zip file.")
    output = output.absolute()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as staging:
            unpacked, made = Path(staging) / "unpacked", Path(staging) / "made"
            roots = [source for source in sources if source.is_dir()]
            packed = [source for source in sources if not source.is_dir()]
            packed += [one for root in roots for one in _archives(root)]
            unpacked.mkdir()
            for file in packed:
                if file.name.lower() in METADATA_NAMES:
                    shutil.copy(file, unpacked)
                else:
                    unpack(file, unpacked, on_file=listeners.on_unpacked)
            roots.append(unpacked)
            metadata = _find_metadata(roots, sources)
            checked = check_images(load_ham10000(*roots), listeners.on_images)
            for image in checked.dataset.images:
                _take(image, made, link=link, move=image.path.is_relative_to(unpacked))
            _write_metadata(metadata, made / METADATA_FILE)
            (made / REPORT_FILE).write_text(_report(checked), encoding="utf-8")
            os.replace(made, output)
    except OSError as error:
        raise InvalidDataset(f"{output} cannot be written: {error}.") from error
    try:
        return Imported(output, checked, frozen_split(checked.dataset.images, checked.merged))
    except InvalidDataset as error:
        return Imported(output, checked, None, error.message)


def check_output(output: Path) -> None:
    """Refuse a folder that holds something, before anything is downloaded for it.

    Raises:
        InvalidDataset: if it is no folder or not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InvalidDataset(f"{output} is not an empty folder. Choose a new one as --output.")


def check_images(
    dataset: Ham10000,
    on_images: Callable[[int], Callable[[], None]] = lambda count: lambda: None,
) -> Checked:
    """Decode every image and hash it, in threads; about 1 ms of a processor each.

    Raises:
        InvalidDataset: if none can be decoded.
    """
    on_image = on_images(len(dataset.images))

    def check(image: LesionImage) -> bytes | Problem:
        try:
            return perceptual_hash(decode_image(image.path.read_bytes()))
        except DermServeError as error:
            return Problem("unreadable", image.image_id, error.message)
        except OSError as error:
            return Problem("unreadable", image.image_id, str(error))
        finally:
            on_image()

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(check, dataset.images))
    pairs = list(zip(dataset.images, results, strict=True))
    images = tuple(image for image, result in pairs if isinstance(result, bytes))
    hashes = tuple(result for result in results if isinstance(result, bytes))
    damaged = tuple(result for result in results if isinstance(result, Problem))
    if not images:
        raise InvalidDataset(
            f"None of the {len(damaged)} images can be decoded: {damaged[0].image_id}: "
            f"{damaged[0].detail}"
        )
    whole = Ham10000(images, dataset.problems + damaged)
    return Checked(whole, hashes, merged_lesions(images, hashes))


def _find_metadata(roots: Sequence[Path], sources: Sequence[Path]) -> Path:
    try:
        return find_metadata(roots)
    except InvalidDataset as error:
        # That sentence would name the folder that we unpack to.
        raise InvalidDataset(
            f"There is no {METADATA_FILE} in {', '.join(map(str, sources))}. Name the metadata "
            "file, or its folder, as another source."
        ) from error


def _archives(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".zip")


def _take(image: LesionImage, made: Path, *, link: bool, move: bool) -> None:
    folder = made / (known_folder(image.path.parent) or OTHER_FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{image.image_id}.jpg"
    if move:
        os.replace(image.path, target)
    elif link:
        target.symlink_to(image.path.resolve())
    else:
        shutil.copyfile(image.path, target)


def _write_metadata(source: Path, target: Path) -> None:
    """Every row, those of images that are left out too, as the CSV that the publishers mean."""
    rows = read_metadata(source)
    with target.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _report(checked: Checked) -> str:
    dataset = checked.dataset
    report = {
        "dataset_hash": dataset.hash,
        "images": len(dataset.images),
        "merged_lesions": checked.merged,
        "problem_counts": dataset.problem_counts,
        "problems": [vars(problem) for problem in dataset.problems],
    }
    return json.dumps(report, indent=2) + "\n"
