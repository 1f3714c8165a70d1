"""Encryption at the edge: what is checked before a start, and what HAProxy then answers."""

from __future__ import annotations

import re
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from cluster.edge import amend
from cluster.environment import haproxy_problem
from cluster.server import LocalServer
from cluster.tls import (
    DEFAULT_PORT,
    KEY_VARIABLE,
    PORT_VARIABLE,
    check_tls,
    pem_of,
    tls_of,
)
from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from models.errors import InvalidConfiguration
from serve_app.access.reach import DEFAULT_TLS_HOST, TLS_CERTIFICATE_VARIABLE, TLS_HOST_VARIABLE
from tests.cluster.certificates import Certificate, make_certificate, with_password
from tests.cluster.test_edge import haproxy, rays_configuration
from tests.conftest import PROJECT, free_port

needs_haproxy = pytest.mark.skipif(
    haproxy_problem() is not None, reason=f"HAProxy does not run: {haproxy_problem()}"
)


@pytest.fixture(scope="module")
def certificate() -> Certificate:
    return make_certificate()


def on_loopback(path: Path, **others: str) -> dict[str, str]:
    return {TLS_CERTIFICATE_VARIABLE: str(path), TLS_HOST_VARIABLE: "127.0.0.1", **others}


@needs_haproxy
def test_a_client_that_verifies_is_answered(certificate: Certificate, tmp_path: Path) -> None:
    port = free_port()
    trusted = ssl.create_default_context(cadata=certificate.certificate.decode())
    variables = on_loopback(certificate.write(tmp_path), **{PORT_VARIABLE: str(port)})
    with haproxy(tmp_path, max_requests=2, environment=variables) as (plain, _, _):
        url = f"https://127.0.0.1:{port}/health/live"
        assert httpx.get(url, verify=trusted).text == "ok"
        with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
            httpx.get(url)
        # What is not encrypted stays where it was, and gets no answer on this port.
        assert plain.get("/health/live").text == "ok"
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{port}/health/live")


@needs_haproxy
def test_old_versions_are_refused_and_http2_is_spoken(
    certificate: Certificate, tmp_path: Path
) -> None:
    port = free_port()
    variables = on_loopback(certificate.write(tmp_path), **{PORT_VARIABLE: str(port)})

    def connect(version: ssl.TLSVersion) -> tuple[str | None, str | None]:
        context = ssl.create_default_context(cadata=certificate.certificate.decode())
        context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is not the client who refuses
        context.minimum_version = context.maximum_version = version
        context.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", port)) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            return secured.version(), secured.selected_alpn_protocol()

    with haproxy(tmp_path, max_requests=2, environment=variables):
        assert connect(ssl.TLSVersion.TLSv1_3) == ("TLSv1.3", "h2")
        assert connect(ssl.TLSVersion.TLSv1_2) == ("TLSv1.2", "h2")
        with (
            pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"),
            pytest.raises(ssl.SSLError, match=r"(?i)version"),
        ):
            connect(ssl.TLSVersion.TLSv1_1)


@needs_haproxy
def test_a_key_may_have_a_file_of_its_own(certificate: Certificate, tmp_path: Path) -> None:
    (tmp_path / "chain.pem").write_bytes(certificate.certificate)
    (tmp_path / "secret").write_bytes(certificate.key)
    port = free_port()
    variables = on_loopback(
        tmp_path / "chain.pem",
        **{PORT_VARIABLE: str(port), KEY_VARIABLE: str(tmp_path / "secret")},
    )
    trusted = ssl.create_default_context(cadata=certificate.certificate.decode())
    with haproxy(tmp_path, max_requests=2, environment=variables):
        assert httpx.get(f"https://127.0.0.1:{port}/", verify=trusted).text == "ok"
    # HAProxy wants both in one file; nobody else may read that.
    assert stat.S_IMODE((tmp_path / "edge.pem").stat().st_mode) == 0o600


