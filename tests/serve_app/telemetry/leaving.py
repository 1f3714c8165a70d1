"""A client that leaves in the middle of what it sends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest


async def leave(client: httpx.AsyncClient, image: bytes) -> None:
    """Begin to send an image, and go when the server has begun to read it."""
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield image[:10]
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(client.post("/predict", content=endless()))
    await asyncio.wait_for(begun.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
