"""A hop: one batch carried to a replica of the next stage and its answers carried back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from grpc.aio import AioRpcError
from ray.exceptions import (
    NodeDiedError,
    RayActorError,
    RpcError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
from ray.serve.handle import DeploymentHandle

from models.errors import MISTAKE, DermServeError, Overloaded, StageUnavailable

logger = logging.getLogger("ray.serve")

_REPLICA_LOST = (
    AioRpcError,
    DeploymentUnavailableError,
    NodeDiedError,
    RayActorError,
    ReplicaUnavailableError,
    RpcError,
    TaskCancelledError,
    WorkerCrashedError,
    asyncio.CancelledError,
)

Item = TypeVar("Item")


class Hop(Generic[Item]):
    """Calls a method of another deployment with a whole batch.

    Messages go by value over gRPC: for these sizes that is two to three times as fast as
    object references (docs/decisions/0002).

    Args:
        handle: of the next stage.
        method: name of its method, which takes one message and returns a list.
        pack: turns the items into that message.
    """

    def __init__(
        self,
        handle: DeploymentHandle[Any],
        method: str,
        pack: Callable[[list[Item]], Any] = lambda items: items,
    ) -> None:
        self._call = by_value(handle, method)
        self._pack = pack

    async def call(self, items: list[Item]) -> list[Any]:
        """One result per item, in order; where the call as a whole failed, its error for each.

        It does not raise, because a failed call says nothing about single items and trying
        them one by one would multiply the load on a stage in trouble.
        """
        try:
            return list(await self._call.remote(self._pack(items)))
        except Exception as error:
            return [failure(error)] * len(items)


def by_value(handle: DeploymentHandle[Any], method: str) -> DeploymentHandle[Any]:
    """The handle of a method whose messages travel as `Hop` says."""
    return handle.options(
        method_name=method,
        _by_reference=False,
        request_serialization="pickle",
        response_serialization="pickle",
    )


def failure(error: BaseException) -> DermServeError:
    """What a client is told when a call of another deployment failed; the log says more."""
    if isinstance(error, BackPressureError):
        return Overloaded("The server is full. Send the request again in a second.")
    if isinstance(error, _REPLICA_LOST):
        logger.error("A replica of another stage was lost", exc_info=error)
        return StageUnavailable(
            "A part of the server is restarting. Send the request again in a second."
        )
    logger.error("A call of another stage failed", exc_info=error)
    return DermServeError(MISTAKE)
