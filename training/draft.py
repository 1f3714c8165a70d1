"""A draft: a package folder in the making, which takes its place whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from models.errors import DermServeError, InvalidConfiguration
from models.package import MANIFEST_FILE


class PackageNotWritten(DermServeError):
    """The disk is full, or the folder cannot be written."""

    code = "package_not_written"


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that a package cannot take the place of.

    Args:
        folder: may be absent, empty or a package; its parent is created.

    Raises:
        InvalidConfiguration: if the folder holds anything else, which would be lost, or if
            its parent cannot be written.
    """
    folder = folder.resolve()
    empty = folder.is_dir() and not any(folder.iterdir())
    if folder.exists() and not empty and not (folder / MANIFEST_FILE).is_file():
        raise InvalidConfiguration(
            f"{folder} is no model package and would be replaced. Choose another --output."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder.parent).cleanup()
    except OSError as error:
        raise InvalidConfiguration(
            f"{folder.parent} cannot be written: {error.strerror}. Choose another --output."
        ) from error


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """Give an empty folder that replaces `folder` when the block ends without an error.

    Args:
        folder: as `check_replaceable` accepts it.

    Raises:
        PackageNotWritten: if a file cannot be written. After this and any other error,
            `folder` is as it was and no draft is left.
    """
    folder = folder.resolve()
    try:
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True
        ) as scratch:
            draft = Path(scratch) / "new"
            draft.mkdir()
            yield draft
            _swap(folder, draft, old=Path(scratch) / "old")
    # The writers of weights and graphs report a full disk in their own ways.
    except (OSError, SafetensorError, RuntimeError) as error:
        raise PackageNotWritten(
            f"The model package {folder} was not written: {error}. If the disk is full, free "
            "some space; then start again."
        ) from error


def _swap(folder: Path, draft: Path, old: Path) -> None:
    try:
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
