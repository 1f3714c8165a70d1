"""The oracle: what one input came to, and whether that is a finding.

An input may be answered or refused with an error of the tree. Anything else that is raised, more
than a second of CPU, or memory above what follows from the limits is a finding.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import DermServeError
from models.limits import DEFAULT_LIMITS
from tests.fuzzing.targets import check_message

MAX_CPU_S: Final = 1.0
"""Of the process, for one input, in the best of some tries: other programs slow ours down."""

MAX_MEMORY_BYTES: Final = DEFAULT_LIMITS.max_pixels // 2 * 20 + 64 * 1024 * 1024
"""Above what the process had before: the worst image is a WebP of the largest size, of which
there are four canvases of four bytes per pixel; and some room for the file and copies of it."""


@dataclass(frozen=True)
class Outcome:
    """What one input came to."""

    code: str
    """Of the error, or "answered"; of a finding its kind."""
    cpu_s: float
    finding: str | None = None
    """What is wrong, the same text for inputs with the same fault."""
    detail: str = ""


def judge(run: Callable[[bytes], None], data: bytes, tries: int = 3) -> Outcome:
    """Give an input to a target, `tries` times at most while it seems slow."""
    outcome = _once(run, data)
    while outcome.finding is None and outcome.cpu_s > MAX_CPU_S and (tries := tries - 1) > 0:
        outcome = min(outcome, _once(run, data), key=lambda one: one.cpu_s)
    if outcome.finding is None and outcome.cpu_s > MAX_CPU_S:
        return Outcome("slow", outcome.cpu_s, "slow", f"{outcome.code} after {outcome.cpu_s:.2f} s")
    return outcome


def _once(run: Callable[[bytes], None], data: bytes) -> Outcome:
    code, finding, detail = "answered", None, ""
    started = time.process_time()
    try:
        run(data)
    except DermServeError as error:
        code = error.code
        try:
            check_message(error)
        except Exception as wrong:
            code, finding, detail = "message", f"message: {wrong!r:.100}", error.message[:1000]
    except Exception as error:
        code, finding, detail = "exception", _place(error), traceback.format_exc()
    return Outcome(code, time.process_time() - started, finding, detail)


def _place(error: Exception) -> str:
    """The kind of an exception, and the line of ours from which it came."""
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"


def peak_bytes() -> int:
    """The most memory that this process has had, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/self/status names no VmHWM")
