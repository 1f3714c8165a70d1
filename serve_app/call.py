"""A call: one question to another deployment, answered within a time or with an error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ray.serve.handle import DeploymentHandle

from models.errors import DeadlineExceeded, DermServeError
from serve_app.hop import by_value, failure, is_replica_lost

logger = logging.getLogger("ray.serve")


async def call(
    handle: DeploymentHandle[Any],
    method: str,
    *args: Any,
    timeout_s: float,
    failed: Callable[[BaseException], DermServeError] = failure,
    changes_nothing: bool = False,
) -> Any:
    """Ask another deployment; a caller who is cancelled takes the work with it.

    Args:
        handle: of the deployment.
        method: name of its method, which gives an error back as a value.
        args: of the method.
        timeout_s: longest wait for the answer.
        failed: makes an error of ours of what a failed call raises.
        changes_nothing: whether another replica may be asked, once, if the one that was asked
            died over the question or beside it.

    Raises:
        DermServeError: the answer, if it is one, or what `failed` returned.
        DeadlineExceeded: if there is no answer in time.
    """
    method_handle = by_value(handle, method)
    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while True:
        task = asyncio.ensure_future(_ask(method_handle, args))
        try:
            # Not wait_for: what a call says when it is cancelled must not pass for its answer.
            await asyncio.wait([task], timeout=until - loop.time())
            if not task.done():
                raise DeadlineExceeded(
                    f"There was no answer within {timeout_s:g} s. The server is busy; send the "
                    "request again later."
                )
            try:
                answer = task.result()
            # Nobody has cancelled us: the other side has given up.
            except (Exception, asyncio.CancelledError) as error:
                if not (changes_nothing and is_replica_lost(error)):
                    raise failed(error) from error
                logger.warning("Another replica is asked %s: %s", method, type(error).__name__)
                changes_nothing = False  # once is enough
                continue
        finally:
            task.cancel()
        if isinstance(answer, DermServeError):
            raise answer
        return answer


async def _ask(method: DeploymentHandle[Any], args: tuple[Any, ...]) -> Any:
    return await method.remote(*args)
