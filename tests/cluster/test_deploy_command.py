"""`dermserve deploy`: to a running server, and to none."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import httpx
import yaml

from cluster.server import LocalServer
from tests.cluster.command_line import Shell
from tests.conftest import PROJECT, free_port


def test_nobody_listens(shell: Shell) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    ended = shell("deploy", PROJECT / "serve_config.yaml", "--dashboard", url)
    assert ended.code == 3
    assert url in ended.err
    assert "Traceback" not in ended.err


def test_a_broken_file_is_told_before_anybody_is_asked(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("applications: [{name: dermserve, import_path: a:b, rout_prefix: /}]")
    ended = shell("deploy", path, "--dashboard", "http://127.0.0.1:1")
    assert ended.code == 2
    assert "rout_prefix" in ended.err
    assert shell("deploy", tmp_path / "none.yaml").code == 1


def test_a_number_changes_without_a_restart_and_the_model_stays(
    shell: Shell, server: LocalServer, serve_config_file: Path, tmp_path: Path
) -> None:
    def classifier() -> Any:
        return server._client().get_serve_details()["applications"]["dermserve"]["deployments"][
            "classifier"
        ]

    def put(document: dict[str, Any], *options: str) -> Any:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(document))
        return shell("deploy", path, "--dashboard", server.dashboard_url, *options)

    document = yaml.safe_load(serve_config_file.read_text())
    before = classifier()["replicas"][0]["replica_id"]
    changed = copy.deepcopy(document)
    changed["applications"][0]["deployments"][2]["autoscaling_config"]["downscale_delay_s"] = 61
    dry = put(changed, "--dry-run")
    assert (dry.code, "Nothing was sent" in dry.err) == (0, True)
    assert "http_options.port stays" in dry.err
    block = classifier()["deployment_config"]["autoscaling_config"]
    assert block["downscale_delay_s"] == 60

    ended = put(changed)
    assert ended.code == 0, ended.err
    assert "Running: dermserve, trainer." in ended.out
    block = classifier()["deployment_config"]["autoscaling_config"]
    assert block["downscale_delay_s"] == 61
    assert classifier()["replicas"][0]["replica_id"] == before

    pinned = copy.deepcopy(document)
    pinned["applications"][0]["deployments"][2]["user_config"] = {"model": "1"}
    refused = put(pinned)
    assert refused.code == 5
    assert "--pin" in refused.err

    assert put(document).code == 0
    assert classifier()["replicas"][0]["replica_id"] == before
    assert httpx.get(f"{server.url}/health/ready").status_code == 200


def test_an_application_that_does_not_start_says_why(
    shell: Shell, server: LocalServer, serve_config_file: Path, tmp_path: Path
) -> None:
    """The trainer's arguments are read when it starts; the server goes on without it."""
    document = yaml.safe_load(serve_config_file.read_text())
    broken = copy.deepcopy(document)
    broken["applications"][1]["args"] = {"promotion": str(tmp_path / "none.yaml")}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(broken))
    try:
        ended = shell("deploy", path, "--dashboard", server.dashboard_url, "--timeout", 90)
        assert ended.code == 1
        assert "The application trainer did not start (DEPLOY_FAILED)" in ended.err
        assert "none.yaml cannot be read" in ended.err
        assert httpx.get(f"{server.url}/health/ready").status_code == 200
    finally:
        server.deploy()
        server.wait_until_ready(timeout_s=60)
