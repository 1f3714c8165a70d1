"""Late binding: a batch is formed at the moment the next stage is free to take it.

`@serve.batch` closes a batch when its timer ends, even if the model is still busy with the
last one; under load the model then works through a queue of small closed batches. Here
work waits, item by item, until a lane is free, and the lane takes whatever is waiting. A lone
item never waits; under load batches grow by themselves.
"""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from serve_app.work import Priority, Work, expired

Payload = TypeVar("Payload")
Result = TypeVar("Result")

_OPEN: Any = object()
"""Stands for a result that has not come yet."""


@dataclass(slots=True)
class QueueCounts:
    """What a queue has counted since it began, exactly; every item ends in one of the first three.

    An item whose caller gave up, or whose deadline passed, while a lane had it was still taken.
    """

    taken: int = 0
    """Items that a lane took."""
    expired: int = 0
    """Items whose deadline passed while they waited; they cost the next stage nothing."""
    cancelled: int = 0
    """Items whose caller gave up while they waited."""
    batches: int = 0
    waited_s: float = 0.0
    """Seconds that the items taken had waited, in all."""

    def copy(self) -> QueueCounts:
        """As they are now."""
        return replace(self)


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

    def expire(self) -> None:
        """Answer what is still open; results that come later are nobody's."""
        for index in range(len(self.results)):
            self.put(index, expired())


@dataclass(eq=False, slots=True)
class _Waiting(Generic[Payload, Result]):
    work: Work[Payload]
    weight: int
    group: _Group[Result]
    index: int
    since: float

    def is_wanted(self, now: float) -> bool:
        """Whether its caller still waits, and its deadline has not passed."""
        if self.group.future.done() or self.group.results[self.index] is not _OPEN:
            return False
        return self.work.deadline is None or self.work.deadline > now


