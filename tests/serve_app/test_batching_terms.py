"""The terms of waiting work: priorities, deadlines, callers who leave, and what is counted."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest

from models.errors import DeadlineExceeded
from serve_app.batching import LateBatcher, QueueCounts
from serve_app.work import Priority, Work
from tests.serve_app.gated_device import GatedDevice, finish, of, until
from tests.serve_app.virtual_time import pass_s, run, settle

BULK = Priority.BULK
START_S = 1000.0  # where virtual time begins


def _submit(
    batcher: LateBatcher[str, str], *names: str, **terms: Any
) -> asyncio.Task[list[str | Exception]]:
    return asyncio.create_task(batcher.submit(of(*names, **terms)))


async def _busy(
    device: GatedDevice, batcher: LateBatcher[str, str]
) -> asyncio.Task[list[str | Exception]]:
    """Give the lane something to do that the test ends when it likes."""
    block = _submit(batcher, "block")
    await until(lambda: device.started == [["block"]])
    return block


async def test_interactive_work_goes_before_bulk_work() -> None:
    device = GatedDevice()
    batcher = LateBatcher(device.run, max_batch=3)
    calls = [
        await _busy(device, batcher),
        _submit(batcher, *"wxyz", priority=BULK),
        _submit(batcher, "a"),
        _submit(batcher, "b"),
    ]
    await until(lambda: batcher.waiting == 6)
    await finish(device, *calls)
    assert device.started[1:] == [["a", "b", "w"], ["x", "y", "z"]]
    assert [call.result() for call in calls[1:]] == [["W", "X", "Y", "Z"], ["A"], ["B"]]


async def test_bulk_work_waits_while_there_is_interactive_work() -> None:
    device = GatedDevice()
    batcher = LateBatcher(device.run, max_batch=2)
    block = await _busy(device, batcher)
    bulk = _submit(batcher, "bulk", priority=BULK)
    calls = [block, bulk]
    for round_of in range(5):
        calls.append(_submit(batcher, f"a{round_of}", f"b{round_of}"))
        await until(lambda: batcher.waiting == 3)
        device.let_go()
        await until(lambda: batcher.waiting == 1)
    assert not bulk.done()
    await finish(device, *calls)
    assert device.started[-1] == ["bulk"]


async def test_bulk_work_does_not_pass_interactive_work_that_is_too_heavy_for_the_batch() -> None:
    device = GatedDevice()
    batcher = LateBatcher(device.run, max_batch=4, weigh=len, max_weight=5)
    calls = [
        await _busy(device, batcher),
        _submit(batcher, "z", priority=BULK),
        _submit(batcher, "aaaa"),
        _submit(batcher, "bbbb"),
    ]
    await until(lambda: batcher.waiting == 3)
    await finish(device, *calls)
    assert device.started[1:] == [["aaaa"], ["bbbb", "z"]]


async def test_one_call_may_have_both_priorities() -> None:
    device = GatedDevice()
    batcher = LateBatcher(device.run, max_batch=1)
    works = [Work("slow", BULK), Work("fast"), Work("slower", BULK)]
    call = asyncio.create_task(batcher.submit(works))
    await finish(device, call)
    assert device.started == [["fast"], ["slow"], ["slower"]]
    assert call.result() == ["SLOW", "FAST", "SLOWER"]


async def test_terms_reach_the_run() -> None:
    seen: list[Work[str]] = []

    async def remember(works: list[Work[str]]) -> list[str]:
        seen.extend(works)
        return [work.payload for work in works]

    work = Work("a", BULK, deadline=1e12)
    await LateBatcher(remember, max_batch=1).submit([work])
    assert seen == [work]


def test_an_item_whose_deadline_passes_is_answered_then_and_never_run() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=4)
        block = await _busy(device, batcher)
        late = _submit(batcher, "late", deadline=START_S + 2)
        kept = _submit(batcher, "kept", deadline=START_S + 9)
        await pass_s(1.5)
        assert not late.done()
        await pass_s(0.5)
        assert late.done()  # though the lane is still busy
        assert isinstance(late.result()[0], DeadlineExceeded)
        assert batcher.waiting == 1
        assert batcher.counts == QueueCounts(taken=1, expired=1, batches=1)
        await finish(device, block, kept)
        assert device.started == [["block"], ["kept"]]
        assert batcher.counts == QueueCounts(taken=2, expired=1, batches=2, waited_s=2.0)

    run(scenario())


def test_an_item_that_comes_too_late_is_never_run() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=4)
        for deadline in (START_S - 1, START_S):
            call = _submit(batcher, "late", deadline=deadline)
            await settle()
            assert isinstance(call.result()[0], DeadlineExceeded)
        assert device.started == []
        assert batcher.counts == QueueCounts(expired=2)
        assert batcher.waiting == 0

    run(scenario())


def test_an_item_expires_even_if_its_neighbours_have_no_deadline() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=4)
        block = await _busy(device, batcher)
        works = [Work("a"), Work("late", deadline=START_S + 1), Work("b", deadline=START_S + 8)]
        call = asyncio.create_task(batcher.submit(works))
        await pass_s(2)
        assert not call.done()
        await finish(device, block, call)
        first, second, third = call.result()
        assert (first, third) == ("A", "B")
        assert isinstance(second, DeadlineExceeded)
        assert device.started[1:] == [["a", "b"]]
        assert batcher.counts == QueueCounts(taken=3, expired=1, batches=2, waited_s=4.0)

    run(scenario())


def test_a_deadline_that_passes_during_the_run_answers_and_harms_nobody() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=4)
        block = await _busy(device, batcher)
        late = _submit(batcher, "late", deadline=START_S + 2)
        kept = _submit(batcher, "kept", deadline=START_S + 5)
        await settle()
        device.let_go()
        await until(lambda: device.started[1:] == [["late", "kept"]])
        await pass_s(3)
        assert isinstance(late.result()[0], DeadlineExceeded)
        await finish(device, block, kept)
        assert kept.result() == ["KEPT"]
        assert isinstance(late.result()[0], DeadlineExceeded)  # still
        assert batcher.counts == QueueCounts(taken=3, batches=2)  # the work was done

    run(scenario())


def test_half_an_answer_has_what_came_in_time() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=2)
        call = _submit(batcher, *"abcde", deadline=START_S + 2)
        await settle()
        device.let_go()
        await settle()
        assert device.started == [["a", "b"], ["c", "d"]]
        await pass_s(2)
        results = call.result()
        assert results[:2] == ["A", "B"]
        assert [type(result) for result in results[2:]] == [DeadlineExceeded] * 3
        await finish(device, call)
        assert device.started == [["a", "b"], ["c", "d"]]
        assert batcher.counts == QueueCounts(taken=4, expired=1, batches=2, waited_s=0.0)
        assert call.result() == results

    run(scenario())


def test_a_second_try_does_not_begin_after_the_deadline() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=3)
        block = await _busy(device, batcher)
        works = [Work("bad"), Work("late", deadline=START_S + 2), Work("c")]
        call = asyncio.create_task(batcher.submit(works))
        await settle()
        device.let_go()
        await pass_s(3)
        await finish(device, block, call)
        assert device.started[1:] == [["bad", "late", "c"], ["bad"], ["c"]]
        assert isinstance(call.result()[1], DeadlineExceeded)
        assert call.result()[2] == "C"

    run(scenario())


def test_no_timer_stays_behind() -> None:
    async def scenario() -> None:
        device = GatedDevice()
        batcher = LateBatcher(device.run, max_batch=4)
        done = _submit(batcher, "a", deadline=START_S + 5)
        await finish(device, done)
        left = _submit(batcher, "b", deadline=START_S + 5)
        await settle()
        left.cancel()
        await finish(device, left)
        loop: Any = asyncio.get_running_loop()
        assert [timer for timer in loop._scheduled if not timer.cancelled()] == []
        await pass_s(10)
        assert batcher.counts == QueueCounts(taken=2, batches=2)

    run(scenario())


class _Payload:
    """Something whose end can be seen."""


@pytest.mark.parametrize("leave", ["deadline", "cancel"])
def test_what_nobody_waits_for_holds_no_memory_behind_interactive_work(leave: str) -> None:
    """Bulk work may wait for ever behind it, and the next caller's would come on top."""

    async def scenario() -> None:
        gate = asyncio.get_running_loop().create_future()

        async def wait(works: list[Work[_Payload]]) -> list[int]:
            await gate
            return [0] * len(works)

        batcher: LateBatcher[_Payload, int] = LateBatcher(wait, max_batch=1)
        interactive = [asyncio.create_task(batcher.submit([Work(_Payload())])) for _ in range(3)]
        payload = _Payload()
        alive = weakref.ref(payload)
        bulk = asyncio.create_task(batcher.submit([Work(payload, BULK, START_S + 2)]))
        await settle()
        assert batcher.waiting == 3
        del payload
        if leave == "cancel":
            bulk.cancel()
        await pass_s(3)
        assert bulk.done()
        assert batcher.waiting == 2
        assert (batcher.counts.expired, batcher.counts.cancelled) == (
            (0, 1) if leave == "cancel" else (1, 0)
        )
        del bulk
        gc.collect()
        assert alive() is None
        gate.set_result(None)
        await asyncio.gather(*interactive)

    run(scenario())


async def test_a_cancelled_caller_is_counted_once_whoever_notices_first() -> None:
    device = GatedDevice()
    batcher = LateBatcher(device.run, max_batch=4)
    block = await _busy(device, batcher)
    gone = _submit(batcher, "a", "b")
    await until(lambda: batcher.waiting == 2)
    device.let_go()
    gone.cancel()  # in the same turn of the loop, so that the lane may look first
    await finish(device, block, gone)
    assert (batcher.counts.taken, batcher.counts.cancelled, batcher.counts.expired) == (1, 2, 0)
    assert batcher.waiting == 0


def test_a_copy_of_the_counts_stays_as_it_was() -> None:
    counts = QueueCounts(taken=1, expired=2, cancelled=3, batches=4, waited_s=5.5)
    copy = counts.copy()
    counts.taken += 1
    assert copy == QueueCounts(taken=1, expired=2, cancelled=3, batches=4, waited_s=5.5)
