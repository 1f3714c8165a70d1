"""A device that runs batches step by step: each waits until the test lets it go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from serve_app.work import Priority, Work


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


class GatedDevice:
    """Runs batches, each until it is let go, and remembers them.

    An item called `bad` makes its whole batch raise; one called `none` fails by itself.
    """

    def __init__(self) -> None:
        self.started: list[list[str]] = []
        self.running: list[_Run] = []

    async def run(self, works: list[Work[str]]) -> list[str | Exception]:
        items = [work.payload for work in works]
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


def of(
    *payloads: str, priority: Priority = Priority.INTERACTIVE, deadline: float | None = None
) -> list[Work[str]]:
    return [Work(payload, priority, deadline) for payload in payloads]


async def finish(device: GatedDevice, *calls: asyncio.Future[object]) -> None:
    """Let every run go until the calls are done and nothing runs."""

    def done() -> bool:
        for run in device.running:
            if not run.gate.done():
                run.gate.set_result(None)
        return not device.running and all(call.done() for call in calls)

    await until(done)
