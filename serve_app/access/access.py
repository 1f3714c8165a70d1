"""Access: whether a request may be answered, from its headers alone, over HTTP and gRPC."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import urlsplit

from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from models.errors import (
    CatalogueUnavailable,
    Forbidden,
    ForeignSite,
    InvalidConfiguration,
    Unauthenticated,
)
from serve_app.access.budgets import Budgets
from serve_app.access.caller import Caller
from serve_app.access.key_ring import KeyRing
from serve_app.access.reach import is_loopback, no_key, tls_host_of
from serve_app.access.routes import Need
from serve_app.settings import ServeSettings

_BEARER = "bearer "


class Access:
    """Knows the keys and what they have used up.

    Without any key, everybody on this machine may do everything, if only this machine reaches
    the server.

    Args:
        ring: of the keys.
        settings: of the application.
        host: that Serve listens on; None if on none.
        tls_host: that the edge in front of Serve listens on; None without one.

    Raises:
        InvalidConfiguration: if other machines reach the server and there is no key. If the
            keys could not be read yet, nobody is let in until they are.
    """

    def __init__(
        self,
        ring: KeyRing,
        settings: ServeSettings,
        host: str | None,
        tls_host: str | None = None,
    ) -> None:
        self._ring = ring
        self._budgets = Budgets(settings)
        self._allowed_origins = settings.allowed_origins
        # What comes through the edge comes from loopback as well, and under any name.
        self._local = all(each is None or is_loopback(each) for each in (host, tls_host))
        with suppress(CatalogueUnavailable):  # each request asks again
            if not self._local and ring.empty:
                raise InvalidConfiguration(no_key(host, tls_host))

    async def authorise(
        self, headers: Mapping[str, str], need: Need, size_bytes: int = 0
    ) -> Caller:
        """Let a request in, and count it.

        Args:
            headers: of the request, or the metadata of a gRPC call; names in lower case.
            need: what the route or procedure takes: nothing, any key, or one with this role.
            size_bytes: of the body.

        Raises:
            Unauthenticated: if there is no valid key.
            Forbidden: if it lacks the role.
            RateLimited, BodyTooLarge: as `spend`.
            ForeignSite: if there are no keys, and a web page of another site asks or the server
                is called by another name than this machine's.
            CatalogueUnavailable: if the keys could not be read yet.
        """
        if need == "nothing":
            return Caller(None)
        if self._ring.empty and self._local:
            self._refuse_foreign(headers)
            return Caller(None)
        text = _key_in(headers)
        if not text:
            raise Unauthenticated(
                "This takes an API key. Send it as `Authorization: Bearer KEY` or `X-API-Key: "
                "KEY`; `dermserve keys create` makes one."
            )
        caller = Caller(await self._ring.find(text))
        if isinstance(need, Role) and caller.key is not None and need not in caller.key.roles:
            raise Forbidden(
                f"The API key {caller.key.id} lacks the role {need.value}. Ask the operator for a "
                "key that has it."
            )
        self.spend(caller, requests=1, size_bytes=size_bytes)
        return caller

    def spend(self, caller: Caller, *, requests: int = 0, size_bytes: int = 0) -> None:
        """Take requests and bytes out of the budget of a caller, if that has one.

        Raises:
            RateLimited: if it has not enough left.
            BodyTooLarge: if the bytes are more than it may send in a minute.
        """
        if caller.key is not None:
            self._budgets.spend(caller.key, requests=requests, size_bytes=size_bytes)

    def _refuse_foreign(self, headers: Mapping[str, str]) -> None:
        """Without keys, a page in this machine's browser must not reach what its site cannot."""
        host, origin = headers.get("host"), headers.get("origin")
        if host is not None and not _names_loopback(f"//{host}"):
            raise ForeignSite(
                "Without an API key, the server answers to the names of this machine only: call "
                "it 127.0.0.1 or localhost, or make a key with `dermserve keys create`."
            )
        if origin is None or origin in self._allowed_origins or _names_loopback(origin):
            return
        raise ForeignSite(
            "Without an API key, the server answers no web page of another site. Name its origin "
            "in allowed_origins, or make a key with `dermserve keys create`."
        )


def open_access(settings: ServeSettings) -> Access:
    """The access of a replica, from the catalogue and from how Serve listens; blocks.

    Raises:
        InvalidConfiguration: as `Access`.
    """
    from ray.serve.context import _get_global_client  # no public way leads to the HTTP options

    client = _get_global_client()
    if client is None:  # never, as it raises; to guess here would be to open the server
        raise InvalidConfiguration("Serve does not say what it listens on. Start the server again.")
    ring = KeyRing(Keys(Database()))
    ring.watch()
    return Access(ring, settings, client.http_config.host, tls_host_of(os.environ))


def _names_loopback(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _key_in(headers: Mapping[str, str]) -> str | None:
    authorization = headers.get("authorization")
    if authorization is not None and authorization[: len(_BEARER)].lower() == _BEARER:
        return authorization[len(_BEARER) :].strip()
    return headers.get("x-api-key")
