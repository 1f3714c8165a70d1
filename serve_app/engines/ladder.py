"""The ladder of batch sizes that a GPU engine prepares ahead; a batch runs on the next rung up."""

from __future__ import annotations

import bisect
from collections.abc import Sequence


def rungs(max_batch: int) -> tuple[int, ...]:
    """1, 2, 4 and so on, and at last the largest batch, whatever it is.

    Args:
        max_batch: at least 1.
    """
    powers = [1 << exponent for exponent in range(max_batch.bit_length())]
    return (*powers,) if powers[-1] == max_batch else (*powers, max_batch)


def rung_for(count: int, ladder: Sequence[int]) -> int:
    """The smallest rung that holds so many images.

    Args:
        count: in 1..the last rung.
        ladder: ascending.
    """
    return ladder[bisect.bisect_left(ladder, count)]
