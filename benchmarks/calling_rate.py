"""Images a second of calls that threads make over and over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor


def calling_rate(calls: Sequence[Callable[[], int]], seconds: float) -> float:
    """Let a thread for each call repeat it, all at the same time.

    Args:
        calls: each returns the images that it is done with.
        seconds: that each thread goes on for; a call that has begun is finished and counted.

    Returns:
        Images of all threads, per second from the start of the first to the end of the last.
    """
    start = threading.Barrier(len(calls))

    def repeat(call: Callable[[], int]) -> tuple[int, float, float]:
        start.wait()
        began = time.perf_counter()
        done = 0
        while time.perf_counter() < began + seconds:
            done += call()
        return done, began, time.perf_counter()

    with ThreadPoolExecutor(len(calls)) as threads:
        results = list(threads.map(repeat, calls))
    images = sum(done for done, _, _ in results)
    return images / (max(end for *_, end in results) - min(began for _, began, _ in results))
