"""The trainer's client: what the routes ask of the application beside this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from models.errors import DeadlineExceeded, DermServeError, TrainerUnavailable
from serve_app.call import call

logger = logging.getLogger("ray.serve")

TRAINER = "trainer"
"""Name of the application."""

STATUS_TIMEOUT_S = 5.0
"""Longest wait for what the trainer knows by heart."""

ANSWER_TIMEOUT_S = 20.0
"""Longest wait for an answer; the trainer itself waits for a rollout for three quarters of it."""

_UNAVAILABLE = (
    "The trainer does not answer. If the server has only just started, try again in a few "
    "seconds; otherwise deploy an application named trainer, as serve_config.yaml does."
)


def _find() -> DeploymentHandle[Any]:
    return serve.get_app_handle(TRAINER)


class TrainerClient:
    """Calls the trainer, wherever it runs by now.

    Args:
        find: returns its handle, and may block.
    """

    def __init__(self, find: Callable[[], DeploymentHandle[Any]] = _find) -> None:
        self._find = find
        self._lookup: asyncio.Task[DeploymentHandle[Any]] | None = None

    async def ask(self, method: str, *args: Any, timeout_s: float = ANSWER_TIMEOUT_S) -> Any:
        """Call a method of the trainer.

        Args:
            method: name of it.
            args: of the method.
            timeout_s: longest wait for the answer.

        Raises:
            TrainerUnavailable: if it is not deployed, or does not answer in time.
            DermServeError: the trainer's.
        """
        try:
            handle = await self._handle(timeout_s)
            return await call(handle, method, *args, timeout_s=timeout_s, failed=_unavailable)
        except (DeadlineExceeded, TrainerUnavailable):
            if self._lookup is not None and self._lookup.done():
                self._lookup = None  # the next caller finds out at once whether it is deployed
            raise TrainerUnavailable(_UNAVAILABLE) from None

    async def _handle(self, timeout_s: float) -> DeploymentHandle[Any]:
        # One lookup for all, as it occupies a thread for as long as Serve's controller is away.
        if self._lookup is None:
            self._lookup = asyncio.create_task(asyncio.to_thread(self._find))
        lookup = self._lookup
        await asyncio.wait([lookup], timeout=timeout_s)
        if not lookup.done():
            raise DeadlineExceeded("Serve's controller does not answer.")
        try:
            return lookup.result()
        except Exception as error:
            raise _unavailable(error) from error


def _unavailable(error: BaseException) -> DermServeError:
    logger.warning("The trainer did not answer: %r", error)
    return TrainerUnavailable(_UNAVAILABLE)
