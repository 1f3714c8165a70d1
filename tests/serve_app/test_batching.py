"""Late binding, driven step by step: every run of a batch waits until the test lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

import pytest

from serve_app.batching import LateBatcher


class Broken(Exception):
    """What a run does with an item called `bad...`."""


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until the condition holds; they never wait for time to pass."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("the expected state was not reached")


@dataclass(eq=False)
class _Run:
    items: list[str]
    gate: asyncio.Future[None]


class Device:
    """Runs batches, each until it is let go, and remembers them.

    An item called `bad` makes its whole batch raise; one called `none` fails by itself.
    """

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.running: list[_Run] = []

    async def run(self, items: list[str]) -> list[str | Exception]:
        self.started.append(items)
        run = _Run(items, asyncio.get_running_loop().create_future())
        self.running.append(run)
        try:
            await run.gate
        finally:
            self.running.remove(run)
        if "bad" in items:
            raise Broken("a batch")
        return [Broken(item) if item == "none" else item.upper() for item in items]

    def let_go(self, index: int = 0) -> None:
        self.running[index].gate.set_result(None)


@pytest.fixture
def device() -> Device:
    return Device()


async def _finish(device: Device, *calls: asyncio.Future[object]) -> None:
    """Let every run go until the calls are done and nothing runs."""

    def done() -> bool:
        for run in device.running:
            if not run.gate.done():
                run.gate.set_result(None)
        return not device.running and all(call.done() for call in calls)

    await until(done)


def _names(results: Sequence[str | Exception]) -> list[str]:
    return [str(result) for result in results]


async def test_a_lone_item_runs_at_once(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    call = asyncio.ensure_future(batcher.submit(["a"]))
    await until(lambda: device.started == [["a"]])
    assert batcher.waiting == 0
    device.let_go()
    assert await call == ["A"]


async def test_what_comes_while_the_lane_is_busy_is_the_next_batch(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    first = asyncio.ensure_future(batcher.submit(["a"]))
    await until(lambda: len(device.running) == 1)
    others = [asyncio.ensure_future(batcher.submit([name])) for name in "bcde"]
    await until(lambda: batcher.waiting == 4)
    assert device.started == [["a"]]
    device.let_go()
    await until(lambda: len(device.started) == 2)
    assert device.started[1] == ["b", "c", "d", "e"]
    device.let_go()
    assert await asyncio.gather(first, *others) == [["A"], ["B"], ["C"], ["D"], ["E"]]
    assert device.running == []


async def test_a_call_larger_than_a_batch_is_answered_in_order(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=3)
    call = asyncio.ensure_future(batcher.submit(list("abcdefg")))
    await _finish(device, call)
    assert call.result() == list("ABCDEFG")
    assert device.started == [list("abc"), list("def"), ["g"]]


async def test_every_lane_is_used_and_no_more(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=2, lanes=3)
    call = asyncio.ensure_future(batcher.submit(list("abcdefgh")))
    await until(lambda: len(device.running) == 3)
    assert batcher.waiting == 2
    device.let_go(1)
    await until(lambda: len(device.started) == 4)
    assert len(device.running) == 3
    assert device.started == [list("ab"), list("cd"), list("ef"), list("gh")]
    await _finish(device, call)
    assert call.result() == list("ABCDEFGH")


async def test_a_batch_stays_below_the_weight(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8, weigh=len, max_weight=4)
    words = ["aa", "bb", "c", "heavier", "d", "eee", "f"]
    call = asyncio.ensure_future(batcher.submit(words))
    await _finish(device, call)
    assert device.started == [["aa", "bb"], ["c"], ["heavier"], ["d", "eee"], ["f"]]


async def test_only_the_item_at_fault_fails(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    calls = [asyncio.ensure_future(batcher.submit([name])) for name in ("a", "bad", "c")]
    pair = asyncio.ensure_future(batcher.submit(["d", "bad"]))
    await _finish(device, *calls, pair)
    assert _names(calls[0].result() + calls[2].result()) == ["A", "C"]
    assert isinstance(calls[1].result()[0], Broken)
    assert pair.result()[0] == "D"
    assert isinstance(pair.result()[1], Broken)


async def test_a_result_may_be_the_error_of_its_item(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    call = asyncio.ensure_future(batcher.submit(["a", "none", "c"]))
    await _finish(device, call)
    assert _names(call.result()) == ["A", "none", "C"]
    assert len(device.started) == 1  # it costs its neighbours no second run


@pytest.mark.parametrize("answer", [[], ["A"], ["A", "B", "C"], None])
async def test_a_run_that_returns_another_number_fails_its_items(answer: list[str] | None) -> None:
    async def run(items: list[str]) -> list[str]:
        return answer if len(items) == 2 else ["x", "y"]  # type: ignore[return-value]

    batcher = LateBatcher(run, max_batch=2)
    results = await batcher.submit(["a", "b"])
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]
    assert "1 items gave 2 results" in str(results[0])


async def test_no_items_are_answered_at_once(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    assert await batcher.submit([]) == []
    assert device.started == []


async def test_a_cancelled_callers_items_are_skipped(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=2)
    first = asyncio.ensure_future(batcher.submit(["a"]))
    await until(lambda: len(device.running) == 1)
    gone = asyncio.ensure_future(batcher.submit(["b", "c", "d"]))
    kept = asyncio.ensure_future(batcher.submit(["e"]))
    await until(lambda: batcher.waiting == 4)
    gone.cancel()
    await _finish(device, first, gone, kept)
    assert gone.cancelled()
    assert (first.result(), kept.result()) == (["A"], ["E"])
    assert device.started == [["a"], ["e"]]


async def test_a_cancelled_callers_weight_does_not_count(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=8, weigh=len, max_weight=4)
    first = asyncio.ensure_future(batcher.submit(["a"]))
    await until(lambda: len(device.running) == 1)
    calls = [asyncio.ensure_future(batcher.submit([word])) for word in ("bb", "cc", "dd")]
    await until(lambda: batcher.waiting == 3)
    calls[1].cancel()
    await _finish(device, first, *calls)
    assert device.started == [["a"], ["bb", "dd"]]


async def test_a_caller_who_leaves_during_the_run_harms_no_neighbour(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=2)
    block = asyncio.ensure_future(batcher.submit(["a"]))
    await until(lambda: len(device.running) == 1)
    gone = asyncio.ensure_future(batcher.submit(["b"]))
    kept = asyncio.ensure_future(batcher.submit(["c"]))
    await until(lambda: batcher.waiting == 2)
    device.let_go()
    await until(lambda: ["b", "c"] in device.started)
    gone.cancel()
    await _finish(device, block, gone, kept)
    assert kept.result() == ["C"]


async def test_it_works_on_after_everybody_left(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=2, lanes=2)
    calls = [asyncio.ensure_future(batcher.submit([name])) for name in "abcdef"]
    await until(lambda: len(device.running) == 2)
    for call in calls:
        call.cancel()
    await _finish(device, *calls)
    assert all(call.cancelled() for call in calls)
    assert device.started == [["a"], ["b"]]
    assert batcher.waiting == 0
    again = [asyncio.ensure_future(batcher.submit([name])) for name in "xy"]
    await until(lambda: len(device.running) == 2)  # both lanes are free again
    await _finish(device, *again)
    assert [call.result() for call in again] == [["X"], ["Y"]]


async def test_a_raising_run_frees_its_lane(device: Device) -> None:
    batcher = LateBatcher(device.run, max_batch=4)
    for _ in range(3):
        bad = asyncio.ensure_future(batcher.submit(["bad"]))
        await _finish(device, bad)
        assert isinstance(bad.result()[0], Broken)
    good = asyncio.ensure_future(batcher.submit(["a"]))
    await _finish(device, good)
    assert good.result() == ["A"]


async def test_a_cancelled_run_is_an_error_of_its_items() -> None:
    """As when Serve cancels a call to the next stage because one client hung up."""

    async def run(items: list[str]) -> list[str]:
        if "cancelled" in items:
            raise asyncio.CancelledError
        return items

    batcher = LateBatcher(run, max_batch=1)
    cancelled = asyncio.ensure_future(batcher.submit(["cancelled"]))
    behind = asyncio.ensure_future(batcher.submit(["a"]))
    await until(lambda: cancelled.done() and behind.done())
    assert isinstance(cancelled.result()[0], Exception)
    assert behind.result() == ["a"]


async def test_a_lane_belongs_to_no_caller() -> None:
    """Serve cancels the calls that were made in the context of a request that hangs up."""
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    seen = []

    async def run(items: list[str]) -> list[str]:
        seen.append(caller.get())
        return items

    async def call(name: str) -> None:
        caller.set(name)
        await batcher.submit([name])

    batcher = LateBatcher(run, max_batch=4)
    await asyncio.gather(call("a"), call("b"))
    assert set(seen) == {"nobody"}


async def test_an_item_that_cannot_be_weighed_fails_its_caller_only() -> None:
    async def run(batch: list[bytes]) -> list[int]:
        return [len(item) for item in batch]

    batcher: LateBatcher[bytes, int] = LateBatcher(run, max_batch=4, weigh=len, max_weight=100)
    with pytest.raises(TypeError):
        await batcher.submit([b"good", None])  # type: ignore[list-item]
    assert batcher.waiting == 0
    assert await batcher.submit([b"good"]) == [4]
