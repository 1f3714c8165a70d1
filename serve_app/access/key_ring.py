"""The key ring: the API keys as one ingress replica knows them, read again every few seconds.

A slow hash is right for what is stored and wrong for every request. So a key is verified by it
once; from then on the ring compares a fast digest, keyed with bytes that only this process has.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import threading
import time
from datetime import datetime, timezone
from hashlib import blake2b

from throttled import MemoryStore, RateLimiterType, Throttled, per_min

from data.catalogue.api_key import ApiKey, id_of, matches
from data.catalogue.keys import Keys
from models.errors import CatalogueUnavailable, DermServeError, RateLimited, Unauthenticated

logger = logging.getLogger("ray.serve")

REFRESH_S = 3.0
"""Between two readings: a key that was made or revoked counts after this at the latest."""

MAX_FAILURES = 10
"""Wrong texts for a key that has not been verified yet, in a minute: each costs a slow hash."""

_INVALID = (
    "The API key is not valid. Send the whole text that `dermserve keys create` printed, as "
    "`Authorization: Bearer KEY` or `X-API-Key: KEY`."
)


class KeyRing:
    """The keys of the catalogue.

    Args:
        keys: of the catalogue.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._known: dict[str, ApiKey] | None = None
        self._process_key = secrets.token_bytes(32)
        self._verified: dict[str, bytes] = {}
        """Digest of the text, by the id of a key that was verified."""
        self._verifying = asyncio.Lock()
        self._failures = Throttled(
            using=RateLimiterType.GCRA.value, quota=per_min(MAX_FAILURES), store=MemoryStore()
        )

    @property
    def empty(self) -> bool:
        """Whether no key was ever made.

        Raises:
            CatalogueUnavailable: if the catalogue could not be read yet.
        """
        return not self._read_keys()

    def watch(self) -> None:
        """Read the keys, and again and again in a thread that ends with the process."""
        self._try_to_refresh()
        threading.Thread(target=self._keep_reading, name="keys", daemon=True).start()

    def refresh(self) -> None:
        """Read the keys now; blocks.

        Raises:
            CatalogueUnavailable: if they cannot be read; those that were read before stay.
        """
        found = {key.id: key for key in self._keys.all()}
        # A catalogue that was taken away and begun anew must not open a server that had keys.
        if found or self._known is None:
            self._known = found

    async def find(self, text: str) -> ApiKey:
        """The key of a text.

        Raises:
            Unauthenticated: if there is none, or it was revoked or has expired.
            RateLimited: if too many wrong texts came for a key that was not verified yet.
            CatalogueUnavailable: if the catalogue could not be read yet.
        """
        key = self._read_keys().get(id_of(text) or "")
        if key is None:
            raise Unauthenticated(_INVALID)
        digest = blake2b(text.encode(), key=self._process_key).digest()
        verified = self._verified.get(key.id)
        if verified is None:
            verified = await self._verify(key, text, digest)
        if not hmac.compare_digest(verified, digest):
            raise Unauthenticated(_INVALID)
        if (ended := key.ended(datetime.now(timezone.utc))) is not None:
            raise Unauthenticated(f"The API key {key.id} {ended}. Ask the operator for a new one.")
        return key

    async def _verify(self, key: ApiKey, text: str, digest: bytes) -> bytes:
        """The digest of the right text; one verification at a time, as each takes memory."""
        async with self._verifying:
            if key.id in self._verified:  # by a request that came just before
                return self._verified[key.id]
            failures = self._failures.peek(key.id)
            if failures.remaining < 1:
                raise RateLimited(
                    f"Too many wrong texts came for the API key {key.id}. Send the right one in a "
                    "few seconds.",
                    failures.retry_after,
                )
            if not await asyncio.to_thread(matches, key.hash, text):
                self._failures.limit(key.id)
                raise Unauthenticated(_INVALID)
            self._verified[key.id] = digest
            return digest

    def _read_keys(self) -> dict[str, ApiKey]:
        if self._known is None:
            raise CatalogueUnavailable(
                "The API keys cannot be read yet. Send the request again; if it stays so, the log "
                "says what is wrong with the catalogue."
            )
        return self._known

    def _keep_reading(self) -> None:
        while True:
            time.sleep(REFRESH_S)
            self._try_to_refresh()

    def _try_to_refresh(self) -> None:
        try:
            self.refresh()
        except DermServeError as error:
            logger.warning("The API keys are those read last: %s", error.message)
        except Exception:
            logger.exception("The API keys are those read last")
