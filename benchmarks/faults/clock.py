"""A clock that jumps: libfaketime moves the wall clock of all of a server's processes."""

from __future__ import annotations

from pathlib import Path

from benchmarks.faults.ground import Ground, outcome
from benchmarks.faults.outcome import Outcome
from benchmarks.faults.retraining import retrain
from benchmarks.faults.traffic import Traffic

JUMPS = {"forward": "+3d", "back": "-3d"}
"""By name, as libfaketime has it."""

_SETTLE_S = 15.0


def library() -> Path | None:
    """libfaketime for programs with threads, as Debian has it; None if it is not installed."""
    return next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


def environment(folder: Path) -> dict[str, str]:
    """What a server is started with so that `jump` moves its clock.

    Args:
        folder: of the file that says by how much.
    """
    file = folder / "clock"
    file.write_text("+0\n")
    return {
        "LD_PRELOAD": str(library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_DONT_RESET": "1",
    }


def jump(ground: Ground, name: str) -> Outcome:
    """Move the clock under load, retrain, and move it back to where it was."""
    file = ground.folder / "clock"
    said: list[str] = []

    def make(traffic: Traffic) -> None:
        file.write_text(f"{JUMPS[name]}\n")
        traffic.pause(_SETTLE_S)
        said.append(f"a retraining was {retrain(ground, seed=700 + len(name))}")
        file.write_text("+0\n")
        traffic.pause(_SETTLE_S)

    return outcome(
        f"clock-{name}",
        f"the clock jumps {JUMPS[name]} and back",
        ground,
        make,
        note=lambda: "; ".join(said),
    )
