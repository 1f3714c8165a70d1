"""Shared memory: how the bytes of a batch reach another process of the same machine.

Carried in the message itself, an image is copied some eight times on its way: pickled, framed,
written to a socket, and all of that again on the other side. Here the sender writes it once and
the receiver reads it once, and the message says only where (docs/decisions/0017).

The memory is that of an anonymous file (`memfd_create`), which the receiver opens through
`/proc`. It needs no name, no cleaning up, and ends with the process that made it, however that
ends.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

Buffer = Any  # of bytes or an array; Python names the protocol from 3.12 on

KEPT_BYTES = 4 * 1024 * 1024
"""What a file keeps between two batches. More is given back, so that one large batch does not
hold its memory for ever; less would have every batch pay for fresh pages."""

_MAX_OPEN = 128
"""Files of other processes that a receiver keeps open."""


class NotShared(Exception):
    """The memory of the sender cannot be read from here: it is on another machine, or gone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a batch lies."""

    host: str
    pid: int
    descriptor: int
    inode: int
    """Of the file; another process with the same numbers has another one."""


@cache
def host() -> str | None:
    """What tells this machine, and this view of its processes, from any other; None where
    there is no shared memory of this kind."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
    return f"{boot} {processes}" if hasattr(os, "memfd_create") else None


class SharedFile:
    """One batch at a time, written here and read elsewhere.

    Raises:
        NotShared: if the system grants none.
    """

    def __init__(self) -> None:
        try:
            self._descriptor = os.memfd_create("dermserve", os.MFD_CLOEXEC)
        except OSError as error:
            raise NotShared(f"the system grants no memory: {error}") from error
        self._inode = os.fstat(self._descriptor).st_ino
        # Also when its owner is dropped: a sender that changes to messages drops all of them.
        self._close = weakref.finalize(self, os.close, self._descriptor)

    def write(self, payloads: Sequence[Buffer]) -> Place:
        """Lay payloads one after the other; those of the batch before are gone.

        Raises:
            NotShared: if there is not enough memory.
        """
        try:
            written = os.pwritev(self._descriptor, payloads, 0)
        except OSError as error:
            raise NotShared(f"the memory cannot be written: {error}") from error
        if written != sum(memoryview(payload).nbytes for payload in payloads):
            raise NotShared("the memory took a part of the batch only")
        return Place(host() or "", os.getpid(), self._descriptor, self._inode)

    def trim(self) -> None:
        """Give back what is beyond `KEPT_BYTES`."""
        if os.fstat(self._descriptor).st_size > KEPT_BYTES:
            os.ftruncate(self._descriptor, KEPT_BYTES)

    def close(self) -> None:
        """Let it go; a receiver that has it open may still read it."""
        self._close()


class SharedFiles:
    """The files of a sender; there are as many as it has had batches under way at once."""

    def __init__(self) -> None:
        self._free: list[SharedFile] = []

    @contextmanager
    def lend(self) -> Iterator[SharedFile]:
        """One that no receiver reads, until its receiver has answered.

        Where it has not, nobody knows whether it still reads, and the file is never used again.

        Raises:
            NotShared: if the system grants no more.
        """
        file = self._free.pop() if self._free else SharedFile()
        try:
            yield file
        except BaseException:
            file.close()
            raise
        file.trim()
        self._free.append(file)


class SharedReader:
    """Reads the files of senders."""

    def __init__(self) -> None:
        self._open: OrderedDict[Place, int] = OrderedDict()

    def read(self, place: Place, sizes: Sequence[int]) -> list[bytes]:
        """The payloads of a batch, each of so many bytes.

        Raises:
            NotShared: if the place is not of this machine, or the sender has ended.
        """
        descriptor = self._descriptor(place)
        payloads, at = [], 0
        for size in sizes:
            payloads.append(os.pread(descriptor, size, at))
            at += size
        if sum(map(len, payloads)) != at:
            raise NotShared(f"{place} holds fewer than {at} bytes")
        return payloads

    def read_into(self, place: Place, buffer: Buffer) -> None:
        """Fill a buffer with all payloads of a batch.

        Raises:
            NotShared: as `read`.
        """
        size = memoryview(buffer).nbytes
        if os.preadv(self._descriptor(place), [buffer], 0) != size:
            raise NotShared(f"{place} holds fewer than {size} bytes")

    def _descriptor(self, place: Place) -> int:
        if place in self._open:
            self._open.move_to_end(place)
            return self._open[place]
        if place.host != host():
            raise NotShared(f"{place} is on another machine")
        self._close_what_ended()
        try:
            # Not blocking: if these numbers are another process's by now, it may be anything.
            descriptor = os.open(
                f"/proc/{place.pid}/fd/{place.descriptor}", os.O_RDONLY | os.O_NONBLOCK
            )
        except OSError as error:
            raise NotShared(f"{place} is gone: {error}") from error
        if os.fstat(descriptor).st_ino != place.inode:
            os.close(descriptor)
            raise NotShared(f"{place} is another file now")
        self._open[place] = descriptor
        return descriptor

    def _close_what_ended(self) -> None:
        """Let go of what senders closed, whose memory would stay with us, and of the oldest."""
        for place in [place for place in self._open if not _is_there(place)]:
            os.close(self._open.pop(place))
        while len(self._open) >= _MAX_OPEN:
            os.close(self._open.popitem(last=False)[1])


def _is_there(place: Place) -> bool:
    try:
        return os.stat(f"/proc/{place.pid}/fd/{place.descriptor}").st_ino == place.inode
    except OSError:
        return False
