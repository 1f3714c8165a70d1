"""The caller of a request, once it may be answered."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from data.catalogue.api_key import ApiKey

SCOPE_KEY = "dermserve.caller"
"""Where an ASGI scope names the caller."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever holds a key, or is on this machine where there are no keys."""

    key: ApiKey | None

    @property
    def actor(self) -> str:
        """What the audit log calls the caller."""
        return "api" if self.key is None else f"key:{self.key.id}"


def caller_of(request: Request) -> Caller:
    """The caller of a request that passed the guard."""
    caller: Caller = request.scope[SCOPE_KEY]
    return caller


def actor_of(request: Request) -> str:
    """What the audit log calls the caller of a request that passed the guard."""
    return caller_of(request).actor
