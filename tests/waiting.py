"""Waiting in tests: for a condition, with a deadline and a word on what did not come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""What a busy machine may take for what takes a moment."""


def wait_until(
    condition: Callable[[], object],
    what: str | Callable[[], str],
    timeout_s: float = PATIENCE_S,
    pause_s: float = 0.02,
) -> float:
    """Look again and again until a condition holds.

    Args:
        condition: holds when it returns something true; what it raises ends the wait.
        what: is wrong if it never holds.
        timeout_s: > 0.
        pause_s: between two looks.

    Returns:
        Seconds that it took.

    Raises:
        AssertionError: if it does not hold in time.
    """
    started = time.monotonic()
    while not condition():
        _be_in_time(started, timeout_s, what)
        time.sleep(pause_s)
    return time.monotonic() - started


async def until(
    condition: Callable[[], object],
    what: str | Callable[[], str],
    timeout_s: float = PATIENCE_S,
    pause_s: float = 0.0,
) -> None:
    """The same for a coroutine: other tasks go on; a pause of 0 lets each have one turn."""
    started = time.monotonic()
    while not condition():
        _be_in_time(started, timeout_s, what)
        await asyncio.sleep(pause_s)


def _be_in_time(started: float, timeout_s: float, what: str | Callable[[], str]) -> None:
    waited = time.monotonic() - started
    if waited >= timeout_s:
        raise AssertionError(f"{what if isinstance(what, str) else what()} after {waited:.1f} s")
