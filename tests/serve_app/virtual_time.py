"""A loop whose clock stands still until a test moves it; deadlines pass without a wait."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

import serve_app.batching
import serve_app.message

Answer = TypeVar("Answer")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Serves its timers by `now`, in seconds; a task that only yields never lets it wait."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.unhandled: list[dict[str, Any]] = []
        """What nobody caught, as `set_exception_handler` has it."""
        super().__init__()
        self.set_exception_handler(lambda loop, context: self.unhandled.append(context))

    def time(self) -> float:
        return self.now


async def settle() -> None:
    """Let every task go on as far as it can; the longest chain of wake-ups is far shorter."""
    for _ in range(20):
        await asyncio.sleep(0)


def clock() -> VirtualLoop:
    """The running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


async def pass_s(seconds: float) -> None:
    """Move the clock once all has gone as far as it can, and let what follows run."""
    await settle()
    clock().now += seconds
    await settle()


@contextmanager
def virtual_time() -> Iterator[VirtualLoop]:
    """A loop that `run_until_complete` runs, with the clock of the application's queues."""
    loop = VirtualLoop()
    with pytest.MonkeyPatch.context() as patch:
        for module in (serve_app.batching, serve_app.message):
            patch.setattr(module, "time", SimpleNamespace(monotonic=loop.time))
        try:
            yield loop
        finally:
            loop.close()


def run(scenario: Coroutine[Any, Any, Answer]) -> Answer:
    """Run a scenario in virtual time."""
    with virtual_time() as loop:
        return loop.run_until_complete(scenario)
