"""The shadow without Ray and without a network, step by step."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from models.preprocessing import IMAGE_SIZE
from serve_app.engines.base import Images, Outputs
from serve_app.generation import Counts
from serve_app.niceness import BESIDE
from serve_app.shadow import MAX_WAITING, Shadow
from tests.serve_app.models import FixedEngine

PATIENCE_S = 30.0


class WatchedEngine(FixedEngine):
    """Says `nv` of everything; remembers its thread, and waits for the test if it is held."""

    def __init__(self) -> None:
        super().__init__("nv")
        self.seen: list[int] = []
        """The first byte of each image."""
        self.threads: set[int] = set()
        self.niceness: set[int] = set()
        self.running = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    def forward(self, images: Images) -> Outputs:
        self.threads.add(threading.get_ident())
        self.niceness.add(os.getpriority(os.PRIO_PROCESS, 0))
        self.running.set()
        assert self.gate.wait(PATIENCE_S)
        if self.error is not None:
            raise self.error
        self.seen += [int(image[0, 0, 0]) for image in images]
        return super().forward(images)


class Bench:
    """A shadow, and the live work around it as the test says it is."""

    def __init__(self) -> None:
        self.engine = WatchedEngine()
        self.counts = Counts()
        self.lull: int | None = 0
        self.failures: list[str] = []
        self.load: Callable[[], WatchedEngine] = lambda: self.engine
        self.shadow: Shadow | None = None
        self.closed = False

    def start(self, share: float = 1.0) -> Shadow:
        self.shadow = Shadow(
            lambda: self.load(),
            share=share,
            counts=self.counts,
            lull=lambda: self.lull,
            failed=self.failures.append,
        )
        return self.shadow

    def offer(self, count: int, code: str = "nv", first: int = 0) -> None:
        """Live images that were answered with a class; image i has i as its bytes."""
        assert self.shadow is not None
        images = [
            np.full((IMAGE_SIZE, IMAGE_SIZE, 3), first + index, np.uint8) for index in range(count)
        ]
        self.shadow.offer(images, [code] * count)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Let the shadow work until the condition holds."""

        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.001)

        await asyncio.wait_for(wait(), PATIENCE_S)

    async def running(self) -> None:
        assert await asyncio.to_thread(self.engine.running.wait, PATIENCE_S)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.gate.set()
    if bench.shadow is not None and not bench.closed:
        bench.shadow.close()
        await asyncio.to_thread(bench.shadow._thread.shutdown)


async def test_a_device_that_is_never_idle_is_compared_all_the_same(bench: Bench) -> None:
    bench.lull = None
    bench.start()

    def offered_until_scored() -> bool:
        bench.offer(1, "mel")
        return bench.counts.shadow_images >= 2 * bench.engine.max_piece

    await bench.until(offered_until_scored)
    assert bench.counts.disagreements == bench.counts.shadow_images
    assert bench.counts.shadow_forward_s == 0, "a niced thread beside live work is no measure"
    assert bench.failures == []


async def test_it_counts_what_the_standby_says(bench: Bench) -> None:
    bench.start()
    bench.offer(5, "nv")
    bench.offer(3, "mel", first=5)
    await bench.until(lambda: bench.counts.shadow_images == 8)
    assert bench.counts.disagreements == 3
    assert bench.counts.dropped == 0
    assert bench.counts.shadow_forward_s > 0
    assert bench.engine.seen == list(range(8))
    assert max(bench.engine.sizes) <= bench.engine.max_piece


@pytest.mark.parametrize(
    ("share", "expected"), [(0.25, [3, 7, 11, 15, 19, 23, 27, 31]), (1.0, list(range(32)))]
)
async def test_it_takes_its_share(bench: Bench, share: float, expected: list[int]) -> None:
    bench.start(share)
    bench.offer(14)
    bench.offer(18, first=14)
    await bench.until(lambda: bench.counts.shadow_images == len(expected))
    assert bench.engine.seen == expected


async def test_a_tiny_share_comes_to_its_turn(bench: Bench) -> None:
    bench.start(0.01)
    for first in range(3):
        bench.offer(100, first=first)
    await bench.until(lambda: bench.counts.shadow_images >= 2)
    assert bench.counts.shadow_images <= 3


async def test_nothing_runs_while_live_images_do(bench: Bench) -> None:
    bench.lull = None
    bench.start()
    bench.offer(3)
    # The engine is made meanwhile; the work that follows it would be next on the thread.
    await asyncio.to_thread(bench.shadow._thread.submit(lambda: None).result)  # type: ignore
    bench.offer(1, first=3)
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.engine.sizes == []
    bench.lull = 1
    bench.offer(1, first=4)
    await bench.until(lambda: bench.counts.shadow_images == 5)


