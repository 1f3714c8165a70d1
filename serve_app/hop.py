"""A hop: how calls travel between deployments, and what it means when one fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from grpc import StatusCode
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
from models.log_records import batch_fields

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

# With these, gRPC says that a connection ended in the middle of a call; others say what is wrong
# with the call itself, and would say it again.
_CONNECTION_LOST = (
    StatusCode.ABORTED,
    StatusCode.CANCELLED,
    StatusCode.INTERNAL,
    StatusCode.UNAVAILABLE,
    StatusCode.UNKNOWN,
)


def by_value(handle: DeploymentHandle[Any], method: str) -> DeploymentHandle[Any]:
    """The handle of a method whose messages go by value over gRPC, plainly pickled.

    For these sizes that is two to three times as fast as object references
    (docs/decisions/0002).
    """
    return handle.options(
        method_name=method,
        _by_reference=False,
        request_serialization="pickle",
        response_serialization="pickle",
    )


def is_replica_lost(error: BaseException) -> bool:
    """Whether a call failed because a replica ended, so that another may answer the same call.

    A deployment that does not start is no such case, and neither is a call that this side has
    given up.
    """
    if isinstance(error, AioRpcError):
        return error.code() in _CONNECTION_LOST
    return isinstance(error, _REPLICA_LOST) and not isinstance(
        error, (asyncio.CancelledError, DeploymentUnavailableError)
    )


def failure(error: BaseException, request_ids: Sequence[str] = ()) -> DermServeError:
    """What a client is told when a call of another deployment failed; the log says more.

    Args:
        error: that the call raised.
        request_ids: of a call for several requests.
    """
    extra = batch_fields(request_ids) if request_ids else None
    if isinstance(error, BackPressureError):
        return Overloaded("The server is full. Send the request again in a second.")
    if isinstance(error, _REPLICA_LOST):
        logger.error("A replica of another stage was lost", exc_info=error, extra=extra)
        return StageUnavailable(
            "A part of the server is restarting. Send the request again in a second."
        )
    logger.error("A call of another stage failed", exc_info=error, extra=extra)
    return DermServeError(MISTAKE)
