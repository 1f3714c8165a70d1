"""The reach of a server: from this machine alone, or from others too, which takes API keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

TLS_CERTIFICATE_VARIABLE = "DERMSERVE_TLS_CERTIFICATE"
"""PEM file of the certificate and its chain, with the private key if that has no file."""

TLS_HOST_VARIABLE = "DERMSERVE_TLS_HOST"
"""Address that HTTPS is answered on; every one of this machine if not set."""

DEFAULT_TLS_HOST = "0.0.0.0"

_MAKE_ONE = "Make a key with `dermserve keys create --name NAME --role predict`, or set "


def tls_host_of(environment: Mapping[str, str]) -> str | None:
    """The address that HTTPS is answered on, in front of Serve; None without encryption there.

    Args:
        environment: of Ray's processes; `cluster/tls.py` checks all that it says of encryption.
    """
    if not environment.get(TLS_CERTIFICATE_VARIABLE):
        return None
    return environment.get(TLS_HOST_VARIABLE) or DEFAULT_TLS_HOST


def is_loopback(host: str) -> bool:
    """Whether a host to listen on, or to call, is reached from this machine alone."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def no_key(host: str | None, tls_host: str | None = None) -> str:
    """Why a server that other machines reach does not start without a key.

    Args:
        host: that Serve listens on; None if on none.
        tls_host: that the edge listens on; None without one.
    """
    if host is not None and not is_loopback(host):
        return (
            f"There is no API key yet, and the server listens on {host}, which other machines "
            f"reach. {_MAKE_ONE}`host: 127.0.0.1` in the http_options of the Serve configuration."
        )
    return (
        f"There is no API key yet, and HTTPS is answered on {tls_host}, which other machines "
        f"reach. {_MAKE_ONE}{TLS_HOST_VARIABLE}=127.0.0.1."
    )
