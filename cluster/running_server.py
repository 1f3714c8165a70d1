"""A running server: what `dermserve up` leaves word of, so that it can be found and ended.

One file for each, in a folder that no other user can write to. The process keeps its file locked
for as long as it lives, so that neither a crash nor a process id that was given away again can make
`dermserve down` end something else.
"""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ValidationError

from models.errors import DermServeError


class NoRunFolder(DermServeError):
    """The folder in which servers leave word is not ours alone."""

    code = "no_run_folder"


class ServerRecord(BaseModel):
    """What a server says of itself."""

    pid: int
    url: str
    dashboard_url: str
    config: str
    started: datetime


@dataclass(frozen=True)
class RunningServer:
    """A server whose process lives."""

    record: ServerRecord
    path: Path

    def end(self, timeout_s: float) -> bool:
        """Ask it to finish what it has accepted and to stop, and wait until it has.

        Args:
            timeout_s: longest wait.

        Returns:
            Whether it ended in time.
        """
        try:
            process = os.pidfd_open(self.record.pid)
        except ProcessLookupError:
            return True
        try:
            # Since the process was held, its file is still locked: so it is the one.
            if _is_locked(self.path):
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(process, signal.SIGTERM)
            return bool(select.select([process], [], [], timeout_s)[0])
        finally:
            os.close(process)


def run_folder() -> Path:
    """The folder of this user, made if need be.

    Raises:
        NoRunFolder: if it is not ours, or others may write to it.
    """
    folder = Path(tempfile.gettempdir()) / f"dermserve-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    about = folder.lstat()
    if (
        not stat.S_ISDIR(about.st_mode)
        or about.st_uid != os.getuid()
        or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    ):
        raise NoRunFolder(
            f"{folder} is not a folder that only you can write to. Remove it, or name another "
            "place in TMPDIR."
        )
    return folder


@contextmanager
def recorded(url: str, dashboard_url: str, config: Path) -> Iterator[None]:
    """Leave word of this process's server while the block runs."""
    record = ServerRecord(
        pid=os.getpid(),
        url=url,
        dashboard_url=dashboard_url,
        config=str(config.absolute()),
        started=datetime.now(timezone.utc),
    )
    path = run_folder() / f"{record.pid}.json"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Locked before it can be found: what is not locked is removed.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, record.model_dump_json().encode())
        os.replace(new, path)
        yield
    finally:
        with suppress(FileNotFoundError):
            path.unlink()
        os.close(descriptor)


def running_servers() -> list[RunningServer]:
    """Servers of this user, the oldest first; what a killed one has left is removed.

    Raises:
        NoRunFolder: as `run_folder`.
    """
    found = []
    for path in run_folder().glob("*.json"):
        if not _is_locked(path):
            path.unlink(missing_ok=True)
            continue
        with suppress(OSError, ValidationError):  # one that is just being written or removed
            record = ServerRecord.model_validate_json(path.read_bytes())
            found.append(RunningServer(record, path))
    return sorted(found, key=lambda each: each.record.started)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return True
        raise
    finally:
        os.close(descriptor)
    return False
