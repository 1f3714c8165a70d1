"""Waiting: it ends when the condition holds, and with a sentence when it does not."""

from __future__ import annotations

import asyncio

import pytest

from tests.waiting import until, wait_until


def test_it_ends_when_the_condition_holds() -> None:
    looks = iter([False, False, True])
    assert 0 < wait_until(lambda: next(looks), "no third look", pause_s=0.001) < 60


def test_what_never_comes_is_named() -> None:
    with pytest.raises(AssertionError, match=r"no answer after 0\.\d s"):
        wait_until(lambda: False, "no answer", timeout_s=0.01)
    with pytest.raises(AssertionError, match="no answer, says its log"):
        wait_until(lambda: False, lambda: "no answer, says its log", timeout_s=0.01)


async def test_other_tasks_go_on_meanwhile() -> None:
    done = asyncio.Event()
    task = asyncio.create_task(asyncio.sleep(0, done.set()))
    await until(done.is_set, "the task has no turn")
    await task
    with pytest.raises(AssertionError, match="no task"):
        await until(lambda: False, "no task", timeout_s=0.01)
