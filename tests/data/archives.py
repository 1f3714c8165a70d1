"""Zip files for tests, made of real members."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path


def zipped(members: Mapping[str, bytes]) -> bytes:
    """A zip file of the members, by name; a name that ends in a slash is a folder."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def files(folder: Path) -> list[str]:
    """Names of all files below a folder, relative to it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def dataverse(dataset: Path) -> dict[str, bytes]:
    """A dataset of `HAM10000_images` as Harvard Dataverse keeps it: two zip files and a table."""
    images = sorted((dataset / "HAM10000_images").iterdir())
    half = len(images) // 2
    parts = {"1": images[:half], "2": images[half:]}
    packed = {
        f"HAM10000_images_part_{number}.zip": zipped({p.name: p.read_bytes() for p in part})
        for number, part in parts.items()
    }
    return packed | {"HAM10000_metadata": (dataset / "HAM10000_metadata.csv").read_bytes()}
