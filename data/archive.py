"""Zip files as the publishers of HAM10000 make them, unpacked without trusting them."""

from __future__ import annotations

import lzma
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from data.ham10000 import IMAGE_SUFFIXES, METADATA_NAMES, known_folder
from models.errors import InvalidDataset

MAX_UNPACKED_BYTES = 8 * 1024**3
"""Of one archive with those in it. All of HAM10000 takes 2.8 GB."""
MAX_FILE_BYTES = 64 * 1024**2
"""Of one image or table."""
MAX_FILES = 200_000

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,99}")
# What zipfile raises on damaged, encrypted or foreign files.
_BROKEN = (
    *(zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError, EOFError),
    *(struct.error, zlib.error, lzma.LZMAError),
)


def unpack(
    archive: Path,
    folder: Path,
    max_bytes: int = MAX_UNPACKED_BYTES,
    on_file: Callable[[], None] = lambda: None,
) -> int:
    """Unpack the images and the metadata; everything else is left in the archive.

    No path of the archive is used: a file goes into `folder`, or into the one of
    `IMAGE_FOLDERS` in it that the archive names, and the first of two namesakes is kept.
    Archives in the archive are unpacked too, but none in those.

    Args:
        archive: a zip file.
        folder: created if absent.
        max_bytes: of all files together, as the archive declares and zipfile enforces.
        on_file: called after each file.

    Returns:
        How many files were written.

    Raises:
        InvalidDataset: if the archive is damaged, encrypted or too large, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return _unpack(archive, folder, max_bytes, on_file, inner=True)
    except _BROKEN as error:
        raise InvalidDataset(
            # It may quote names, which may have any length.
            f"{archive} cannot be unpacked: {error!s:.200}. Download it again; it has to be a "
            "zip file without a password."
        ) from error
    except OSError as error:
        raise InvalidDataset(f"{archive} cannot be unpacked to {folder}: {error}.") from error


def _unpack(
    archive: Path, folder: Path, max_bytes: int, on_file: Callable[[], None], inner: bool
) -> int:
    written = 0
    with zipfile.ZipFile(archive) as opened:
        members = [(member, _target(member, inner)) for member in opened.infolist()]
        wanted = [(member, target) for member, target in members if target is not None]
        size = sum(member.file_size for member, _ in wanted)
        if len(wanted) > MAX_FILES or size > max_bytes:
            raise InvalidDataset(
                f"{archive} holds {len(wanted)} files of {size} bytes, more than {MAX_FILES} "
                f"files or {max_bytes} bytes. Unpack it by hand if you trust it."
            )
        for member, target in wanted:
            if target.suffix == ".zip":
                with tempfile.NamedTemporaryFile(dir=folder, suffix=".zip") as packed:
                    with opened.open(member) as source:
                        shutil.copyfileobj(source, packed, 1024**2)
                    packed.flush()
                    left = max_bytes - size
                    written += _unpack(Path(packed.name), folder, left, on_file, inner=False)
                continue
            path = folder / target
            if path.exists():
                continue
            path.parent.mkdir(exist_ok=True)
            with opened.open(member) as source, path.open("wb") as file:
                shutil.copyfileobj(source, file, 1024**2)
            written += 1
            on_file()
    return written


def _target(member: zipfile.ZipInfo, inner: bool) -> Path | None:
    """Where a member goes below the folder; None for what is not wanted."""
    path = PurePosixPath(member.filename.replace("\\", "/"))
    name = path.name.lower()
    # Without a name, zipfile cannot say whether it is a folder.
    if (
        not member.filename
        or member.is_dir()
        or not _NAME.fullmatch(path.name)
        or "__MACOSX" in path.parts
    ):
        return None
    if inner and name.endswith(".zip"):
        return Path(name)
    if member.file_size > MAX_FILE_BYTES:
        return None
    if name in METADATA_NAMES:
        return Path(name)
    if name.endswith(IMAGE_SUFFIXES):
        return Path(known_folder(Path(path.parent.name)) or ".", path.name)
    return None
