"""A stage: whatever classifies work, in this process or behind a handle of Serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from ray.serve.handle import DeploymentHandle

from serve_app.batching import LateBatcher, QueueCounts
from serve_app.classification import Classification
from serve_app.hop import by_value
from serve_app.message import Message
from serve_app.second_chance import SecondChance
from serve_app.settings import ServeSettings
from serve_app.shared_memory import NotShared, SharedFiles, host
from serve_app.work import Work

logger = logging.getLogger("ray.serve")

NOT_SHARED = "not_shared"
"""What a stage answers if it cannot read the sender's memory."""

Payload = TypeVar("Payload")


class Stage(Protocol[Payload]):
    """What the stage before it needs."""

    async def classify(self, works: Sequence[Work[Payload]]) -> list[Classification | Exception]:
        """One result per item, in order; an error where an item has no answer."""
        ...

    async def status(self) -> dict[str, Any]:
        """The classifier's status, through the path that images take."""
        ...


def stage_of(
    target: Stage[Payload] | DeploymentHandle[Any], settings: ServeSettings
) -> Stage[Payload]:
    """The stage itself, or the one behind a handle."""
    return RemoteStage(target, settings) if isinstance(target, DeploymentHandle) else target


class RemoteStage(Generic[Payload]):
    """The replicas of another deployment; work waits here until a lane to them is free.

    Args:
        handle: of a deployment with the methods `receive`, which takes a `Message`, and `status`.
        settings: of the application.
    """

    def __init__(self, handle: DeploymentHandle[Any], settings: ServeSettings) -> None:
        self._receive = by_value(handle, "receive")
        self._status = handle.options(method_name="status", _by_reference=False)
        # Nobody waits for an answer after the deadline.
        self._patience_s = settings.deadline_s + 1.0
        self._files = SharedFiles() if settings.shared_memory and host() is not None else None
        self._second_chance: SecondChance[Payload] = SecondChance(self._deliver)
        self._lanes: LateBatcher[Payload, Classification] = LateBatcher(
            self._send,
            max_batch=settings.hop_batch_size,
            lanes=settings.hop_lanes,
            weigh=lambda payload: memoryview(payload).nbytes,  # type: ignore[arg-type]
            max_weight=settings.max_hop_bytes,
            mixed=False,  # a message is answered when all of it is
        )

    @property
    def waiting(self) -> int:
        """Items that no lane has taken yet."""
        return self._lanes.waiting

    @property
    def sent_again(self) -> int:
        """Items that went to another replica because theirs died; each time counts."""
        return self._second_chance.images

    @property
    def counts(self) -> QueueCounts:
        """Of the queue in front of the lanes."""
        return self._lanes.counts

    async def classify(self, works: Sequence[Work[Payload]]) -> list[Classification | Exception]:
        """See `Stage.classify`."""
        return await self._lanes.submit(works)

    async def status(self) -> dict[str, Any]:
        """See `Stage.status`."""
        status: dict[str, Any] = await self._status.remote()
        return status

    async def _send(self, works: list[Work[Payload]]) -> list[Classification | Exception]:
        """One batch to a replica and its answers back.

        It does not raise, because a failed call says nothing about single items and trying
        them one by one would multiply the load on a stage in trouble.
        """
        until = asyncio.get_running_loop().time() + self._patience_s
        try:
            return await self._deliver(works, until)
        # Nobody has cancelled us: the other side has given up, or we did not wait longer.
        except (Exception, asyncio.CancelledError) as error:
            return await self._second_chance.after(error, works, until)

    async def _deliver(
        self, works: list[Work[Payload]], until: float
    ) -> list[Classification | Exception]:
        """One message; raises what went wrong with it."""
        if self._files is not None:
            try:
                return await self._deliver_in_memory(works, self._files, until)
            except NotShared as error:
                # For good: a replica that is elsewhere will be asked again and again.
                logger.warning("Images travel inside the messages from now on: %s", error)
                self._files = None
        return list(await self._ask(Message.by_value(works), until))

    async def _deliver_in_memory(
        self, works: list[Work[Payload]], files: SharedFiles, until: float
    ) -> list[Classification | Exception]:
        with files.lend() as file:
            answers = await self._ask(Message.in_memory(works, file), until)
            if answers == NOT_SHARED:
                raise NotShared("a replica of the next stage cannot read it")
        return list(answers)

    async def _ask(self, message: Message, until: float) -> Any:
        """An answer, or an end: a replica that hangs may not keep the lane for ever."""
        response: Any = self._receive.remote(message)
        timer = asyncio.get_running_loop().call_at(until, response.cancel)
        try:
            return await response
        finally:
            timer.cancel()
