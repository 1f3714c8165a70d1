"""A watch on the wall clock: after a leap forward, nothing is to be deleted for its age."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

LEAP_S = 3600.0
"""What the wall clock may gain on one that only counts; less does not matter to days."""

MISTRUST_S = 86400.0
"""How long a leap is remembered: time for whoever looks after the machine to set it right."""


def _uptime_s() -> float:
    """Seconds that only count up, those of a suspended machine included where it says so."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class ClockWatch:
    """Compares the wall clock with one that only counts, as often as it is asked.

    Args:
        uptime_s: the clock that only counts.
    """

    def __init__(self, uptime_s: Callable[[], float] = _uptime_s) -> None:
        self._uptime_s = uptime_s
        self._seen: tuple[datetime, float] | None = None
        self._leapt_at_s: float | None = None

    def trusts(self, now: datetime) -> bool:
        """Whether the wall clock has not leapt forward for a day, as far as was looked.

        Args:
            now: what it says, with its zone.
        """
        uptime_s = self._uptime_s()
        if self._seen is not None:
            then, then_s = self._seen
            gained_s = (now - then).total_seconds() - (uptime_s - then_s)
            if gained_s > LEAP_S:
                self._leapt_at_s = uptime_s
        self._seen = now, uptime_s
        return self._leapt_at_s is None or uptime_s - self._leapt_at_s >= MISTRUST_S
