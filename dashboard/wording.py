"""Wording: numbers, durations and lists as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone

_SPACE = "\u00a0"
"""Between a number and its unit, so that no line breaks there."""

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400

_BREAKS = re.compile(r"[ \t\r\n\f\v]+")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")


def percent(share: float, digits: int = 1) -> str:
    """A share in [0, 1] as `12.3 %`; what is not nothing never reads as nothing.

    Args:
        share: in [0, 1].
        digits: behind the point.
    """
    least = 10 ** -(digits + 2)
    if 0 < share < least:
        return f"< {100 * least:.{digits}f}{_SPACE}%"
    if 1 - least < share < 1:
        return f"> {100 * (1 - least):.{digits}f}{_SPACE}%"
    return f"{100 * share:.{digits}f}{_SPACE}%"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """`1 image`, `2,009 images`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def listing(words: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"


def duration(seconds: float) -> str:
    """A time in the unit that suits it: `3 ms`, `2.4 s`, `5 min`, `3 h`, `2 days`."""
    if seconds < 1:
        return f"{1000 * seconds:.3g}{_SPACE}ms"
    if seconds < 10:
        return f"{seconds:.2g}{_SPACE}s"
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f}{_SPACE}s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f}{_SPACE}min"
    if seconds < 2 * DAY_S:
        return f"{seconds / HOUR_S:.0f}{_SPACE}h"
    return f"{seconds / DAY_S:.0f} days"


def ago(moment: datetime, now: datetime | None = None) -> str:
    """How long ago something was."""
    seconds = ((now or datetime.now(timezone.utc)) - moment).total_seconds()
    return "just now" if seconds < 5 else f"{duration(seconds)} ago"


def at(moment: datetime | None) -> str:
    """A moment to the minute, UTC; empty if there is none."""
    return "" if moment is None else moment.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M")


def megabytes(size: int) -> str:
    """Bytes as `4.2 MB`."""
    return f"{size / 1e6:.1f}{_SPACE}MB" if size >= 1e5 else f"{size / 1e3:.1f}{_SPACE}kB"


def interval(value: float, low: float | None, high: float | None, digits: int = 3) -> str:
    """`0.755 (0.711 to 0.802)`, without the bracket where there is no interval."""
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: names of files and messages may hold anything.

    Every mark of ASCII may be escaped (CommonMark 0.31, section 2.4); lines become one.
    """
    return _PUNCTUATION.sub(r"\\\1", _BREAKS.sub(" ", text))
