"""A timed body: one that comes too slowly is given up, however the client stretches it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
from starlette.types import Message, Receive

from models.errors import BodyTooSlow


def timed(receive: Receive, timeout_s: float, arrived: Callable[[int], None] | None) -> Receive:
    """A `receive` that waits for the whole body so long and no longer, and then for ever.

    Args:
        receive: of the server.
        timeout_s: from now.
        arrived: told the size of each piece in bytes; what it raises is raised.

    Returns:
        Raises `BodyTooSlow` where the body should come and does not.
    """
    end = asyncio.get_running_loop().time() + timeout_s
    whole = False

    async def receive_in_time() -> Message:
        nonlocal whole
        if whole:  # what comes now is the news that the client has gone
            return await receive()
        left_s = max(0.0, end - asyncio.get_running_loop().time())
        try:
            with anyio.fail_after(left_s):
                message = await receive()
        except TimeoutError:
            raise BodyTooSlow(
                f"The body did not come within {timeout_s:g} s. Send fewer or smaller images, or "
                "over a faster line."
            ) from None
        whole = not message.get("more_body", False)
        if arrived is not None:
            arrived(len(message.get("body", b"")))
        return message

    return receive_in_time
