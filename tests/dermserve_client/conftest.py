"""Both clients, asked in one way, so that each test holds for the one and for the other."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from dermserve_client import AsyncClient, Client, Retries

Handler = Callable[[httpx.Request], httpx.Response]

HASTY = Retries(total_s=30, first_s=0.001, longest_s=0.002)
"""Repeats like the default, in a moment."""


class Asked:
    """A client of either kind, whose methods are awaited and whose iterators become lists."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    async def __call__(
        self, method: str, *args: Any, most: int | None = None, **kwargs: Any
    ) -> Any:
        """The result of a method, or the first `most` of its results."""
        bound = getattr(self._client, method)
        if isinstance(self._client, AsyncClient):
            answer = bound(*args, **kwargs)
            return await answer if inspect.isawaitable(answer) else await _taken(answer, most)
        return await asyncio.to_thread(_taken_here, bound, args, kwargs, most)

    async def close(self) -> None:
        if isinstance(self._client, AsyncClient):
            await self._client.aclose()
        else:
            self._client.close()


async def _taken(results: Any, most: int | None) -> list[Any]:
    taken = []
    async for result in results:
        taken.append(result)
        if len(taken) == most:
            break
    await results.aclose()
    return taken


def _taken_here(bound: Any, args: Any, kwargs: Any, most: int | None) -> Any:
    answer = bound(*args, **kwargs)
    if not inspect.isgenerator(answer):
        return answer
    taken = []
    for result in answer:
        taken.append(result)
        if len(taken) == most:
            break
    answer.close()
    return taken


Connect = Callable[..., Asked]


@pytest.fixture(params=[Client, AsyncClient])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Makes clients that end with the test."""
    opened: list[Asked] = []

    def make(handler: Handler | None = None, **kwargs: Any) -> Asked:
        if handler is not None:
            kwargs = {"retries": HASTY, "transport": httpx.MockTransport(handler), **kwargs}
        opened.append(Asked(request.param(**kwargs)))
        return opened[-1]

    yield make
    for asked in opened:
        await asked.close()
