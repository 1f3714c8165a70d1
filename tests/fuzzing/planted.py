"""A worker with targets that have faults, which fuzzing has to find."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from models.errors import DermServeError, TruncatedImage
from tests.fuzzing.oracle import MAX_CPU_S, MAX_MEMORY_BYTES
from tests.fuzzing.targets import TARGETS, Target
from tests.fuzzing.worker import main

SEED = b"head\nX-length: 1\nbody\n"


def _raises(data: bytes) -> None:
    if b"X" in data:
        raise ValueError(data.decode("latin-1"))


def _kills(data: bytes) -> None:
    if b"X" in data:
        os.kill(os.getpid(), signal.SIGSEGV)


def _never_ends(data: bytes) -> None:
    while b"X" in data:
        pass


def _is_slow(data: bytes) -> None:
    end = time.process_time() + 1.5 * MAX_CPU_S
    while b"X" in data and time.process_time() < end:
        pass


def _takes_memory(data: bytes) -> None:
    if b"X" in data:
        bytearray(MAX_MEMORY_BYTES + 2**26)[:] = bytes(MAX_MEMORY_BYTES + 2**26)


def _blames_us(data: bytes) -> None:
    raise DermServeError("This message is long enough.")


def _quotes(data: bytes) -> None:
    raise TruncatedImage(f"What you sent is {data.decode('latin-1')!r}" + "." * 600)


PLANTED: dict[str, Callable[[bytes], None]] = {
    "raises": _raises,
    "kills": _kills,
    "never ends": _never_ends,
    "is slow": _is_slow,
    "takes memory": _takes_memory,
    "blames us": _blames_us,
    "quotes": _quotes,
}

if __name__ == "__main__":
    TARGETS.update({name: Target(run, lambda: {"seed": SEED}) for name, run in PLANTED.items()})
    main()
