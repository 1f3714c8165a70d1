"""The TLS certificate: whether it can be used, until when, and whether it is the one in use."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import urlsplit

from cryptography import x509

from cluster.doctor.finding import Finding, not_checked, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen
from cluster.tls import Tls, pem_of, tls_of
from models.errors import InvalidConfiguration
from serve_app.access.reach import TLS_CERTIFICATE_VARIABLE, is_loopback

SOON_DAYS = 21
"""Left of a certificate, when it is time to renew it."""
_TIMEOUT_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class CertificateFacts:
    """What lies in the file, and what a client is shown."""

    now: datetime
    configured: bool
    public: bool
    """Whether HTTP without encryption is for other machines too."""
    problem: str | None = None
    """Why it cannot be used."""
    expires: datetime | None = None
    """Of the file."""
    served_expires: datetime | None = None
    """Of the certificate that HTTPS answers with."""
    unserved: str | None = None
    """Why that was not seen."""


def gather(surroundings: Surroundings) -> CertificateFacts:
    """Read the files that the environment names, and shake hands with the server."""
    now = datetime.now(timezone.utc)
    host = str(surroundings.declared.http_options.get("host", "127.0.0.1"))
    public = not is_loopback(host)
    try:
        tls = tls_of(surroundings.environment)
        if tls is None:
            return CertificateFacts(now, configured=False, public=public)
        pem = pem_of(tls, expired=True)
    except InvalidConfiguration as error:
        return CertificateFacts(now, configured=True, public=public, problem=error.message)
    expires = _expiry(pem)
    served, unserved = _served(tls, surroundings)
    return CertificateFacts(
        now,
        configured=True,
        public=public,
        expires=expires,
        served_expires=served,
        unserved=unserved,
    )


def check(facts: CertificateFacts) -> list[Finding]:
    """Judge the certificate by the calendar."""
    if not facts.configured:
        if facts.public:
            return [
                warning(
                    "Requests of other machines, and their API keys, are not encrypted.",
                    f"Set {TLS_CERTIFICATE_VARIABLE}, or let only a proxy with TLS reach the "
                    "server.",
                )
            ]
        return [ok("There is no certificate, and HTTP is for this machine alone.")]
    if facts.problem is not None or facts.expires is None:
        return [wrong(facts.problem or "The certificate tells no expiry.", "Correct the file.")]
    found = [_calendar("The certificate", facts.expires, facts.now, "Renew it.")]
    if facts.unserved is not None:
        found.append(not_checked(f"Which certificate is in use is not known. {facts.unserved}"))
    elif facts.served_expires is not None and facts.served_expires != facts.expires:
        restart = "Restart the server, or change its replicas, so that HAProxy reads the file."
        found.append(
            _calendar(
                "HAProxy still has another certificate, which",
                facts.served_expires,
                facts.now,
                restart,
            )
        )
        if found[-1].verdict == "ok":
            found[-1] = warning(found[-1].message, restart)
    return found


def _calendar(what: str, expires: datetime, now: datetime, mend: str) -> Finding:
    days = (expires - now).total_seconds() / 86_400
    if days < 0:
        return wrong(f"{what} expired on {expires:%Y-%m-%d}.", mend)
    said = f"{what} expires on {expires:%Y-%m-%d}, in {days:.0f} days."
    return warning(said, mend) if days < SOON_DAYS else ok(said)


def _served(tls: Tls, surroundings: Surroundings) -> tuple[datetime | None, str | None]:
    if isinstance(surroundings.health, Unseen):
        return None, str(surroundings.health)
    host = urlsplit(surroundings.url).hostname or ""
    host = _EVERYWHERE.get(tls.host, tls.host) if is_loopback(host) else host
    try:
        # Not verified: whether others trust it is not what is asked here.
        pem = ssl.get_server_certificate((host, tls.port), timeout=_TIMEOUT_S)
    except (OSError, ValueError) as error:
        return None, f"HTTPS on port {tls.port} does not answer ({type(error).__name__})."
    return _expiry(pem.encode()), None


def _expiry(pem: bytes) -> datetime:
    return x509.load_pem_x509_certificates(pem)[0].not_valid_after_utc


SUBJECT = Subject("TLS", gather, check)
