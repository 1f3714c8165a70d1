"""The second chance: what a message gets whose replica died before it answered.

Whoever asked does not notice. A classification changes nothing, so it may be done twice; uploads
do not come this way. But an image may be what killed the replica, and would kill the next, so
what is sent again is sent with care (docs/decisions/0033):

- one message at a time from each sender, so that of all that were under way only the one at fault
  can take another replica with it;
- if it does, each of its images in a message of its own, so that the others get their answers;
- no image more than `TRIES` times, and none after the message's time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from serve_app.classification import Classification
from serve_app.hop import failure, is_replica_lost
from serve_app.work import Work, expired

logger = logging.getLogger("ray.serve")

TRIES = 3
"""Of one image, the first included: one may take so many replicas with it, and no more."""

# The replicas of a machine that goes down die one after the other, within a moment; and where the
# dead one was alone, Serve needs up to two seconds to notice and not to send to it again.
_PAUSES_S = (0.2, 2.5)

Payload = TypeVar("Payload")
Answers = list[Classification | Exception]


class SecondChance(Generic[Payload]):
    """Sends again; belongs to one sender and its event loop.

    Args:
        send: carries one message to a replica and its answers back, or raises what went wrong.
            The second argument is the moment, on the event loop's clock, after which it gives up.
    """

    def __init__(self, send: Callable[[list[Work[Payload]], float], Awaitable[Answers]]) -> None:
        self._send = send
        self._alone = asyncio.Lock()
        self.images = 0
        """That were sent again so far; each time counts."""

    async def after(
        self, error: BaseException, works: list[Work[Payload]], until: float
    ) -> Answers:
        """What becomes of a message that was sent once; does not raise.

        Args:
            error: that sending it raised.
            works: its content.
            until: as for `send`.

        Returns:
            One result per item, in order; a `DermServeError` where there is no answer.
        """
        if not _may_help(error, until):
            return _failures(error, works)
        logger.warning(
            "A replica of another stage was lost (%s); its %d images go to another",
            type(error).__name__,
            len(works),
        )
        return await self._again(works, until, tries=1)

    async def _again(self, works: list[Work[Payload]], until: float, tries: int) -> Answers:
        """Send what was sent so often already."""
        await asyncio.sleep(_PAUSES_S[tries - 1])
        try:
            async with self._alone:
                if asyncio.get_running_loop().time() >= until:
                    return [expired()] * len(works)
                self.images += len(works)
                return await self._send(works, until)
        # Nobody has cancelled us: the other side has given up, or we did not wait longer.
        except (Exception, asyncio.CancelledError) as error:
            tries += 1
            if tries == TRIES or not _may_help(error, until):
                return _failures(error, works)
        one_by_one = (self._again([work], until, tries) for work in works)
        return [answer for answers in await asyncio.gather(*one_by_one) for answer in answers]


def _failures(error: BaseException, works: list[Work[Payload]]) -> Answers:
    return [failure(error, [work.request_id for work in works])] * len(works)


def _may_help(error: BaseException, until: float) -> bool:
    return is_replica_lost(error) and asyncio.get_running_loop().time() < until
