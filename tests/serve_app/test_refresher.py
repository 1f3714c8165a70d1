"""The refresher: begins once, goes on after an error, and belongs to no request."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from serve_app import refresher as module
from serve_app.refresher import Refresher

REQUEST = contextvars.ContextVar("REQUEST", default="none")


async def test_it_goes_on_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PERIOD_S", 0.001)
    times, requests = 0, []
    thrice = asyncio.Event()

    def refresh() -> None:
        nonlocal times
        times += 1
        requests.append(REQUEST.get())
        if times == 3:
            thrice.set()
        raise RuntimeError("once more")

    refresher = Refresher(refresh)
    REQUEST.set("mine")
    refresher.start()
    before = len(asyncio.all_tasks())
    refresher.start()
    assert len(asyncio.all_tasks()) == before
    await asyncio.wait_for(thrice.wait(), 10)
    assert set(requests) == {"none"}