@needs_haproxy
def test_the_edge_does_not_start_with_an_expired_one(tmp_path: Path) -> None:
    path = rays_configuration(tmp_path, free_port(), free_port(), free_port(), free_port())
    before = path.read_text()
    expired = make_certificate(starts_in=timedelta(days=-2), ends_in=timedelta(days=-1))
    result = subprocess.run(
        [sys.executable, "-m", "cluster.edge", "-db", "-f", str(path)],
        env=on_loopback(expired.write(tmp_path)),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert result.returncode == 1
    assert re.fullmatch(r"The certificate in \S+ expired on [\d-]+\. Renew it\.\n", result.stderr)
    assert path.read_text() == before


def test_a_running_server_takes_new_replicas_with_an_expired_one(tmp_path: Path) -> None:
    expired = make_certificate(starts_in=timedelta(days=-2), ends_in=timedelta(days=-1))
    tls = tls_of(on_loopback(expired.write(tmp_path)))
    assert tls is not None
    assert pem_of(tls, expired=True) == expired.certificate + expired.key


def test_grpc_comes_encrypted_on_the_same_port(certificate: Certificate, tmp_path: Path) -> None:
    text = rays_configuration(tmp_path, 1, 2, 3, 4).read_text()
    text += "frontend grpc_frontend\n    default_backend grpc-dermserve\n"
    tls = tls_of(on_loopback(certificate.write(tmp_path)))
    assert tls is not None
    amended = amend(
        text,
        max_requests=8,
        admin_host="127.0.0.1",
        tls=tls,
        pem=tmp_path / "server.pem",
    )
    rules = [
        line.strip()
        for line in amended.splitlines()
        if " use_backend http-" in line or " use_backend grpc-" in line
    ]
    # The first that fits decides.
    assert rules[0].startswith("use_backend grpc-dermserve if { ssl_fc } ")
    assert rules[1] == "use_backend http-dermserve if is_http-dermserve"
    plain = amend(text, max_requests=8, admin_host="127.0.0.1")
    assert "ssl" not in plain


def _separate(certificate: Certificate, key: bytes) -> Callable[[Path], dict[str, str]]:
    def write(folder: Path) -> dict[str, str]:
        (folder / "chain.pem").write_bytes(certificate.certificate)
        (folder / "key.pem").write_bytes(key)
        return {
            TLS_CERTIFICATE_VARIABLE: str(folder / "chain.pem"),
            KEY_VARIABLE: str(folder / "key.pem"),
        }

    return write


def _file(content: bytes) -> Callable[[Path], dict[str, str]]:
    def write(folder: Path) -> dict[str, str]:
        (folder / "server.pem").write_bytes(content)
        return {TLS_CERTIFICATE_VARIABLE: str(folder / "server.pem")}

    return write


ONE, OTHER = make_certificate(), make_certificate()
TOMORROW = make_certificate(starts_in=timedelta(days=1), ends_in=timedelta(days=2))


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda folder: {TLS_CERTIFICATE_VARIABLE: str(folder / "none.pem")}, "cannot be read: No"),
        (lambda folder: {TLS_CERTIFICATE_VARIABLE: str(folder)}, "cannot be read: Is a directory"),
        (_file(b""), "holds no certificate"),
        (_file(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "no certif"),
        (_file(ONE.key), "holds no certificate"),
        (_file(ONE.certificate), "holds no private key"),
        (_file(ONE.certificate + OTHER.key), "is not that of the certificate"),
        (_file(OTHER.certificate + ONE.certificate + ONE.key), "must be the first"),
        (_file(ONE.certificate + with_password(ONE.key)), "has a password"),
        (_file(ONE.certificate + ONE.key.replace(b"M", b"N", 1)), "is damaged"),
        (_file(TOMORROW.certificate + TOMORROW.key), "is valid from"),
        (_separate(ONE, OTHER.key), "is not that of the certificate"),
        (_separate(ONE, b""), "holds no private key"),
        (lambda folder: {KEY_VARIABLE: str(folder)}, "nothing would be encrypted"),
        (lambda folder: {PORT_VARIABLE: "8443"}, "nothing would be encrypted"),
        (lambda folder: {TLS_HOST_VARIABLE: "0.0.0.0"}, "nothing would be encrypted"),
        (lambda folder: _file(ONE.certificate)(folder) | {PORT_VARIABLE: "0"}, "must be a port"),
        (lambda folder: _file(ONE.certificate)(folder) | {PORT_VARIABLE: "x"}, "must be a port"),
        (lambda folder: _file(b"")(folder) | {TLS_HOST_VARIABLE: "a b"}, "must be an address"),
        (lambda folder: {TLS_CERTIFICATE_VARIABLE: "a'b.pem"}, "a quote or a line break"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    write: Callable[[Path], dict[str, str]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidConfiguration, match=said) as refused:
        check_tls(write(tmp_path))
    assert "PRIVATE" not in refused.value.message


def test_a_server_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TLS_CERTIFICATE_VARIABLE, str(tmp_path / "none.pem"))
    server = LocalServer(
        PROJECT / "serve_config.yaml", port=free_port(), dashboard_port=free_port()
    )
    with pytest.raises(InvalidConfiguration, match=r"none\.pem .* cannot be read"):
        server.__enter__()


def test_other_machines_need_a_key(certificate: Certificate, tmp_path: Path) -> None:
    catalogue = f"sqlite:///{tmp_path}/catalogue.db"
    variables = {TLS_CERTIFICATE_VARIABLE: str(certificate.write(tmp_path))}
    with pytest.raises(InvalidConfiguration, match="no API key yet"):
        check_tls(variables, catalogue)
    assert check_tls({**variables, TLS_HOST_VARIABLE: "127.0.0.1"}, catalogue) is not None
    database = Database(catalogue)
    Keys(database).create("ward", [Role.PREDICT], "test")
    database.close()
    tls = check_tls(variables, catalogue)
    assert tls is not None
    assert (tls.host, tls.port) == (DEFAULT_TLS_HOST, DEFAULT_PORT)


def test_nothing_but_haproxy_encrypts(certificate: Certificate, tmp_path: Path) -> None:
    variables = on_loopback(certificate.write(tmp_path), RAY_SERVE_ENABLE_HA_PROXY="0")
    with pytest.raises(InvalidConfiguration, match="HAProxy that encrypts"):
        check_tls(variables)


def test_without_a_certificate_nothing_is_encrypted() -> None:
    assert check_tls({}) is None
