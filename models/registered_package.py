"""The package of a registered version, as a verified folder on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from models.errors import InvalidPackage
from models.package import MANIFEST_FILE, ModelPackage, sha256_of
from models.tracking_uri import locked


def hash_of(package: ModelPackage) -> str:
    """SHA-256 of the manifest, which holds those of all other files: it names the content."""
    return sha256_of(package.folder / MANIFEST_FILE)


def verified(folder: Path, package_hash: str) -> ModelPackage:
    """The package in a folder.

    Args:
        folder: where it should be.
        package_hash: what `hash_of` gave when it was registered.

    Raises:
        InvalidPackage: if it is missing, damaged, incompatible or another one.
    """
    package = ModelPackage.load(folder)
    if hash_of(package) != package_hash:
        raise InvalidPackage(
            f"{folder / MANIFEST_FILE} is altered since it was registered: its SHA-256 is not "
            "the registry's."
        )
    return package


def local_folder(source: str, artifacts: Path | None) -> Path | None:
    """The folder of artifacts that lie on this machine; None if they have to be fetched.

    Args:
        source: URI that the registry keeps of them.
        artifacts: the artifact folder of an SQLite registry, None for a server's.
    """
    parts = urlsplit(source)
    if parts.scheme not in ("", "file"):
        return None
    folder = Path(unquote(parts.path) if parts.scheme else source)
    if artifacts is not None and not folder.exists() and artifacts.name in folder.parts:
        # The registry keeps absolute paths; its folder may have moved since.
        at = len(folder.parts) - folder.parts[::-1].index(artifacts.name)
        return artifacts.joinpath(*folder.parts[at:])
    return folder


def fetched(cache: Path, package_hash: str, download: Callable[[Path], None]) -> ModelPackage:
    """The package in the cache, downloaded once; a damaged one is downloaded again.

    Args:
        cache: folder of all fetched packages.
        package_hash: names the entry.
        download: writes the package's files into the empty folder that it is given.

    Raises:
        InvalidPackage: if what was downloaded is no valid package.
        ModelUnavailable: if the cache cannot be written.
        Any: what `download` raises.
    """
    entry = cache / package_hash
    with locked(cache / f"{package_hash}.lock"):
        try:
            return verified(entry, package_hash)
        except InvalidPackage:
            shutil.rmtree(entry, ignore_errors=True)
        partial = cache / f"{package_hash}.partial"  # one may be left of a killed process
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        download(partial)
        verified(partial, package_hash)
        os.replace(partial, entry)
    return verified(entry, package_hash)
