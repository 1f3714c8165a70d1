"""The status feed: one question for all listeners, an event per change, and an end."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from models.errors import Overloaded, TrainerUnavailable
from serve_app.status_feed import MAX_LISTENERS, StatusFeed

PATIENCE_S = 30.0


class _Trainer:
    """Says what it is told to say, and lets a test wait for the next question."""

    def __init__(self) -> None:
        self.status: dict[str, Any] | Exception = {"state": "idle", "run": None}
        self.questions = 0
        self._asked = asyncio.Event()

    async def ask(self) -> dict[str, Any]:
        self.questions += 1
        asked, self._asked = self._asked, asyncio.Event()
        asked.set()
        if isinstance(self.status, Exception):
            raise self.status
        return self.status

    async def asked_again(self) -> None:
        """Until what it says now has been asked for, and has been dealt with."""
        for _ in range(2):
            await asyncio.wait_for(self._asked.wait(), PATIENCE_S)


@pytest.fixture
def trainer() -> _Trainer:
    return _Trainer()


def _feed(trainer: _Trainer, *, duration_s: float = PATIENCE_S, keep_alive_s: float = 60) -> Any:
    return StatusFeed(trainer.ask, duration_s, poll_s=0.001, keep_alive_s=keep_alive_s)


async def _event(stream: AsyncIterator[bytes]) -> tuple[str, Any]:
    """Name and data of the next event."""
    text = (await asyncio.wait_for(anext(stream), PATIENCE_S)).decode()
    name, data, *rest = text.split("\n")
    assert rest == ["", ""]
    return name.removeprefix("event: "), orjson.loads(data.removeprefix("data: "))


async def _opened(feed: StatusFeed) -> AsyncIterator[bytes]:
    stream = feed.listen()
    assert await anext(stream) == b"retry: 1000\n\n"
    return stream


async def test_the_status_at_once_and_after_each_change(trainer: _Trainer) -> None:
    stream = await _opened(_feed(trainer))
    assert await _event(stream) == ("status", {"state": "idle", "run": None})
    for progress in (0.1, 0.2):
        trainer.status = {"state": "running", "run": {"progress": progress}}
        assert await _event(stream) == ("status", trainer.status)


async def test_a_sign_of_life_is_no_change(trainer: _Trainer) -> None:
    trainer.status = {"state": "running", "run": {"progress": 0.1, "heartbeat": "1"}}
    stream = await _opened(_feed(trainer))
    await _event(stream)
    waiting = asyncio.ensure_future(anext(stream))
    trainer.status = {"state": "running", "run": {"progress": 0.1, "heartbeat": "2"}}
    await trainer.asked_again()
    assert not waiting.done()
    trainer.status = {"state": "running", "run": {"progress": 0.2, "heartbeat": "3"}}
    assert b'"heartbeat":"3"' in await asyncio.wait_for(waiting, PATIENCE_S)


async def test_a_trainer_that_goes_away_and_comes_back(trainer: _Trainer) -> None:
    trainer.status = TrainerUnavailable("The trainer does not answer.")
    stream = await _opened(_feed(trainer))
    name, data = await _event(stream)
    assert (name, data["error"]["code"]) == ("unavailable", "trainer_unavailable")
    waiting = asyncio.ensure_future(anext(stream))
    await trainer.asked_again()
    assert not waiting.done()  # said once
    trainer.status = {"state": "idle", "run": None}
    assert b"event: status" in await asyncio.wait_for(waiting, PATIENCE_S)


async def test_all_listeners_share_one_question(trainer: _Trainer) -> None:
    feed = _feed(trainer)
    feed._poll_s = PATIENCE_S
    streams = [await _opened(feed) for _ in range(20)]
    events = [await _event(stream) for stream in streams]
    assert events == [("status", {"state": "idle", "run": None})] * 20
    assert trainer.questions == 1


async def test_without_listeners_nothing_is_asked(trainer: _Trainer) -> None:
    feed = _feed(trainer)
    assert trainer.questions == 0
    first, second = await _opened(feed), await _opened(feed)
    await _event(first)
    await first.aclose()  # type: ignore[attr-defined]
    trainer.status = {"state": "running", "run": {}}
    await trainer.asked_again()
    poller = feed._poller
    assert poller is not None
    await second.aclose()  # type: ignore[attr-defined]
    await asyncio.wait([poller], timeout=PATIENCE_S)
    assert poller.cancelled()
    # Who comes later does not see what was true then.
    trainer.status = {"state": "idle", "run": {}}
    assert await _event(await _opened(feed)) == ("status", trainer.status)


async def test_a_listener_who_is_cancelled_leaves(trainer: _Trainer) -> None:
    feed = _feed(trainer)
    stream = await _opened(feed)
    await _event(stream)
    waiting = asyncio.ensure_future(anext(stream))
    await trainer.asked_again()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (feed._listeners, feed._poller) == (0, None)


async def test_nobody_is_asked_in_the_name_of_one_listener(trainer: _Trainer) -> None:
    """Serve keeps a request's id in a context variable, and ends its calls along with it."""
    request = contextvars.ContextVar("request", default="none")
    seen = []

    async def ask() -> dict[str, Any]:
        seen.append(request.get())
        return await trainer.ask()

    request.set("of the first listener")
    await _event(await _opened(StatusFeed(ask, PATIENCE_S, poll_s=0.001)))
    assert set(seen) == {"none"}


async def test_a_comment_keeps_the_connection_alive(trainer: _Trainer) -> None:
    stream = await _opened(_feed(trainer, keep_alive_s=0.01))
    await _event(stream)
    assert await asyncio.wait_for(anext(stream), PATIENCE_S) == b": still here\n\n"


async def test_a_stream_ends(trainer: _Trainer) -> None:
    feed = _feed(trainer, duration_s=0.05)
    received = [event async for event in feed.listen()]
    assert received[1].startswith(b"event: status")
    assert feed._listeners == 0


async def test_too_many_listeners(trainer: _Trainer) -> None:
    feed = _feed(trainer)
    streams = [await _opened(feed) for _ in range(MAX_LISTENERS)]
    with pytest.raises(Overloaded, match="/retrain/status"):
        feed.check_place()
    await streams[0].aclose()  # type: ignore[attr-defined]
    feed.check_place()
