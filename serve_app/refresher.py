"""The refresher: has metrics told again and again, on the event loop and in no request's name."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable

logger = logging.getLogger("ray.serve")

PERIOD_S = 2.0
"""Between two times. Ray's agents forget a gauge that was not set for 20 s."""


class Refresher:
    """Calls something every `PERIOD_S` for as long as the replica lives.

    Args:
        refresh: must not block; if it raises, the next time tries again.
    """

    def __init__(self, refresh: Callable[[], None]) -> None:
        self._refresh = refresh
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, if that has not been done; on the event loop."""
        if self._task is None:
            # In no caller's context, which Serve would take for that of a request.
            self._task = contextvars.Context().run(asyncio.create_task, self._repeat())

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(PERIOD_S)
            try:
                self._refresh()
            except Exception:
                logger.exception("Metrics were not told")
