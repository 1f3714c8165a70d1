"""The request bodies of every benchmark: encoded images from a folder, or synthetic ones."""

from __future__ import annotations

from pathlib import Path

from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import InvalidDataset


def image_files(folder: Path | None, scratch: Path) -> list[Path]:
    """JPEG files to send.

    Args:
        folder: of the user's images; None writes 35 synthetic 600x450 ones to `scratch`.
        scratch: an existing folder.

    Raises:
        InvalidDataset: if the folder holds no .jpg file.
    """
    if folder is not None:
        files = sorted(folder.glob("*.jpg"))
        if not files:
            raise InvalidDataset(f"{folder} holds no .jpg files.")
        return files
    files = []
    for code in CLASSES:
        for seed in range(5):
            files.append(scratch / f"{code}-{seed}.jpg")
            files[-1].write_bytes(synthetic_jpeg(code, seed))
    return files