class LateBatcher(Generic[Payload, Result]):
    """Groups waiting work into batches, never more batches at once than there are lanes.

    Interactive work goes first, always: bulk work waits as long as any is waiting. Work whose
    deadline has passed, or whose caller has given up, is never run. Belongs to one event loop;
    every method runs on it.

    Args:
        run: turns a batch into one result per item, in order. A result may be an exception,
            which then belongs to that item alone. If `run` itself raises, the items of the
            batch are tried again one by one, so that only the ones at fault fail.
        max_batch: largest batch, at least 1.
        lanes: batches in progress at the same time, at least 1.
        weigh: weight of a payload, such as its bytes.
        max_weight: a batch of several items never weighs more.
        mixed: whether a batch may hold work of both priorities. Where a batch is answered as a
            whole and takes long, interactive work would wait for bulk work in it; unmixed, it does
            not, and bulk work leaves it one lane of several.
    """

    def __init__(
        self,
        run: Callable[[list[Work[Payload]]], Awaitable[Sequence[Result | Exception]]],
        *,
        max_batch: int,
        lanes: int = 1,
        weigh: Callable[[Payload], int] = lambda payload: 0,
        max_weight: int = 0,
        mixed: bool = True,
    ) -> None:
        self.counts = QueueCounts()
        self._run = run
        self._max_batch = max_batch
        self._weigh = weigh
        self._max_weight = max_weight
        self._free_lanes = lanes
        self._mixed = mixed
        self._free_bulk_lanes = lanes if mixed else max(1, lanes - 1)
        # What nobody waits for any more has to leave from the middle too: bulk work may wait
        # behind interactive work for as long as that keeps coming.
        self._queues: dict[Priority, OrderedDict[_Waiting[Payload, Result], None]] = {
            priority: OrderedDict() for priority in sorted(Priority)
        }
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def waiting(self) -> int:
        """Items that no lane has taken yet."""
        return sum(map(len, self._queues.values()))

    async def submit(self, works: Sequence[Work[Payload]]) -> list[Result | Exception]:
        """Wait for the results of some items, in their order.

        Items of one call may run in different batches, beside items of other calls. If the
        caller is cancelled, those that no lane has taken yet are dropped. When the last of their
        deadlines passes, whatever has no result has `DeadlineExceeded` for one.
        """
        if not works:
            return []
        loop = asyncio.get_running_loop()
        group: _Group[Result] = _Group(loop.create_future(), [_OPEN] * len(works))
        since = time.monotonic()
        # Weighed before any is queued: an item that cannot be weighed is its caller's error.
        waiting = [
            _Waiting(work, self._weigh(work.payload), group, index, since)
            for index, work in enumerate(works)
        ]
        for one in waiting:
            self._queues[one.work.priority][one] = None
        self._fill_lanes()
        timer = None
        deadlines = [work.deadline for work in works if work.deadline is not None]
        if len(deadlines) == len(works):
            timer = loop.call_later(max(deadlines) - since, self._expire, group, waiting)
        try:
            return await group.future
        except asyncio.CancelledError:
            self.counts.cancelled += self._drop(waiting)
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def _expire(self, group: _Group[Result], waiting: list[_Waiting[Payload, Result]]) -> None:
        self.counts.expired += self._drop(waiting)
        group.expire()

    def _drop(self, waiting: list[_Waiting[Payload, Result]]) -> int:
        """Have items wait no longer; how many did."""
        before = self.waiting
        for one in waiting:
            self._queues[one.work.priority].pop(one, None)
        return before - self.waiting

    def _fill_lanes(self) -> None:
        while self._free_lanes and (batch := self._take()):
            self._free_lanes -= 1
            # A lane serves many callers. In the context of one, Serve would cancel what the
            # lane has called when that one hangs up.
            task = contextvars.Context().run(asyncio.create_task, self._drive(batch))
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            task.add_done_callback(self._tasks.discard)

    def _take(self) -> list[_Waiting[Payload, Result]]:
        batch: list[_Waiting[Payload, Result]] = []
        weight = 0
        now = time.monotonic()
        for priority, queue in self._queues.items():
            if not self._mixed and (batch or not self._may_take(priority)):
                break
            while queue and len(batch) < self._max_batch:
                first = next(iter(queue))
                if not first.is_wanted(now):
                    del queue[first]
                    self._refuse(first)
                    continue
                weight += first.weight
                if batch and weight > self._max_weight:
                    # Lighter work behind it may not overtake it, or it might wait for ever.
                    return self._count(batch, now)
                del queue[first]
                batch.append(first)
        return self._count(batch, now)

    def _may_take(self, priority: Priority) -> bool:
        return priority is not Priority.BULK or self._free_bulk_lanes > 0

    def _refuse(self, waiting: _Waiting[Payload, Result]) -> None:
        """Count what is not wanted, and tell its caller, if there is one."""
        if waiting.group.future.done():
            self.counts.cancelled += 1
        else:
            self.counts.expired += 1
            waiting.group.put(waiting.index, expired())

    def _count(
        self, batch: list[_Waiting[Payload, Result]], now: float
    ) -> list[_Waiting[Payload, Result]]:
        if batch:
            self._free_bulk_lanes -= self._takes_bulk_lane(batch)
            self.counts.batches += 1
            self.counts.taken += len(batch)
            self.counts.waited_s += sum(now - waiting.since for waiting in batch)
        return batch

    async def _drive(self, batch: list[_Waiting[Payload, Result]]) -> None:
        """Keep one lane busy until nothing waits."""
        try:
            while batch:
                try:
                    await self._run_batch(batch)
                finally:
                    self._free_bulk_lanes += self._takes_bulk_lane(batch)
                batch = self._take()
        except BaseException as error:  # a run that was cancelled, or worse
            for waiting in batch:
                waiting.group.put(waiting.index, RuntimeError(f"the run ended: {error!r}"))
            raise
        finally:
            self._free_lanes += 1
            self._fill_lanes()

    def _takes_bulk_lane(self, batch: list[_Waiting[Payload, Result]]) -> bool:
        return not self._mixed and batch[0].work.priority is Priority.BULK

    async def _run_batch(self, batch: list[_Waiting[Payload, Result]]) -> None:
        try:
            results = await self._run([waiting.work for waiting in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(batch)} items gave {len(results)} results")
        except Exception as error:
            if len(batch) == 1:
                batch[0].group.put(batch[0].index, error)
                return
            for waiting in batch:
                if waiting.is_wanted(time.monotonic()):
                    await self._run_batch([waiting])
                else:
                    waiting.group.put(waiting.index, expired())
            return
        for waiting, result in zip(batch, results, strict=True):
            waiting.group.put(waiting.index, result)