async def test_it_stops_between_two_pieces_when_live_images_come(bench: Bench) -> None:
    bench.start()
    bench.engine.gate.clear()
    bench.offer(10)
    await bench.running()
    bench.lull = None
    bench.engine.gate.set()
    await bench.until(lambda: bench.counts.shadow_images == 4)
    for _ in range(20):
        await asyncio.sleep(0)
    assert bench.engine.sizes == [4]
    bench.lull = 2
    bench.offer(0)
    await bench.until(lambda: bench.counts.shadow_images == 10)


async def test_what_finds_no_room_is_dropped_and_nobody_waits(bench: Bench) -> None:
    bench.start()
    bench.engine.gate.clear()
    bench.offer(1)
    await bench.running()
    bench.offer(MAX_WAITING + 10, first=1)
    assert bench.counts.dropped == 10
    bench.engine.gate.set()
    await bench.until(lambda: bench.counts.shadow_images == 1 + MAX_WAITING)
    assert bench.engine.seen == list(range(1 + MAX_WAITING))
    assert bench.counts.dropped == 10


async def test_a_disturbed_piece_does_not_count_for_time(bench: Bench) -> None:
    bench.start()
    bench.engine.gate.clear()
    bench.offer(4)
    await bench.running()
    bench.lull = 1  # a live batch came and went meanwhile
    bench.engine.gate.set()
    await bench.until(lambda: bench.counts.shadow_images == 4)
    assert bench.counts.shadow_forward_s == 0
    bench.offer(4)
    await bench.until(lambda: bench.counts.shadow_images == 8)
    # Two pieces at the pace of the undisturbed one.
    assert bench.counts.shadow_forward_s == pytest.approx(
        2 * bench.shadow._undisturbed_s  # type: ignore[union-attr]
    )


async def test_it_keeps_its_own_copy_of_an_image(bench: Bench) -> None:
    bench.start()
    bench.engine.gate.clear()
    bench.offer(1)
    await bench.running()
    message = np.zeros((8, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8)
    gone = weakref.ref(message)
    assert bench.shadow is not None
    bench.shadow.offer([message[3]], ["nv"])
    message[:] = 9
    del message
    assert gone() is None  # a view would have kept all eight
    bench.engine.gate.set()
    await bench.until(lambda: bench.counts.shadow_images == 2)
    assert bench.engine.seen == [0, 0]


async def test_it_runs_on_one_thread_that_lets_predictions_go_first(bench: Bench) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    made: list[int] = []

    def load() -> WatchedEngine:
        made.append(os.getpriority(os.PRIO_PROCESS, 0))
        return bench.engine

    bench.load = load
    bench.start()
    bench.offer(9)
    await bench.until(lambda: bench.counts.shadow_images == 9)
    assert made == [min(19, own + BESIDE)]  # an engine's own threads inherit it
    assert bench.engine.niceness == {min(19, own + BESIDE)}
    assert bench.engine.threads.isdisjoint({threading.get_ident()})
    assert len(bench.engine.threads) == 1
    assert os.getpriority(os.PRIO_PROCESS, 0) == own


async def test_an_engine_that_fails_is_given_up_with_its_images(bench: Bench) -> None:
    bench.start()
    bench.engine.gate.clear()
    bench.engine.error = RuntimeError("no such kernel")
    bench.offer(6)
    await bench.running()
    bench.engine.gate.set()
    await bench.until(lambda: bool(bench.failures))
    assert bench.failures == ["The standby failed. The log of the classifier says how."]
    assert (bench.counts.shadow_images, bench.counts.dropped) == (0, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
async def test_values_that_are_not_finite_are_a_failure(
    bench: Bench, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    bench.engine.logits[2] = value
    bench.start()
    bench.offer(2)
    await bench.until(lambda: bool(bench.failures))
    assert "its logits are not finite" in caplog.text
    assert bench.failures == ["The standby failed. The log of the classifier says how."]
    assert bench.counts.disagreements == 0


async def test_an_engine_that_cannot_be_made_is_a_failure(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    def load() -> WatchedEngine:
        raise MemoryError("full")

    bench.load = load
    bench.start()
    bench.offer(2)
    await bench.until(lambda: bool(bench.failures))
    assert "MemoryError: full" in caplog.text
    assert bench.failures == ["The standby failed. The log of the classifier says how."]
    assert bench.counts.dropped == 2


async def test_closing_frees_the_engine_and_counts_no_more(bench: Bench) -> None:
    shadow = bench.start()
    bench.engine.gate.clear()
    bench.offer(8)
    await bench.running()
    shadow.close()
    bench.closed = True
    gate, gone = bench.engine.gate, weakref.ref(bench.engine)
    bench.engine = WatchedEngine()
    gate.set()
    await asyncio.to_thread(shadow._thread.shutdown)
    assert gone() is None
    assert bench.counts == Counts()
    assert bench.failures == []
    assert shadow._task.done()


async def test_closing_before_it_began(bench: Bench) -> None:
    shadow = bench.start()
    shadow.close()
    bench.closed = True
    await asyncio.to_thread(shadow._thread.shutdown)
    assert bench.engine.sizes == []
    assert bench.failures == []
