"""Image paths: the files that somebody names, by themselves, in folders or by a pattern."""

from __future__ import annotations

import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from models.errors import DermServeError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""Of the files that are taken from a folder; a file that is named itself may have any."""

MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of one file; a server's own limit is lower, and says so."""


class UnreadableFile(DermServeError):
    """A file is not there, is none, cannot be read or is far too large."""

    code = "unreadable_file"


@dataclass(frozen=True)
class Found:
    """Files, and what was named in vain."""

    files: tuple[str, ...]
    """Each once, in the order in which they were named, those of a folder sorted."""
    empty: tuple[str, ...]
    """Folders without images, and patterns that nothing fits."""


def find_images(paths: Iterable[str | os.PathLike[str]]) -> Found:
    """Find the files that paths stand for.

    Args:
        paths: files, folders, or patterns such as `scans/**/*.png` for a shell that does not
            replace them. A path that exists is never taken for a pattern. A file that does not
            exist is found all the same, so that reading it tells.
    """
    files: dict[str, str] = {}
    empty = []
    for each in paths:
        path = os.fspath(each)
        found = list(_files_of(path))
        if not found:
            empty.append(path)
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    return Found(tuple(files.values()), tuple(empty))


def _files_of(path: str) -> Iterator[str]:
    if os.path.isdir(path):
        yield from _inside(path)
    elif os.path.lexists(path) or not glob.has_magic(path):
        yield path
    else:
        for match in sorted(glob.iglob(path, recursive=True)):
            if os.path.isdir(match):
                # `**` finds what is inside by itself.
                yield from () if "**" in path else _inside(match)
            else:
                yield match


def _inside(folder: str) -> Iterator[str]:
    """Images in a folder and below; hidden ones, and folders behind links, are passed over."""
    for above, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                yield os.path.join(above, name)


def read_image_file(path: str) -> bytes:
    """Read a file whole.

    Raises:
        UnreadableFile: if it is not there, is a folder, a pipe or a device, cannot be read, or is
            larger than `MAX_FILE_BYTES`.
    """
    try:
        # A pipe that nobody writes to would be waited for when it is opened.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            about = os.fstat(descriptor)
            if not stat.S_ISREG(about.st_mode):
                raise UnreadableFile("It is no file. Name a file or a folder.")
            if about.st_size > MAX_FILE_BYTES:
                raise UnreadableFile(
                    f"The file has {about.st_size / 1e6:.0f} MB; {MAX_FILE_BYTES / 1e6:.0f} are "
                    "the most. Save the picture smaller."
                )
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # a name with a zero byte is a ValueError
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableFile(f"The file cannot be read: {reason}.") from error
