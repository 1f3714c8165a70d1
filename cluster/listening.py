"""What a server may listen on: other machines need a key, and encryption has its own setting."""

from __future__ import annotations

from typing import Any

from data.catalogue.database import Database
from data.catalogue.keys import Keys
from models.errors import InvalidConfiguration
from serve_app.access.reach import is_loopback, no_key


def check_listening(http_options: dict[str, Any], catalogue: str, *, haproxy: bool) -> None:
    """Refuse an address that must not be listened on.

    Args:
        http_options: of the Serve configuration.
        catalogue: address of it.
        haproxy: whether requests go through HAProxy.

    Raises:
        InvalidConfiguration: if other machines would reach the server and there is no key, or if
            HAProxy should encrypt.
        CatalogueUnavailable: if the keys cannot be read.
    """
    if haproxy and (http_options.get("ssl_certfile") or http_options.get("ssl_keyfile")):
        raise InvalidConfiguration(
            "With ssl_certfile in http_options, HAProxy would not understand the replicas, and no "
            "request would arrive. Leave ssl_certfile and ssl_keyfile out and name the certificate "
            "in DERMSERVE_TLS_CERTIFICATE, or let Ray's Python proxy encrypt: set "
            "RAY_SERVE_ENABLE_HA_PROXY=0."
        )
    host = str(http_options["host"])
    if is_loopback(host):
        return
    database = Database(catalogue)
    try:
        if not Keys(database).all():
            raise InvalidConfiguration(no_key(host))
    finally:
        database.close()
