"""Budgets: the requests and bytes that each key may send in a minute, in one replica.

A bucket holds a minute's worth and fills evenly, so that a caller may send all of it at once.
"""

from __future__ import annotations

from functools import lru_cache

from throttled import MemoryStore, RateLimiterType, Throttled, per_min

from data.catalogue.api_key import ApiKey
from models.errors import BodyTooLarge, RateLimited
from serve_app.settings import ServeSettings

_MAX_KEYS = 100_000  # of those that asked last; a bucket that is forgotten is a full one


class Budgets:
    """The buckets of all keys.

    Args:
        settings: with the defaults of keys that have no limits of their own.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        store = MemoryStore(options={"MAX_SIZE": 2 * _MAX_KEYS})

        @lru_cache(maxsize=1024)
        def bucket(per_minute: int) -> Throttled:
            # GCRA is a token bucket that keeps one time instead of a count and a time.
            return Throttled(
                using=RateLimiterType.GCRA.value, quota=per_min(per_minute), store=store
            )

        self._bucket = bucket

    def spend(self, key: ApiKey, *, requests: int, size_bytes: int) -> None:
        """Take what a request costs out of the buckets of its key.

        Raises:
            RateLimited: if there is not enough in one of them; nothing is taken from that one.
            BodyTooLarge: if the bytes are more than the key may send in a minute.
        """
        if requests:
            limit = key.requests_per_minute or self._settings.key_requests_per_minute
            self._take(f"{key.id} requests", requests, limit, f"{limit} requests")
        if size_bytes:
            limit = key.bytes_per_minute or self._settings.key_bytes_per_minute
            mib = f"{limit / 2**20:.3g} MiB"
            if size_bytes > limit:
                raise BodyTooLarge(f"The key may send {mib} in a minute, and this is more.")
            self._take(f"{key.id} bytes", size_bytes, limit, mib)

    def _take(self, bucket: str, cost: int, limit: int, allowed: str) -> None:
        result = self._bucket(limit).limit(bucket, cost)
        if result.limited:
            raise RateLimited(
                f"The key may send {allowed} in a minute and has done so. Send the request again "
                "when the seconds in Retry-After are over.",
                result.state.retry_after,
            )
