"""Retries: which failures of a request pass by themselves, and how long to wait for that."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from dermserve_client.errors import DermServeError, Refused, Unreachable

# A server that was too slow to answer would be no faster for being asked twice.
_PASSING = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)

_LEAST_S = 0.001


@dataclass(frozen=True, slots=True)
class Retries:
    """How patient a client is with requests that may be repeated."""

    total_s: float = 15.0
    """From the first attempt to the last; 0 repeats nothing."""
    first_s: float = 0.25
    """Longest first pause; each further one may be twice as long."""
    longest_s: float = 8.0
    """Longest pause, on top of what the server asks for."""


class Attempts:
    """The attempts at one call.

    Args:
        retries: how patient to be.
        repeatable: whether there may be a second one.
        timeout_s: for all together, whatever `retries` says; None for no further limit.
        clock: seconds that never go back.
        chance: a number in [0, 1), another each time.

    Raises:
        ValueError: if `timeout_s` is not above 0.
    """

    def __init__(
        self,
        retries: Retries,
        *,
        repeatable: bool = True,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s is {timeout_s}. Give seconds above 0, or None.")
        self._retries = retries
        self._repeatable = repeatable
        self._timeout_s = timeout_s
        self._clock = clock
        self._chance = chance
        self._started = clock()
        self._longest_s = retries.first_s

    @property
    def left_s(self) -> float | None:
        """What is left of `timeout_s`; None without one."""
        if self._timeout_s is None:
            return None
        return max(_LEAST_S, self._timeout_s - (self._clock() - self._started))

    def pause_after(self, failure: httpx.RequestError | DermServeError) -> float:
        """Seconds to wait before the next attempt.

        Between a half and the whole of a pause that doubles, so that clients who failed
        together do not come back together; on top of what the server asks for.

        Raises:
            DermServeError: the failure, if there is to be no further attempt.
        """
        advised_s = failure.retry_after_s if isinstance(failure, Refused) else None
        pause_s = (advised_s or 0.0) + self._longest_s * (1 + self._chance()) / 2
        self._longest_s = min(2 * self._longest_s, self._retries.longest_s)
        passes = failure.passing if isinstance(failure, Refused) else isinstance(failure, _PASSING)
        if passes and self._repeatable and self._has(pause_s):
            return pause_s
        if isinstance(failure, DermServeError):
            raise failure
        raise Unreachable(self._explain(failure)) from failure

    def _has(self, pause_s: float) -> bool:
        end_s = self._clock() - self._started + pause_s
        return end_s < self._retries.total_s and end_s < (self._timeout_s or math.inf)

    def _explain(self, failure: httpx.RequestError) -> str:
        url = failure.request.url
        reason = f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__
        text = f"{url.scheme}://{url.netloc.decode()} does not answer ({reason})."
        if isinstance(failure, httpx.ConnectError | httpx.ConnectTimeout):
            return f"{text} Check the address, and that the server runs."
        if self._repeatable:
            return text
        return f"{text} It may have done what it was asked for: look before you ask again."
