"""The reporter: tells the trainer, another application, how this replica does."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Awaitable, Callable

from ray import serve

from models.replica_report import ReplicaReport
from serve_app.trainer_client import TRAINER

logger = logging.getLogger("ray.serve")

PERIOD_S = 2.0
"""Longest time between two reports; a change is reported at once."""

TIMEOUT_S = 10.0
"""Longest wait for the trainer to take a report."""

Send = Callable[[ReplicaReport], Awaitable[object]]


async def trainer() -> Send:
    """The trainer's `report`.

    Raises:
        RayServeException: if there is no such application.
    """
    # It blocks until Serve's controller answers.
    handle = await asyncio.to_thread(serve.get_app_handle, TRAINER)
    call = handle.options(
        method_name="report",
        _by_reference=False,
        request_serialization="pickle",
        response_serialization="pickle",
    )
    send: Send = call.remote
    return send


class Reporter:
    """Sends reports for as long as the replica lives; no request ever waits for one.

    A server without a trainer, or one whose trainer restarts, is nothing to complain of: the
    next report tries again.

    Args:
        report: what to say now.
        connect: finds whom to say it to. Asked until it answers once, because a handle of Serve
            follows replicas that come and go by itself.
    """

    def __init__(
        self,
        report: Callable[[], ReplicaReport],
        connect: Callable[[], Awaitable[Send]] = trainer,
    ) -> None:
        self._report = report
        self._connect = connect
        self._due = asyncio.Event()
        self._send: Send | None = None
        self._taken: bool | None = None
        # In no caller's context, which Serve would take for that of a request.
        self._task = contextvars.Context().run(asyncio.create_task, self._work())

    def report_soon(self) -> None:
        """Do not wait for the end of the period."""
        self._due.set()

    def close(self) -> None:
        """Send no more."""
        self._task.cancel()

    async def _work(self) -> None:
        while True:
            self._due.clear()
            try:
                await self._report_once()
            except Exception as error:
                self._note(False, f"{type(error).__name__}: {error}")
            else:
                self._note(True)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._due.wait(), PERIOD_S)

    async def _report_once(self) -> None:
        if self._send is None:
            self._send = await self._connect()
        call = asyncio.ensure_future(self._send(self._report()))
        try:
            # Not wait_for: a call that Serve cancels must not end this task as if it was meant.
            await asyncio.wait([call], timeout=TIMEOUT_S)
            if not call.done():
                raise TimeoutError(f"no answer within {TIMEOUT_S:g} s")
            if call.cancelled():
                raise RuntimeError("the call was cancelled")
            call.result()
        finally:
            call.cancel()

    def _note(self, taken: bool, reason: str = "") -> None:
        """Log a change of fortune, not every report."""
        if taken == self._taken:
            return
        self._taken = taken
        if taken:
            logger.info("The trainer takes this replica's reports")
        else:
            logger.info("The trainer takes no reports; trying again in silence. %s", reason)
