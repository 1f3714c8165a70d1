"""What a server may listen on: other machines need a key, and HAProxy a certificate of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.listening import check_listening
from cluster.server import LocalServer
from data.catalogue.api_key import Role
from data.catalogue.database import CATALOGUE_VARIABLE, Database
from data.catalogue.keys import Keys
from models.errors import CatalogueUnavailable, InvalidConfiguration
from serve_app.access.reach import TLS_CERTIFICATE_VARIABLE
from tests.conftest import PROJECT, free_port


@pytest.fixture
def catalogue(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/catalogue.db"


def _create_key(catalogue: str) -> str:
    database = Database(catalogue)
    created = Keys(database).create("a test", [Role.PREDICT], "test")
    database.close()
    return created.key.id


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "dermserve.example", ""])
def test_other_machines_need_a_key(catalogue: str, host: str) -> None:
    with pytest.raises(InvalidConfiguration) as refused:
        check_listening({"host": host}, catalogue, haproxy=True)
    assert "dermserve keys create" in refused.value.message
    assert "host: 127.0.0.1" in refused.value.message
    _create_key(catalogue)
    check_listening({"host": host}, catalogue, haproxy=True)


def test_a_revoked_key_lets_a_server_start_closed(catalogue: str) -> None:
    database = Database(catalogue)
    Keys(database).revoke(_create_key(catalogue), "test")
    database.close()
    check_listening({"host": "0.0.0.0"}, catalogue, haproxy=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_this_machine_alone_needs_none_and_no_catalogue(tmp_path: Path, host: str) -> None:
    check_listening({"host": host}, f"sqlite:///{tmp_path}/catalogue.db", haproxy=True)
    assert list(tmp_path.iterdir()) == []


def test_a_catalogue_that_cannot_be_read_opens_nothing(tmp_path: Path) -> None:
    (tmp_path / "catalogue.db").write_text("no database")
    with pytest.raises(CatalogueUnavailable):
        check_listening({"host": "::"}, f"sqlite:///{tmp_path}/catalogue.db", haproxy=True)


@pytest.mark.parametrize("name", ["ssl_certfile", "ssl_keyfile"])
def test_serves_own_certificate_is_not_for_haproxy(catalogue: str, name: str) -> None:
    options: dict[str, Any] = {"host": "127.0.0.1", name: "/etc/ssl/server.pem"}
    with pytest.raises(
        InvalidConfiguration, match=r"DERMSERVE_TLS_CERTIFICATE.*RAY_SERVE_ENABLE_HA_PROXY=0"
    ):
        check_listening(options, catalogue, haproxy=True)
    check_listening(options, catalogue, haproxy=False)


def test_a_public_server_without_a_key_is_refused_before_ray_starts(
    tmp_path: Path, catalogue: str
) -> None:
    document = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    document["http_options"]["host"] = "0.0.0.0"
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump(document))
    server = LocalServer(
        path,
        port=free_port(),
        grpc_port=free_port(),
        dashboard_port=free_port(),
        environment={CATALOGUE_VARIABLE: catalogue},
    )
    with pytest.raises(InvalidConfiguration, match=re.escape("listens on 0.0.0.0")):
        server.__enter__()


def test_a_certificate_that_cannot_be_used_is_told_before_ray_starts(
    tmp_path: Path, catalogue: str
) -> None:
    server = LocalServer(
        PROJECT / "serve_config.yaml",
        port=free_port(),
        grpc_port=free_port(),
        dashboard_port=free_port(),
        environment={
            CATALOGUE_VARIABLE: catalogue,
            TLS_CERTIFICATE_VARIABLE: str(tmp_path / "none.pem"),
            "RAY_SERVE_ENABLE_HA_PROXY": "1",
        },
    )
    with pytest.raises(InvalidConfiguration, match=r"none\.pem"):
        server.__enter__()
