"""The file system behind a URL, as fsspec opens it, which gives up before whoever waits for it."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem

from models.errors import InvalidConfiguration

TRIES = 2
"""Of one request to an object store."""

PATIENCE_S = 8.0
"""Longest use of an object store for one file, all tries together. A request to S3 that asks
whether it may send its body waits for that answer for ever."""

# botocore waits a minute for either and tries five times, and s3fs five times around that; an
# upload is answered within `ServeSettings.deadline_s`.
_OBJECT_STORE = {
    "config_kwargs": {
        "connect_timeout": 2,
        "read_timeout": 4,
        "retries": {"mode": "standard", "total_max_attempts": 1},
    }
}


def open_files(url: str) -> tuple[Any, str]:
    """Open a file system; nothing is read or written yet.

    Args:
        url: a folder, or what fsspec calls a URL: `s3://bucket/prefix`, with the usual AWS_*
            variables for the endpoint and the credentials.

    Returns:
        The file system, and the path of the URL in it.

    Raises:
        InvalidConfiguration: if fsspec knows no such file system, or lacks its driver.
    """
    options = {name: _OBJECT_STORE for name in ("s3", "s3a") if f"{name}://" in url}
    try:
        files, path = fsspec.url_to_fs(url, **options)
    except ImportError as error:
        hint = " Install it with `pip install 'dermserve[s3]'`." if options else ""
        raise InvalidConfiguration(f"{error}.{hint}") from error
    except (ValueError, OSError) as error:
        raise InvalidConfiguration(f"fsspec does not open it: {error}.") from error
    target: Any = getattr(files, "fs", files)  # of a chain, such as simplecache::s3://...
    if hasattr(target, "retries"):  # of s3fs
        target.retries = TRIES
    return files, str(path)


def patience(files: Any) -> dict[str, float]:
    """Arguments that bound a call for one file, for file systems that take any: those behind a
    network."""
    return {"timeout": PATIENCE_S} if isinstance(files, AsyncFileSystem) else {}


def is_place_gone(error: BaseException | None) -> bool:
    """Whether what was not found is the bucket, and not what should lie in it."""
    return error is not None and (
        type(error).__name__ == "NoSuchBucket" or is_place_gone(error.__cause__)
    )
