"""Certificates for tests: made in a moment, for 127.0.0.1 and localhost."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_ENCODING = serialization.Encoding.PEM
_FORMAT = serialization.PrivateFormat.PKCS8


@dataclass(frozen=True)
class Certificate:
    """A certificate that signs itself, and its key, in PEM form."""

    certificate: bytes
    key: bytes

    def write(self, folder: Path) -> Path:
        """Both in one file."""
        path = folder / "server.pem"
        path.write_bytes(self.certificate + self.key)
        return path


def make_certificate(
    *, starts_in: timedelta = timedelta(days=-1), ends_in: timedelta = timedelta(days=1)
) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts_in)
        .not_valid_after(now + ends_in)
        .sign(key, hashes.SHA256())
    )
    return Certificate(
        certificate.public_bytes(_ENCODING),
        key.private_bytes(_ENCODING, _FORMAT, serialization.NoEncryption()),
    )


def with_password(key: bytes) -> bytes:
    loaded = serialization.load_pem_private_key(key, None)
    return loaded.private_bytes(_ENCODING, _FORMAT, serialization.BestAvailableEncryption(b"x"))
