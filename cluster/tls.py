"""Encryption at the edge: where the certificate lies, and whether it is one to start with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from models.errors import InvalidConfiguration

# Each replica goes by these as well: what HTTPS is answered on decides whether keys are needed.
from serve_app.access.reach import (
    TLS_CERTIFICATE_VARIABLE,
    TLS_HOST_VARIABLE,
    is_loopback,
    no_key,
    tls_host_of,
)

KEY_VARIABLE = "DERMSERVE_TLS_KEY"
"""PEM file of the private key, if the certificate's file has it not."""

PORT_VARIABLE = "DERMSERVE_TLS_PORT"
"""Port of HTTPS, and of gRPC over TLS; 8443 if not set."""

DEFAULT_PORT = 8443

_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.+?-----END \1-----", re.DOTALL)
_UNQUOTABLE = re.compile(r"['\x00-\x1f]")
_HOST = re.compile(r"[0-9A-Za-z.:-]+")


@dataclass(frozen=True, slots=True)
class Tls:
    """What HAProxy needs to encrypt."""

    certificate: Path
    key: Path | None
    """None if the certificate's file has it."""
    host: str
    port: int


def tls_of(environment: Mapping[str, str]) -> Tls | None:
    """What an environment says about encryption; None if there is to be none.

    Raises:
        InvalidConfiguration: if it cannot be meant so.
    """
    host = tls_host_of(environment)
    if host is None:
        for variable in (KEY_VARIABLE, TLS_HOST_VARIABLE, PORT_VARIABLE):
            if environment.get(variable):
                raise InvalidConfiguration(
                    f"{variable} is set, and {TLS_CERTIFICATE_VARIABLE} is not: nothing would be "
                    "encrypted. Name the certificate's file, or unset both."
                )
        return None
    port = environment.get(PORT_VARIABLE) or str(DEFAULT_PORT)
    if not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InvalidConfiguration(f"{PORT_VARIABLE} must be a port, and is {port!r:.50}.")
    if not _HOST.fullmatch(host):
        raise InvalidConfiguration(f"{TLS_HOST_VARIABLE} must be an address, and is {host!r:.50}.")
    certificate, key = environment[TLS_CERTIFICATE_VARIABLE], environment.get(KEY_VARIABLE)
    if _UNQUOTABLE.search(certificate):
        raise InvalidConfiguration(
            f"{TLS_CERTIFICATE_VARIABLE} has a quote or a line break in its path. Rename the file."
        )
    return Tls(
        certificate=Path(certificate).absolute(),
        key=Path(key).absolute() if key else None,
        host=host,
        port=int(port),
    )


def check_tls(environment: Mapping[str, str], catalogue: str | None = None) -> Tls | None:
    """What an environment says about encryption, once a server may start with it.

    Args:
        environment: of Ray's processes.
        catalogue: address of it; None is the one of this process.

    Raises:
        InvalidConfiguration: if the certificate or its key cannot be used, or if other machines
            would reach the server and there is no API key, or if HAProxy does not run.
        CatalogueUnavailable: if the API keys cannot be read.
    """
    tls = tls_of(environment)
    if tls is None:
        return None
    if environment.get("RAY_SERVE_ENABLE_HA_PROXY") == "0":
        raise InvalidConfiguration(
            f"{TLS_CERTIFICATE_VARIABLE} is set, and it is HAProxy that encrypts, which is "
            "switched off or does not run here. Set RAY_SERVE_ENABLE_HA_PROXY=1, or put a proxy "
            "with TLS in front."
        )
    pem_of(tls)
    # Here, because HAProxy waits for this module at every change of replicas.
    from data.catalogue.database import Database
    from data.catalogue.keys import Keys

    if not is_loopback(tls.host):
        database = Database(catalogue)
        try:
            if not Keys(database).all():
                raise InvalidConfiguration(no_key(None, tls.host))
        finally:
            database.close()
    return tls


def pem_of(tls: Tls, *, expired: bool = False) -> bytes:
    """The certificate, its chain and its key, as HAProxy reads them.

    Args:
        tls: names the files.
        expired: whether one that is no longer valid will do.

    Raises:
        InvalidConfiguration: if a file cannot be read, is no such thing, does not fit the other
            or is not valid today.
    """
    chain = _read(tls.certificate, TLS_CERTIFICATE_VARIABLE)
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise InvalidConfiguration(
            f"{tls.certificate} ({TLS_CERTIFICATE_VARIABLE}) holds no certificate in PEM form."
        ) from error
    holder, variable = (
        (tls.certificate, TLS_CERTIFICATE_VARIABLE) if tls.key is None else (tls.key, KEY_VARIABLE)
    )
    found = _PRIVATE_KEY.search(chain if tls.key is None else _read(tls.key, KEY_VARIABLE))
    if found is None:
        raise InvalidConfiguration(
            f"{holder} ({variable}) holds no private key in PEM form. Add it to the certificate's "
            f"file, or name its own with {KEY_VARIABLE}."
        )
    try:
        key = load_pem_private_key(found[0], password=None)
    except (TypeError, ValueError) as error:  # TypeError: it has a password
        raise InvalidConfiguration(
            f"The private key in {holder} ({variable}) is damaged or has a password. Give one "
            "without, in a file that only this user may read."
        ) from error
    if certificate.public_key() != key.public_key():
        raise InvalidConfiguration(
            f"The private key in {holder} ({variable}) is not that of the certificate in "
            f"{tls.certificate}. The server's own certificate must be the first in its file."
        )
    _require_valid(certificate, tls.certificate, expired=expired)
    return chain if tls.key is None else chain.rstrip() + b"\n" + found[0] + b"\n"


def _require_valid(certificate: x509.Certificate, path: Path, *, expired: bool) -> None:
    now = datetime.now(timezone.utc)
    if now < certificate.not_valid_before_utc:
        raise InvalidConfiguration(
            f"The certificate in {path} is valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            "on only. Use another one, or set this machine's clock."
        )
    if now > certificate.not_valid_after_utc and not expired:
        raise InvalidConfiguration(
            f"The certificate in {path} expired on {certificate.not_valid_after_utc:%Y-%m-%d}. "
            "Renew it."
        )


def _read(path: Path, variable: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidConfiguration(
            f"{path} ({variable}) cannot be read: {error.strerror}."
        ) from error
