"""A draft: a package folder in the making, which takes its place whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError

from models.errors import DermServeError, InvalidConfiguration
from models.package import MANIFEST_FILE, Manifest


class PackageNotWritten(DermServeError):
    """The disk is full, or the folder cannot be written."""

    code = "package_not_written"


def check_target(folder: Path, version: str) -> None:
    """Refuse what no package can be written as; worth asking before hours of training.

    Args:
        folder: of the package to be.
        version: its name.

    Raises:
        InvalidConfiguration: if the version is no valid name, or if the folder cannot be
            written or holds something other than a package.
    """
    try:
        TypeAdapter(Annotated[str, Manifest.model_fields["version"]]).validate_python(version)
    except ValidationError as error:
        raise InvalidConfiguration(
            f"{version!r} is no version name. Use 1 to 64 letters, digits, dots, underscores "
            "and hyphens, and begin with a letter or digit."
        ) from error
    check_replaceable(folder)


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


def clear_drafts(folder: Path) -> None:
    """Remove what processes that were killed left of drafts of a folder; none may be at work."""
    folder = folder.resolve()
    for scratch in folder.parent.glob(f".{folder.name}-{8 * '?'}"):  # as tempfile names it
        shutil.rmtree(scratch, ignore_errors=True)


def _swap(folder: Path, draft: Path, old: Path) -> None:
    try:
        if folder.exists():
            folder.rename(old)
        draft.rename(folder)
    except BaseException:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
