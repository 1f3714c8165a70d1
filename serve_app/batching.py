"""Late binding: a batch is formed at the moment the next stage is free to take it.

`@serve.batch` closes a batch when its timer ends, even if the model is still busy with the
last one; under load the model then works through a queue of small closed batches. Here
items wait, one by one, until a lane is free, and the lane takes whatever is waiting. A lone
item never waits; under load batches grow by themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_OPEN: Any = object()
"""Stands for a result that has not come yet."""


@dataclass(eq=False)
class _Group(Generic[Result]):
    """Items that were submitted together and are answered together."""

    future: asyncio.Future[list[Result | Exception]]
    results: list[Result | Exception]
    open: int = field(init=False)

    def __post_init__(self) -> None:
        self.open = len(self.results)

    def put(self, index: int, result: Result | Exception) -> None:
        if self.results[index] is not _OPEN:
            return
        self.results[index] = result
        self.open -= 1
        if self.open == 0 and not self.future.done():
            self.future.set_result(self.results)


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    weight: int
    group: _Group[Result]
    index: int


class LateBatcher(Generic[Item, Result]):
    """Groups waiting items into batches, never more batches at once than there are lanes.

    Belongs to one event loop; every method runs on it.

    Args:
        run: turns a batch into one result per item, in order. A result may be an exception,
            which then belongs to that item alone. If `run` itself raises, the items of the
            batch are tried again one by one, so that only the ones at fault fail.
        max_batch: largest batch, at least 1.
        lanes: batches in progress at the same time, at least 1.
        weigh: weight of an item, such as its bytes.
        max_weight: a batch of several items never weighs more.
    """

    def __init__(
        self,
        run: Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int,
        lanes: int = 1,
        weigh: Callable[[Item], int] = lambda item: 0,
        max_weight: int = 0,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._weigh = weigh
        self._max_weight = max_weight
        self._free_lanes = lanes
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Items that no lane has taken yet."""
        return len(self._waiting)

    async def submit(self, items: Sequence[Item]) -> list[Result | Exception]:
        """Wait for the results of some items, in their order.

        Items of one call may run in different batches, beside items of other calls. If the
        caller is cancelled, those that no lane has taken yet are dropped.
        """
        if not items:
            return []
        group: _Group[Result] = _Group(
            asyncio.get_running_loop().create_future(), [_OPEN] * len(items)
        )
        # Weighed before any is queued: an item that cannot be weighed is its caller's error.
        weighed = [
            _Waiting(item, self._weigh(item), group, index) for index, item in enumerate(items)
        ]
        self._waiting.extend(weighed)
        self._fill_lanes()
        return await group.future

    def _fill_lanes(self) -> None:
        while self._free_lanes and (batch := self._take()):
            self._free_lanes -= 1
            # A lane serves many callers. In the context of one, Serve would cancel what the
            # lane has called when that one hangs up.
            task = contextvars.Context().run(asyncio.create_task, self._drive(batch))
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        weight = 0
        while self._waiting and len(batch) < self._max_batch:
            if self._waiting[0].group.future.done():  # done here means cancelled
                self._waiting.popleft()
                continue
            weight += self._waiting[0].weight
            if batch and weight > self._max_weight:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _drive(self, batch: list[_Waiting[Item, Result]]) -> None:
        """Keep one lane busy until nothing waits."""
        try:
            while batch:
                await self._run_batch(batch)
                batch = self._take()
        except asyncio.CancelledError:
            for waiting in batch:
                waiting.group.put(waiting.index, RuntimeError("the run was cancelled"))
            raise
        finally:
            self._free_lanes += 1
            self._fill_lanes()

    async def _run_batch(self, batch: list[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._run([waiting.item for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items gave {len(results)} results")
        except Exception as error:
            if len(batch) == 1:
                batch[0].group.put(batch[0].index, error)
                return
            for waiting in batch:
                await self._run_batch([waiting])
            return
        for waiting, result in zip(batch, results, strict=True):
            waiting.group.put(waiting.index, result)
