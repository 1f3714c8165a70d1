"""HAM10000 from Harvard Dataverse, where the network allows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pooch
import requests
from pydantic import BaseModel, Field, ValidationError

from data.ham10000 import METADATA_NAMES
from models.errors import DermServeError

DATAVERSE = "https://dataverse.harvard.edu"
DOI = "doi:10.7910/DVN/DBW86T"
BY_HAND = (
    "Download HAM10000_images_part_1.zip, HAM10000_images_part_2.zip and HAM10000_metadata by "
    "hand from https://doi.org/10.7910/DVN/DBW86T into a folder and import that."
)
MAX_BYTES = 8 * 1024**3
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1024**2
_IMAGES = re.compile(r"ham10000_images_part_?[0-9]{1,2}\.zip")
_HASHES = {"MD5": "md5", "SHA-1": "sha1", "SHA-256": "sha256", "SHA-512": "sha512"}


class DownloadFailed(DermServeError):
    """HAM10000 cannot be fetched."""

    code = "download_failed"


class _Checksum(BaseModel):
    type: str
    value: str = Field(pattern="^[0-9a-fA-F]{32,128}$")


class _DataFile(BaseModel):
    id: int
    filename: str
    filesize: int = Field(ge=0)
    content_type: str = Field("", alias="contentType")
    checksum: _Checksum | None = None

    @property
    def is_table(self) -> bool:
        """Dataverse rewrites tables; its checksum is then of neither form it serves."""
        return self.content_type == "text/tab-separated-values"

    @property
    def known_hash(self) -> str | None:
        """As pooch takes it; None where there is none that holds."""
        if self.checksum is None or self.is_table or self.checksum.type not in _HASHES:
            return None
        return f"{_HASHES[self.checksum.type]}:{self.checksum.value.lower()}"


class _File(BaseModel):
    data: _DataFile = Field(alias="dataFile")


class _Version(BaseModel):
    files: list[_File]


class _Dataset(BaseModel):
    latest: _Version = Field(alias="latestVersion")


class _Listing(BaseModel):
    data: _Dataset


class _Progress:
    """What pooch reports to, passed on as bytes; stops a file that outgrows its listing."""

    def __init__(self, name: str, size: int, on_bytes: Callable[[str, int, int], None]) -> None:
        self._name, self._size, self._on_bytes = name, size, on_bytes
        self._bytes = self.total = 0

    def update(self, count: int) -> None:
        self._bytes += count
        # Pooch counts whole chunks. A table's original form may be longer than its listing.
        if self._bytes > 2 * self._size + 8 * _CHUNK_BYTES:
            raise DownloadFailed(f"{self._name} is larger than the server says. {BY_HAND}")
        self._on_bytes(self._name, min(self._bytes, self._size), self._size)

    def reset(self) -> None:
        self._bytes = 0

    def close(self) -> None:
        pass


def download_ham10000(
    folder: Path,
    *,
    server: str = DATAVERSE,
    retries: int = 3,
    on_bytes: Callable[[str, int, int], None] = lambda name, done, size: None,
) -> list[Path]:
    """Fetch the zip files of images and the metadata, 2.7 GB.

    A file appears in the folder when it is whole and its checksum holds; one that is there
    already is not fetched again, so a second call goes on where the first one stopped.

    Args:
        folder: created if absent.
        server: base URL of a Dataverse.
        retries: of each file, with growing pauses.
        on_bytes: told a file's name, the bytes of it that are here, and its size.

    Returns:
        Paths of the files.

    Raises:
        DownloadFailed: if the server cannot be reached, lacks a file or sends another than it
            announces, or the disk is full.
    """
    files = _list_files(server)
    urls, registry = {}, {}
    for name, file in files.items():
        original = "?format=original" if file.is_table else ""
        urls[name] = f"{server}/api/access/datafile/{file.id}{original}"
        registry[name] = file.known_hash
    try:
        folder.mkdir(parents=True, exist_ok=True)
        absent = sum(file.filesize for name, file in files.items() if not (folder / name).exists())
        free = shutil.disk_usage(folder).free
        if absent > min(free, MAX_BYTES):
            raise DownloadFailed(
                f"HAM10000 takes {absent} bytes and {folder} has room for {min(free, MAX_BYTES)}. "
                "Choose an output folder on a larger disk."
            )
        fetcher = pooch.create(
            path=folder, base_url="", registry=registry, urls=urls, retry_if_failed=retries
        )
        pooch.get_logger().setLevel("WARNING")  # it would write between the caller's bars
        paths = []
        for name, file in files.items():
            downloader = pooch.HTTPDownloader(
                progressbar=_Progress(name, file.filesize, on_bytes),
                chunk_size=_CHUNK_BYTES,
                timeout=_TIMEOUT_S,
            )
            paths.append(Path(fetcher.fetch(name, downloader=downloader)))
    except (requests.RequestException, ValueError, OSError) as error:
        raise DownloadFailed(f"HAM10000 cannot be fetched: {error}. {BY_HAND}") from error
    return paths


def _list_files(server: str) -> dict[str, _DataFile]:
    """The files to fetch, by the name to give them; only names that we expect are used."""
    try:
        response = httpx.get(
            f"{server}/api/datasets/:persistentId/",
            params={"persistentId": DOI},
            timeout=_TIMEOUT_S,
            follow_redirects=True,
        )
        response.raise_for_status()
        listing = _Listing.model_validate_json(response.content)
    except (httpx.HTTPError, httpx.InvalidURL, ValidationError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadFailed(f"{server} does not list HAM10000: {reason}. {BY_HAND}") from error
    files = {file.data.filename.lower(): file.data for file in listing.data.latest.files}
    images = {name: file for name, file in files.items() if _IMAGES.fullmatch(name)}
    tables = {name: file for name, file in files.items() if name in METADATA_NAMES}
    if not images or not tables:
        raise DownloadFailed(f"{server} no longer has the files of HAM10000. {BY_HAND}")
    metadata = min(tables, key=METADATA_NAMES.index)
    return images | {METADATA_NAMES[0]: tables[metadata]}
