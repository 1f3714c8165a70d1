"""The TLS certificate, by the calendar, and as HTTPS shows it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster.doctor.certificate import CertificateFacts, check, gather
from cluster.doctor.surroundings import Health, Surroundings
from cluster.doctor.unseen import Unseen
from cluster.tls import PORT_VARIABLE
from serve_app.access.reach import TLS_CERTIFICATE_VARIABLE, TLS_HOST_VARIABLE
from tests.cluster.certificates import make_certificate
from tests.cluster.doctor.found import one, verdicts
from tests.http_server import serving

NOW = datetime(2026, 11, 27, tzinfo=timezone.utc)
GOOD = CertificateFacts(
    NOW,
    configured=True,
    public=True,
    expires=NOW + timedelta(days=80),
    served_expires=NOW + timedelta(days=80),
)


def test_a_good_one() -> None:
    assert verdicts(check(GOOD)) == ["ok"]


def test_none() -> None:
    none = CertificateFacts(NOW, configured=False, public=False)
    assert verdicts(check(none)) == ["ok"]
    assert "not encrypted" in one(check(replace(none, public=True)), "warning").message


def test_one_that_cannot_be_used() -> None:
    facts = replace(GOOD, expires=None, problem="/etc/a.pem cannot be read.")
    assert "/etc/a.pem" in one(check(facts), "wrong").message


@pytest.mark.parametrize(("days", "verdict"), [(-1, "wrong"), (5, "warning"), (22, "ok")])
def test_the_calendar(days: int, verdict: str) -> None:
    expires = NOW + timedelta(days=days)
    assert verdicts(check(replace(GOOD, expires=expires, served_expires=expires))) == [verdict]


def test_a_renewed_one_that_haproxy_has_not_read() -> None:
    old = replace(GOOD, served_expires=NOW - timedelta(days=1))
    assert "HAProxy still has another" in one(check(old), "wrong").message
    assert one(check(replace(GOOD, served_expires=NOW + timedelta(days=60))), "warning")


def test_https_that_does_not_answer() -> None:
    facts = replace(GOOD, served_expires=None, unserved="HTTPS on port 8443 does not answer.")
    assert verdicts(check(facts)) == ["ok", "not checked"]


@pytest.fixture
def https(tmp_path: Path) -> Iterator[int]:
    """The port of an HTTPS server whose certificate lasts three days."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(make_certificate(ends_in=timedelta(days=3)).write(tmp_path))
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server.server_port


def _surroundings(certificate: Path, port: int) -> Surroundings:
    return Surroundings(
        Path("serve_config.yaml"),
        {"applications": []},
        "http://127.0.0.1:8000",
        False,
        {
            TLS_CERTIFICATE_VARIABLE: str(certificate),
            TLS_HOST_VARIABLE: "0.0.0.0",
            PORT_VARIABLE: str(port),
        },
        Health(200, {}),
        Unseen("no"),
        Unseen("no"),
    )


def test_a_handshake_shows_the_one_in_use(https: int, tmp_path: Path) -> None:
    in_use = tmp_path / "server.pem"
    facts = gather(_surroundings(in_use, https))
    assert facts.served_expires == facts.expires
    assert verdicts(check(facts)) == ["warning"]  # three days
    renewed = tmp_path / "renewed"
    renewed.mkdir()
    path = make_certificate(ends_in=timedelta(days=90)).write(renewed)
    facts = gather(_surroundings(path, https))
    assert verdicts(check(facts)) == ["ok", "warning"]


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    facts = gather(_surroundings(tmp_path / "none.pem", 1))
    assert "none.pem" in one(check(facts), "wrong").message


def test_one_that_has_expired(tmp_path: Path) -> None:
    path = make_certificate(starts_in=timedelta(days=-3), ends_in=timedelta(days=-1)).write(
        tmp_path
    )
    found = check(gather(_surroundings(path, 1)))
    assert verdicts(found) == ["wrong", "not checked"]
