"""The status feed: what the trainer is doing, as server-sent events for all who listen."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from models.errors import DermServeError, Overloaded
from serve_app.answers import error_detail

POLL_S = 0.5
"""Between two looks at the trainer, as long as anybody listens."""

KEEP_ALIVE_S = 15.0
"""Without an event, a comment keeps proxies from closing the connection."""

MAX_LISTENERS = 64
"""Of one ingress replica."""

_RECONNECT_MS = 1000


class StatusFeed:
    """Asks the trainer once for all listeners of an ingress replica, while there are any.

    Args:
        ask: returns the status, or raises a `DermServeError`.
        duration_s: after which a stream ends; browsers then connect again by themselves. Serve
            cuts every request at `request_timeout_s`, and a replica that shuts down waits for
            its streams.
        poll_s: between two questions.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[dict[str, Any]]],
        duration_s: float,
        poll_s: float = POLL_S,
        keep_alive_s: float = KEEP_ALIVE_S,
    ) -> None:
        self._ask = ask
        self._duration_s = duration_s
        self._poll_s = poll_s
        self._keep_alive_s = keep_alive_s
        self._listeners = 0
        self._poller: asyncio.Task[None] | None = None
        self._event: bytes | None = None
        """The newest; None before the first answer."""
        self._changed = asyncio.Event()

    def check_place(self) -> None:
        """Raise `Overloaded` if no more listeners are taken."""
        if self._listeners >= MAX_LISTENERS:
            raise Overloaded(
                f"{MAX_LISTENERS} clients listen already. Ask GET /retrain/status instead."
            )

    async def listen(self) -> AsyncIterator[bytes]:
        """The status now, and again after each change.

        Yields:
            Server-sent events (WHATWG HTML, section 9.2): `status` with `schemas.RetrainStatus`
            as data; `unavailable` with `schemas.ErrorResponse`, while the trainer does not answer.
        """
        self._enter()
        try:
            yield b"retry: %d\n\n" % _RECONNECT_MS
            async for event in self._events():
                yield event
        finally:
            self._leave()

    async def _events(self) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._duration_s
        sent: bytes | None = None
        while (left_s := end - loop.time()) > 0:
            changed = self._changed
            if self._event is not None and self._event is not sent:
                sent = self._event
                yield sent
                continue
            try:
                await asyncio.wait_for(changed.wait(), min(self._keep_alive_s, left_s))
            except asyncio.TimeoutError:
                yield b": still here\n\n"

    def _enter(self) -> None:
        self._listeners += 1
        if self._poller is None:
            # In no listener's context: Serve ends what a request has begun together with it.
            self._poller = contextvars.Context().run(asyncio.create_task, self._poll())

    def _leave(self) -> None:
        self._listeners -= 1
        if self._listeners == 0 and self._poller is not None:
            self._poller.cancel()
            self._poller, self._event = None, None

    async def _poll(self) -> None:
        seen: Any = None
        while True:
            try:
                name, data = b"status", await self._ask()
            except DermServeError as error:
                name, data = b"unavailable", {"error": error_detail(error, "")}
            if (state := _without_heartbeat(data)) != seen:
                seen = state
                self._event = b"event: %s\ndata: %s\n\n" % (name, orjson.dumps(data))
                self._changed.set()
                self._changed = asyncio.Event()
            await asyncio.sleep(self._poll_s)


def _without_heartbeat(status: dict[str, Any]) -> dict[str, Any]:
    """What counts as a change; a sign of life is none."""
    run = status.get("run") or {}
    return {**status, "run": {name: run[name] for name in run if name != "heartbeat"}}
