"""A tally: what became of the requests of one kind."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, ConfigDict

UNREACHED = ("ConnectError", "ConnectTimeout")
"""Nobody took the request; there is no doubt that it was not done."""


class Tally(BaseModel):
    """Requests, and those without a good answer by what came instead.

    An answer of an error is `STATUS code`, where the server gave a code; no answer at all is the
    name of what the HTTP library raised.
    """

    model_config = ConfigDict(frozen=True)

    sent: int
    failures: dict[str, int]
    longest_gap_s: float
    """Longest time without a good answer to anybody."""
    failed_until_s: float | None
    """When the last failure came, after the fault; None if none came."""

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.failures.values())

    @property
    def refused(self) -> int:
        """Of the failed: never taken, or refused with the advice to come again."""
        return sum(n for name, n in self.failures.items() if _is_refusal(name))

    @property
    def lost(self) -> int:
        """Of the failed: taken by the server, and then not answered as it should have been."""
        return self.failed - self.refused


class Counting:
    """Counts into a tally, from one thread at a time.

    Args:
        now_s: when it begins, on a clock that never goes back.
    """

    def __init__(self, now_s: float) -> None:
        self._sent = 0
        self._failures: Counter[str] = Counter()
        self._gap_s = 0.0
        self._last_good_s = now_s
        self._last_bad_s: float | None = None

    def add(self, failure: str | None, now_s: float) -> None:
        """Count a request that has just ended.

        Args:
            failure: what came instead of a good answer; None if one came.
            now_s: the present.
        """
        self._sent += 1
        self._gap_s = max(self._gap_s, now_s - self._last_good_s)
        if failure is not None:
            self._failures[failure] += 1
            self._last_bad_s = now_s
            return
        self._last_good_s = now_s

    @property
    def last_failure_s(self) -> float | None:
        """When the last failure came."""
        return self._last_bad_s

    @property
    def last_good_s(self) -> float:
        """When the last good answer came; when it began, if none has come."""
        return self._last_good_s

    def tally(self, struck_s: float) -> Tally:
        """The sums.

        Args:
            struck_s: when the fault was made.
        """
        last = self._last_bad_s
        return Tally(
            sent=self._sent,
            failures=dict(sorted(self._failures.items())),
            longest_gap_s=self._gap_s,
            failed_until_s=None if last is None else max(0.0, last - struck_s),
        )


def _is_refusal(failure: str) -> bool:
    return failure in UNREACHED or failure.split(" ")[0] in ("429", "503", "507")
