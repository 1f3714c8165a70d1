"""The image store: the clean bytes of every upload, each under the hash of its content."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from data.durable_file import PARTIAL, write_durably
from data.file_system import is_place_gone, open_files, patience
from data.image_key import checked_key, content_hash_of, image_key, is_image_key
from models.errors import (
    CatalogueUnavailable,
    ImageDamaged,
    InvalidConfiguration,
    InvalidField,
    NotFound,
    StorageFull,
)
from models.tracking_uri import var_folder

__all__ = ["IMAGES_VARIABLE", "ImageStore", "image_key", "images_url"]

IMAGES_VARIABLE = "DERMSERVE_IMAGES"
"""Environment variable that names the store: a folder, or a URL that fsspec opens."""

OWNER_FILE = "catalogue-id"
"""In the store: the id of the catalogue that its images belong to."""

ORPHANS_FILE = "orphans.txt"
"""In the store: keys of images without an upload that nobody dares to remove."""

LONG_S = 1.0
"""A use of the store that fails after more than this has waited for a store that is away."""

PAUSE_S = 2.0
"""After it, so long nothing else waits for the store; `CatalogueUnavailable` tells clients to come
back after the same time."""

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def images_url() -> str:
    """The store that the environment names, else a folder in `var/`; a folder is absolute."""
    url = os.environ.get(IMAGES_VARIABLE) or str(var_folder() / "images")
    return url if "://" in url or "::" in url else str(Path(url).expanduser().absolute())


class ImageStore:
    """Images by key, in a folder or wherever fsspec reaches.

    What `put` has returned survives a crash and a power cut, as far as the store can keep
    it. Every process may have its own; they need no lock.
    """

    def __init__(self, url: str | None = None) -> None:
        """Open a store; nothing is read or written yet.

        Args:
            url: a folder or an fsspec URL (`s3://bucket/prefix`); None is `images_url()`.

        Raises:
            InvalidConfiguration: if fsspec knows no such store, or lacks its driver.
        """
        url = url or images_url()
        self._shown = re.sub(r"//[^/]*@", "//", url)  # without a password
        try:
            self._files, root = open_files(url)
        except InvalidConfiguration as error:
            raise InvalidConfiguration(
                f"{self._shown!r} is no image store: {error.message} Set {IMAGES_VARIABLE} to a "
                "folder or to a URL that fsspec opens."
            ) from error
        self._root = root.rstrip("/")
        self._patience: dict[str, Any] = patience(self._files)
        self._away_until = 0.0
        self._is_local = isinstance(self._files, LocalFileSystem)

    def __str__(self) -> str:
        return self._shown

    def put(self, content_hash: str, suffix: str, data: bytes) -> str:
        """Store an image whole or not at all; again is the same as once.

        Args:
            content_hash: SHA-256 of `data`, hex.
            suffix: .jpg or .png.
            data: a clean image.

        Returns:
            Its key.

        Raises:
            InvalidField: if the hash is not that of the data, or the suffix is unknown.
            StorageFull: if there is no room.
            CatalogueUnavailable: if the store cannot be written.
        """
        key = image_key(content_hash, suffix)
        if hashlib.sha256(data).hexdigest() != content_hash:
            raise InvalidField(f"The content of {key} has another SHA-256. Compute it again.")
        with self._errors():
            self._write(key, data)
        return key

    def exists(self, key: str) -> bool:
        """Whether an image is stored.

        Raises:
            InvalidField: if the key is none.
            CatalogueUnavailable: if the store cannot be read.
        """
        checked_key(key)
        with self._errors():
            # Object stores remember listings, of which other processes do not know.
            self._files.invalidate_cache()
            return bool(self._files.exists(self._path(key), **self._patience))

    def get(self, key: str) -> bytes:
        """Read an image and verify it.

        Raises:
            InvalidField: if the key is none.
            NotFound: if there is no such image.
            ImageDamaged: if its content has changed.
            CatalogueUnavailable: if the store cannot be read.
        """
        checked_key(key)
        with self._errors():
            try:
                data: Any = self._files.cat_file(self._path(key), **self._patience)
            except FileNotFoundError as error:
                if is_place_gone(error):
                    raise
                raise NotFound(f"There is no image {key} in the image store.") from error
        if hashlib.sha256(data).hexdigest() != content_hash_of(key):
            raise ImageDamaged(
                f"The stored image {key} is damaged. Restore it from a backup, or delete the "
                "upload and send it again."
            )
        return bytes(data)

    def delete(self, key: str) -> bool:
        """Remove an image; one that is not there is no error.

        Returns:
            Whether it was there, as far as the store says so.

        Raises:
            InvalidField: if the key is none.
            CatalogueUnavailable: if the store cannot be written.
        """
        checked_key(key)
        with self._errors():
            try:
                self._files.rm_file(self._path(key), **self._patience)
            except FileNotFoundError:
                return False
        return True

    def stored(self) -> Iterator[str]:
        """The keys of all images that are stored, in no certain order.

        Raises:
            CatalogueUnavailable: if the store cannot be read.
        """
        with self._errors():
            self._files.invalidate_cache()
            names = self._files.find(self._root)
        below = f"{self._root}/"
        for name in map(str, names):
            key = name.removeprefix(below)
            # The same name in a folder further down is somebody's copy.
            if name.startswith(below) and is_image_key(key):
                yield key

    def owner(self) -> str | None:
        """The id of the catalogue that the images belong to; None if it was never written down.

        Raises:
            CatalogueUnavailable: if the store cannot be read.
        """
        with self._errors():
            self._files.invalidate_cache()
            try:
                data: Any = self._files.cat_file(self._path(OWNER_FILE), **self._patience)
            except FileNotFoundError as error:
                if is_place_gone(error):
                    raise
                return None
        return bytes(data).decode(errors="replace").strip()

    def belong_to(self, owner: str) -> None:
        """Write down the id of the catalogue that the images belong to.

        Raises:
            StorageFull, CatalogueUnavailable: as `put`.
        """
        with self._errors():
            self._write(OWNER_FILE, f"{owner}\n".encode())

    def list_orphans(self, keys: Iterable[str]) -> None:
        """Write keys of images without an upload into a file of the store, for the operator.

        Raises:
            StorageFull, CatalogueUnavailable: as `put`.
        """
        with self._errors():
            self._write(ORPHANS_FILE, "".join(f"{key}\n" for key in sorted(keys)).encode())

    def remove_unfinished(self, older_than_s: float) -> int:
        """Remove what a power cut has left half-written; object stores leave nothing.

        Args:
            older_than_s: since it was touched last; what is younger may still be written.

        Returns:
            How many files.

        Raises:
            CatalogueUnavailable: if the store cannot be read or written.
        """
        removed = 0
        with self._errors():
            found = Path(self._root).glob(f"*/.*{PARTIAL}") if self._is_local else ()
            for path in found:
                with suppress(FileNotFoundError):  # it is whole now, and has its name
                    if time.time() - path.stat().st_mtime > older_than_s:
                        path.unlink()
                        removed += 1
        return removed

    def fetch(self, key: str, folder: Path) -> Path:
        """Make a local copy, or find the one that an earlier call made.

        Args:
            key: of the image.
            folder: of the copies; made if need be.

        Returns:
            `folder`/<content hash>.<suffix>

        Raises:
            InvalidField, NotFound, ImageDamaged, CatalogueUnavailable: as `get`.
            StorageFull: if the folder has no room.
        """
        target = folder / checked_key(key).rpartition("/")[2]
        with suppress(OSError):
            if hashlib.sha256(target.read_bytes()).hexdigest() == content_hash_of(key):
                return target
        data = self.get(key)
        with self._errors():
            write_durably(target, data)
        return target

    def _write(self, name: str, data: bytes) -> None:
        if self._is_local:
            write_durably(self._local(name), data)
        else:
            self._files.pipe_file(self._path(name), data, **self._patience)

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _local(self, key: str) -> Path:
        return Path(self._path(key))

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn what a file system raises into one sentence of ours.

        What took long to fail is not tried again at once: of an upload's images, only the first
        ones wait for a store that does not answer, and so do other uploads.
        """
        started = time.monotonic()
        if started < self._away_until:
            raise self._unavailable("does not answer")
        try:
            yield
        except NotFound:
            raise
        # Drivers of object stores raise errors of their own libraries, of no common kind.
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise StorageFull(
                    f"The image store {self._shown} is full. Free some space and send it again."
                ) from error
            if time.monotonic() - started > LONG_S:
                self._away_until = time.monotonic() + PAUSE_S
            raise self._unavailable(f"does not work: {type(error).__name__}") from error

    def _unavailable(self, what: str) -> CatalogueUnavailable:
        return CatalogueUnavailable(
            f"The image store {self._shown} {what}. Repair it, or set {IMAGES_VARIABLE} to "
            "another one."
        )
