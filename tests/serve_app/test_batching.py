"""Late binding, driven step by step: every run of a batch waits until the test lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from serve_app.batching import LateBatcher
from serve_app.work import Work
from tests.serve_app.gated_device import Broken, GatedDevice, finish, of, until


@pytest.fixture
def device() -> GatedDevice:
    return GatedDevice()


def _names(results: Sequence[str | Exception]) -> list[str]:
    return [str(result) for result in results]


async def test_a_lone_item_runs_at_once(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    call = asyncio.ensure_future(batcher.submit(of("a")))
    await until(lambda: device.started == [["a"]])
    assert batcher.waiting == 0
    device.let_go()
    assert await call == ["A"]


async def test_what_comes_while_the_lane_is_busy_is_the_next_batch(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    first = asyncio.ensure_future(batcher.submit(of("a")))
    await until(lambda: len(device.running) == 1)
    others = [asyncio.ensure_future(batcher.submit(of(name))) for name in "bcde"]
    await until(lambda: batcher.waiting == 4)
    assert device.started == [["a"]]
    device.let_go()
    await until(lambda: len(device.started) == 2)
    assert device.started[1] == ["b", "c", "d", "e"]
    device.let_go()
    assert await asyncio.gather(first, *others) == [["A"], ["B"], ["C"], ["D"], ["E"]]
    assert device.running == []


async def test_a_call_larger_than_a_batch_is_answered_in_order(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=3)
    call = asyncio.ensure_future(batcher.submit(of(*"abcdefg")))
    await finish(device, call)
    assert call.result() == list("ABCDEFG")
    assert device.started == [list("abc"), list("def"), ["g"]]


async def test_every_lane_is_used_and_no_more(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=2, lanes=3)
    call = asyncio.ensure_future(batcher.submit(of(*"abcdefgh")))
    await until(lambda: len(device.running) == 3)
    assert batcher.waiting == 2
    device.let_go(1)
    await until(lambda: len(device.started) == 4)
    assert len(device.running) == 3
    assert device.started == [list("ab"), list("cd"), list("ef"), list("gh")]
    await finish(device, call)
    assert call.result() == list("ABCDEFGH")


async def test_a_batch_stays_below_the_weight(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8, weigh=len, max_weight=4)
    words = ["aa", "bb", "c", "heavier", "d", "eee", "f"]
    call = asyncio.ensure_future(batcher.submit(of(*words)))
    await finish(device, call)
    assert device.started == [["aa", "bb"], ["c"], ["heavier"], ["d", "eee"], ["f"]]


async def test_only_the_item_at_fault_fails(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    calls = [asyncio.ensure_future(batcher.submit(of(name))) for name in ("a", "bad", "c")]
    pair = asyncio.ensure_future(batcher.submit(of("d", "bad")))
    await finish(device, *calls, pair)
    assert _names(calls[0].result() + calls[2].result()) == ["A", "C"]
    assert isinstance(calls[1].result()[0], Broken)
    assert pair.result()[0] == "D"
    assert isinstance(pair.result()[1], Broken)


async def test_a_result_may_be_the_error_of_its_item(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    call = asyncio.ensure_future(batcher.submit(of("a", "none", "c")))
    await finish(device, call)
    assert _names(call.result()) == ["A", "none", "C"]
    assert len(device.started) == 1  # it costs its neighbours no second run


@pytest.mark.parametrize("answer", [[], ["A"], ["A", "B", "C"], None])
async def test_a_run_that_returns_another_number_fails_its_items(answer: list[str] | None) -> None:
    async def run(works: list[Work[str]]) -> list[str]:
        return answer if len(works) == 2 else ["x", "y"]  # type: ignore[return-value]

    batcher = LateBatcher(run, max_batch=2)
    results = await batcher.submit(of("a", "b"))
    assert [type(result) for result in results] == [RuntimeError, RuntimeError]
    assert "1 items gave 2 results" in str(results[0])


async def test_no_items_are_answered_at_once(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8)
    assert await batcher.submit([]) == []
    assert device.started == []


async def test_a_cancelled_callers_items_are_skipped(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=2)
    first = asyncio.ensure_future(batcher.submit(of("a")))
    await until(lambda: len(device.running) == 1)
    gone = asyncio.ensure_future(batcher.submit(of("b", "c", "d")))
    kept = asyncio.ensure_future(batcher.submit(of("e")))
    await until(lambda: batcher.waiting == 4)
    gone.cancel()
    await finish(device, first, gone, kept)
    assert gone.cancelled()
    assert (first.result(), kept.result()) == (["A"], ["E"])
    assert device.started == [["a"], ["e"]]


async def test_a_cancelled_callers_weight_does_not_count(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=8, weigh=len, max_weight=4)
    first = asyncio.ensure_future(batcher.submit(of("a")))
    await until(lambda: len(device.running) == 1)
    calls = [asyncio.ensure_future(batcher.submit(of(word))) for word in ("bb", "cc", "dd")]
    await until(lambda: batcher.waiting == 3)
    calls[1].cancel()
    await finish(device, first, *calls)
    assert device.started == [["a"], ["bb", "dd"]]


async def test_a_caller_who_leaves_during_the_run_harms_no_neighbour(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=2)
    block = asyncio.ensure_future(batcher.submit(of("a")))
    await until(lambda: len(device.running) == 1)
    gone = asyncio.ensure_future(batcher.submit(of("b")))
    kept = asyncio.ensure_future(batcher.submit(of("c")))
    await until(lambda: batcher.waiting == 2)
    device.let_go()
    await until(lambda: ["b", "c"] in device.started)
    gone.cancel()
    await finish(device, block, gone, kept)
    assert kept.result() == ["C"]


async def test_it_works_on_after_everybody_left(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=2, lanes=2)
    calls = [asyncio.ensure_future(batcher.submit(of(name))) for name in "abcdef"]
    await until(lambda: len(device.running) == 2)
    for call in calls:
        call.cancel()
    await finish(device, *calls)
    assert all(call.cancelled() for call in calls)
    assert device.started == [["a"], ["b"]]
    assert batcher.waiting == 0
    again = [asyncio.ensure_future(batcher.submit(of(name))) for name in "xy"]
    await until(lambda: len(device.running) == 2)  # both lanes are free again
    await finish(device, *again)
    assert [call.result() for call in again] == [["X"], ["Y"]]


async def test_a_raising_run_frees_its_lane(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=4)
    for _ in range(3):
        bad = asyncio.ensure_future(batcher.submit(of("bad")))
        await finish(device, bad)
        assert isinstance(bad.result()[0], Broken)
    good = asyncio.ensure_future(batcher.submit(of("a")))
    await finish(device, good)
    assert good.result() == ["A"]


class _Panic(BaseException):
    """As an extension in Rust raises it."""


@pytest.mark.parametrize("error", [asyncio.CancelledError, _Panic, GeneratorExit])
async def test_a_run_that_was_cancelled_or_worse_is_an_error_of_its_items(
    error: type[BaseException],
) -> None:
    """As when Serve cancels a call to the next stage because one client hung up."""

    async def run(works: list[Work[str]]) -> list[str]:
        if any(work.payload == "bad" for work in works):
            raise error
        return [work.payload for work in works]

    batcher = LateBatcher(run, max_batch=2)
    calls = [asyncio.ensure_future(batcher.submit(of(*pair))) for pair in ("ab", ["bad", "c"], "d")]
    await until(lambda: all(call.done() for call in calls))
    assert calls[0].result() == ["a", "b"]
    assert [type(result) for result in calls[1].result()] == [RuntimeError, RuntimeError]
    assert error.__name__ in str(calls[1].result()[0])
    assert calls[2].result() == ["d"]
    assert await batcher.submit(of("later")) == ["later"]


async def test_a_second_try_is_for_those_who_still_wait(device: GatedDevice) -> None:
    batcher = LateBatcher(device.run, max_batch=3)
    calls = [asyncio.ensure_future(batcher.submit(of(*names))) for names in ("a", ["bad"], "c")]
    block, bad, gone = calls[0], calls[1], calls[2]
    await until(lambda: device.started == [["a"]])
    kept = asyncio.ensure_future(batcher.submit(of("d")))
    await until(lambda: batcher.waiting == 3)
    device.let_go()
    await until(lambda: len(device.started) == 2)
    gone.cancel()
    await finish(device, block, bad, gone, kept)
    assert device.started == [["a"], ["bad", "c", "d"], ["bad"], ["d"]]
    assert kept.result() == ["D"]
    assert batcher.counts.cancelled == 0  # a lane had it


async def test_a_lane_belongs_to_no_caller() -> None:
    """Serve cancels the calls that were made in the context of a request that hangs up."""
    caller: ContextVar[str] = ContextVar("caller", default="nobody")
    seen = []

    async def run(works: list[Work[str]]) -> list[str]:
        seen.append(caller.get())
        return [work.payload for work in works]

    async def call(name: str) -> None:
        caller.set(name)
        await batcher.submit(of(name))

    batcher = LateBatcher(run, max_batch=4)
    await asyncio.gather(call("a"), call("b"))
    assert set(seen) == {"nobody"}


async def test_an_item_that_cannot_be_weighed_fails_its_caller_only() -> None:
    async def run(works: list[Work[bytes]]) -> list[int]:
        return [len(work.payload) for work in works]

    batcher: LateBatcher[bytes, int] = LateBatcher(run, max_batch=4, weigh=len, max_weight=100)
    with pytest.raises(TypeError):
        await batcher.submit([Work(b"good"), Work(None)])  # type: ignore[arg-type]
    assert batcher.waiting == 0
    assert await batcher.submit([Work(b"good")]) == [4]
