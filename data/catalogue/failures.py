"""What may fail in a database, turned into one sentence of ours."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import Timeout
from sqlalchemy import URL
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from models.errors import CatalogueUnavailable, DermServeError, StorageFull

CATALOGUE_VARIABLE = "DERMSERVE_CATALOGUE"
"""Environment variable that names the catalogue."""

_MISTAKES = (DataError, IntegrityError, NotSupportedError, ProgrammingError)
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
# PostgreSQL's codes.
_DISK_FULL = "53100"
_LOCK_TIMEOUT = "55P03"
_LITTLE_BYTES = 1 << 20


def shown(url: URL) -> str:
    """The address of a catalogue as messages may show it: without user and password."""
    file = sqlite_file(url)
    if file is not None:
        return f"sqlite:///{file}"
    return URL.create("postgresql", host=url.host, database=url.database).render_as_string()


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite catalogue; None for PostgreSQL."""
    return Path(url.database or "") if url.get_backend_name() == "sqlite" else None


@contextmanager
def catalogue_errors(url: URL) -> Iterator[None]:
    """Translate what a database or its driver raises; our own mistakes stay as they are.

    Raises:
        StorageFull: if there is no room.
        CatalogueUnavailable: if it is locked, unreachable, read-only or damaged.
    """
    try:
        yield
    except _MISTAKES:
        raise
    except (DBAPIError, sqlite3.Error, PoolTimeout) as error:
        raise _translated(error, url) from error


@contextmanager
def file_errors(url: URL) -> Iterator[None]:
    """Translate what the files around a database raise.

    Raises:
        StorageFull: if there is no room.
        CatalogueUnavailable: if they cannot be used, or are locked for too long.
    """
    try:
        yield
    except OSError as error:  # `Timeout` is one
        raise _translated(error, url) from error


def _translated(error: Exception, url: URL) -> DermServeError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    reason = _reason(cause, url)
    if _is_full(cause, reason, sqlite_file(url)):
        return StorageFull(
            f"There is no room left for the catalogue {shown(url)}, and nothing was stored. Free "
            "some space and try again."
        )
    if _is_busy(cause, reason):
        return CatalogueUnavailable(
            f"The catalogue {shown(url)} is busy. Try again; if it stays so, end the process "
            "that holds it."
        )
    if sqlite_file(url) is None:
        advice = f"Start PostgreSQL, or correct {CATALOGUE_VARIABLE}."
    elif "malformed" in reason or "not a database" in reason:
        advice = "Restore it from a backup, or move it away to begin a new one."
    else:
        advice = f"Repair its folder, or set {CATALOGUE_VARIABLE} to another place."
    return CatalogueUnavailable(f"The catalogue {shown(url)} does not work: {reason}. {advice}")


def _reason(cause: object, url: URL) -> str:
    reason = (str(cause).splitlines() or [type(cause).__name__])[0].rstrip(".")
    return reason.replace(str(url.password), "***") if url.password else reason


def _is_busy(cause: object, reason: str) -> bool:
    held = getattr(cause, "sqlstate", None) == _LOCK_TIMEOUT or "is locked" in reason
    return held or isinstance(cause, PoolTimeout | Timeout)


def _is_full(cause: object, reason: str, file: Path | None) -> bool:
    if getattr(cause, "sqlstate", None) == _DISK_FULL or "disk is full" in reason:
        return True
    if isinstance(cause, OSError):
        return cause.errno in _NO_ROOM
    # SQLite reports a full disk in some of its files as any other failure.
    if file is None or "I/O error" not in reason:
        return False
    try:
        return shutil.disk_usage(file.parent).free < _LITTLE_BYTES
    except OSError:
        return False
