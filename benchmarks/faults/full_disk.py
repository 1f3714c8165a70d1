"""A full disk: what the server writes, on a small file system filled to its last byte."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.retraining import retrain
from benchmarks.faults.traffic import Traffic
from benchmarks.wrk import LoadFailed

SIZE_MIB = 512
FULL_S = 10.0
"""How long there is no room."""


def problem() -> str | None:
    """Why a file system cannot be mounted here; None if it can."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return "only root may mount a small file system"
    return None


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, in memory, until the end of the context."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "none"]
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True)
    if done.returncode:
        raise LoadFailed(f"A small file system cannot be mounted: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(ground: Ground) -> Outcome:
    """Fill the disk under load, keep it full for a while, and make room again."""
    filler = ground.folder / "filler"
    said: list[str] = []

    def make(traffic: Traffic) -> float:
        traffic.strike()
        try:
            with filler.open("wb", buffering=0) as file:
                for size in (1 << 20, 512):
                    with contextlib.suppress(OSError):
                        while True:
                            file.write(bytes(size))
            traffic.pause(FULL_S)
            response = httpx.post(f"{ground.url}/retrain", timeout=60)
            said.append(f"POST /retrain was answered {response.status_code}")
        finally:
            filler.unlink()
        traffic.strike()
        seconds = ground.wait(ground.lists_uploads, "The archive")
        said.append(f"a retraining afterwards was {retrain(ground, seed=900)}")
        return seconds

    return outcome(
        "full-disk", f"{FULL_S:.0f} s of full disk", ground, make, note=lambda: "; ".join(said)
    )
