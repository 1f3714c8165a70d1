"""Image files: what was dropped on a page, archives opened, one picture after the other."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Protocol

from dashboard.wording import megabytes

MAX_FILES = 2000
"""Pictures in one go, over all archives."""

MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Of one picture; the server's own limit is lower, and says so."""

MAX_DIRECTORY_BYTES = 4 * 1024 * 1024
"""Of the list of names at the end of an archive, which is read whole."""

MAX_UNPACKED_BYTES = 2 * 1024**3
"""Of all pictures together."""

MAX_RATIO = 200
"""Times that a file in an archive may grow; pictures hardly grow at all."""

_READ_BYTES = 1024 * 1024
_UNREADABLE = (zipfile.BadZipFile, ValueError, OSError, NotImplementedError, struct.error)

# APPNOTE.TXT of PKWARE, sections 4.3.15 and 4.3.16: the end record, which a comment may follow.
_END, _END_64, _END_BYTES = b"PK\x05\x06", b"PK\x06\x07", 22
_END_REACH = _END_BYTES + 65_535


class Dropped(Protocol):
    """A file as Streamlit hands it over."""

    name: str
    size: int

    def getvalue(self) -> bytes: ...


@dataclass(frozen=True)
class ImageFile:
    """A picture to send, or why there is none."""

    name: str
    data: bytes | None
    problem: str | None = None


class TooMany(ValueError):
    """More files than one go may have; the text says what to do."""


def image_files(dropped: Iterable[Dropped]) -> Iterator[ImageFile]:
    """Pictures one after the other, those of archives read as their turn comes.

    Args:
        dropped: files and zip archives.

    Raises:
        TooMany: if there are more than `MAX_FILES`, before the first is given.
    """
    files = list(dropped)
    total = sum(_members(file) for file in files)
    if total > MAX_FILES:
        raise TooMany(
            f"These are {total:,} files. Send at most {MAX_FILES:,} at a time; for more, use "
            "`dermserve_client.Client.predict_batch`, which has no such limit."
        )
    budget = _Budget(MAX_UNPACKED_BYTES)
    for file in files:
        if is_archive(file.name):
            yield from _unpacked(file, budget)
        else:
            yield _plain(file)


def count_files(dropped: Iterable[Dropped]) -> int:
    """How many pictures `image_files` will give."""
    return sum(_members(file) for file in dropped)


def is_archive(name: str) -> bool:
    """Whether a file is to be unpacked, by its name."""
    return name.lower().endswith(".zip")


def _plain(file: Dropped) -> ImageFile:
    if file.size == 0:
        return ImageFile(file.name, None, "The file is empty. Choose it anew.")
    if file.size > MAX_IMAGE_BYTES:
        return ImageFile(file.name, None, _too_large(file.size))
    return ImageFile(file.name, file.getvalue())


def _members(file: Dropped) -> int:
    """Pictures in a file; one that says why, if it is an archive without any."""
    if not is_archive(file.name):
        return 1
    try:
        with _open(file.getvalue()) as archive:
            return max(1, len(_pictures(archive)))
    except _UNREADABLE:
        return 1


def _open(data: bytes) -> zipfile.ZipFile:
    """An archive whose directory is small enough to be read.

    Raises:
        BadZipFile: if it is none, or its directory is too large. Others as `_UNREADABLE`.
    """
    place = data.rfind(_END, max(0, len(data) - _END_REACH))
    if place < 0 or len(data) < place + _END_BYTES:
        raise zipfile.BadZipFile("no end record")
    (size,) = struct.unpack_from("<I", data, place + 12)
    if size > MAX_DIRECTORY_BYTES or _END_64 in data[max(0, place - 20) : place]:
        raise zipfile.BadZipFile("too many files")
    return zipfile.ZipFile(io.BytesIO(data))


def _pictures(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Entries that are meant as files; what systems add to archives is passed over."""
    return [
        entry
        for entry in archive.infolist()
        if not entry.is_dir()
        and not entry.filename.startswith("__MACOSX/")
        and PurePosixPath(entry.filename).name not in (".DS_Store", "Thumbs.db", "desktop.ini")
    ]


class _Budget:
    """Bytes that may still be unpacked."""

    def __init__(self, left: int) -> None:
        self.left = left


def _unpacked(file: Dropped, budget: _Budget) -> Iterator[ImageFile]:
    try:
        archive = _open(file.getvalue())
    except _UNREADABLE:
        yield ImageFile(
            file.name,
            None,
            "This is no zip archive, or it is damaged, or it holds far too many files. Pack the "
            "pictures anew.",
        )
        return
    with archive:
        entries = _pictures(archive)
        if not entries:
            yield ImageFile(
                file.name, None, "The archive is empty. Put the pictures into it and try again."
            )
        for entry in entries:
            yield _entry(file.name, archive, entry, budget)


def _entry(
    outer: str, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: _Budget
) -> ImageFile:
    name = f"{outer}: {entry.filename}"
    problem = _problem(entry)
    if problem is not None:
        return ImageFile(name, None, problem)
    try:
        with archive.open(entry) as stream:
            data = _read(stream, min(MAX_IMAGE_BYTES, budget.left))
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, EOFError):
        return ImageFile(name, None, "It cannot be unpacked. Pack it anew, as a plain zip.")
    except Exception as error:  # zlib.error, lzma.LZMAError and whatever a codec brings
        kind = type(error).__name__
        return ImageFile(name, None, f"It is damaged inside the archive ({kind}). Pack it anew.")
    if data is None:
        return ImageFile(name, None, _too_large(entry.file_size))
    budget.left -= len(data)
    if not data:
        return ImageFile(name, None, "The file is empty. Choose it anew.")
    return ImageFile(name, data)


def _problem(entry: zipfile.ZipInfo) -> str | None:
    """Why an entry is not even opened."""
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        return (
            "Its path leads out of the archive, which pictures have no need of. Pack it anew "
            "without `..` in the path."
        )
    if entry.flag_bits & 0x1:
        return "It is encrypted. Pack it anew without a password."
    if is_archive(entry.filename):
        return "It is an archive inside the archive. Unpack it and add the pictures themselves."
    if entry.file_size > MAX_IMAGE_BYTES:
        return _too_large(entry.file_size)
    if entry.file_size > MAX_RATIO * max(1, entry.compress_size) and entry.file_size > _READ_BYTES:
        return (
            f"It would grow to {megabytes(entry.file_size)} from "
            f"{megabytes(entry.compress_size)}, as no picture does. Check where it comes from."
        )
    return None


def _read(stream: IO[bytes], most: int) -> bytes | None:
    """The bytes of an entry, whatever its header says of their number; None if too many."""
    parts, size = [], 0
    while part := stream.read(_READ_BYTES):
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


def _too_large(size: int) -> str:
    return (
        f"It is too large ({megabytes(size)}). Send a picture of at most "
        f"{megabytes(MAX_IMAGE_BYTES)}; a JPEG of a lesion is hardly ever above 20 MB."
    )
