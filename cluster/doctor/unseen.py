"""What there was no way to look at, which is said and never taken for health."""

from __future__ import annotations

from typing import TypeVar

Value = TypeVar("Value")


class Unseen(Exception):
    """There is no way to look at something; the message says why, in a sentence."""


def seen(value: Value | Unseen) -> Value:
    """What was seen.

    Raises:
        Unseen: if it was not.
    """
    if isinstance(value, Unseen):
        raise value
    return value
