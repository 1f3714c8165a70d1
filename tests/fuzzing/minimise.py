"""Minimising: the shortest file found that still shows a fault."""

from __future__ import annotations

from collections.abc import Callable


def minimise(data: bytes, shows: Callable[[bytes], bool], tries: int = 2000) -> bytes:
    """Leave parts out, large ones first, as long as what is left shows the fault.

    Args:
        data: shows it.
        shows: whether a file does.
        tries: most calls of `shows`.
    """
    size = max(1, len(data) // 2)
    while tries > 0:
        at, shorter = 0, False
        while at < len(data) and tries > 0:
            candidate = data[:at] + data[at + size :]
            tries -= 1
            if shows(candidate):
                data, shorter = candidate, True
            else:
                at += size
        if not shorter:
            if size == 1:
                break
            size //= 2
        else:
            size = min(size, max(1, len(data) // 2))
    return data
