"""A call: one question to another deployment, answered within a time or with an error."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ray.serve.handle import DeploymentHandle

from models.errors import DeadlineExceeded, DermServeError
from serve_app.hop import by_value, failure


async def call(
    handle: DeploymentHandle[Any],
    method: str,
    *args: Any,
    timeout_s: float,
    failed: Callable[[BaseException], DermServeError] = failure,
) -> Any:
    """Ask another deployment; a caller who is cancelled takes the work with it.

    Args:
        handle: of the deployment.
        method: name of its method, which gives an error back as a value.
        args: of the method.
        timeout_s: longest wait for the answer.
        failed: makes an error of ours of what a failed call raises.

    Raises:
        DermServeError: the answer, if it is one, or what `failed` returned.
        DeadlineExceeded: if there is no answer in time.
    """
    task = asyncio.ensure_future(_ask(by_value(handle, method), args))
    try:
        # Not wait_for: what a call says when it is cancelled must not pass for its answer.
        await asyncio.wait([task], timeout=timeout_s)
        if not task.done():
            raise DeadlineExceeded(
                f"There was no answer within {timeout_s:g} s. The server is busy; send the request "
                "again later."
            )
        try:
            answer = task.result()
        # Nobody has cancelled us: the other side has given up.
        except (Exception, asyncio.CancelledError) as error:
            raise failed(error) from error
    finally:
        task.cancel()
    if isinstance(answer, DermServeError):
        raise answer
    return answer


async def _ask(method: DeploymentHandle[Any], args: tuple[Any, ...]) -> Any:
    return await method.remote(*args)
