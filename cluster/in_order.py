"""In order: work done by several threads at once, and its results one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """What a function makes of each item, in the order of the items.

    At most twice as many items as there are threads are taken ahead of the results, so that any
    number of them may come. Nothing new is begun once an error is on its way to the caller.

    Args:
        function: called in threads.
        items: taken in the caller's thread, as their turn comes.
        threads: that work at once; at least 1.

    Raises:
        Exception: what `function` raises, at the place of its item.
    """
    pool = ThreadPoolExecutor(threads)
    running: deque[Future[Result]] = deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) >= 2 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
