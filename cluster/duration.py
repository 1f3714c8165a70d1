"""A duration in the unit that suits it."""

from __future__ import annotations

_UNITS = (("days", 86_400), ("h", 3600), ("min", 60))


def duration(seconds: float) -> str:
    """`3 s`, `5 min`, `3 h`, `2 days`; each unit from two of it on."""
    for name, size in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(0.0, seconds):.0f} s"
