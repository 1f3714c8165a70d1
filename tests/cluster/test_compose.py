"""The compose files: valid by the Compose specification, closed by default, and in step."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from serve_app.settings import ServeSettings
from tests.conftest import PROJECT

MAIN = PROJECT / "docker-compose.yml"
DOCKER = PROJECT / "cluster" / "docker"
OVERLAYS = sorted(DOCKER.glob("*.compose.yml"))
PUBLISHED = {"head": {8000, 9000}, "dashboard": {8501}, "prometheus": {9090}, "grafana": {3000}} | {
    "locust": {8089}
}


def _read(path: Path) -> Any:
    """A compose file with the defaults of its variables in place, and without anchors."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", path.read_text())
    assert "${" not in text, "a variable without a default"
    return yaml.safe_load(text)


@pytest.fixture
def document() -> Any:
    return _read(MAIN)


@pytest.fixture
def services(document: Any) -> dict[str, Any]:
    found: dict[str, Any] = document["services"]
    return found


@pytest.mark.parametrize("path", [MAIN, *OVERLAYS], ids=lambda path: path.name)
def test_it_is_valid_by_the_specification(path: Path) -> None:
    PyCompose.from_yaml(yaml.safe_dump(_read(path)))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(servces={}), "servces"),
        (lambda d: d["services"]["head"].update(prots=[]), "prots"),
        (lambda d: d["services"]["mlflow"]["healthcheck"].update(interval="5 parsecs"), "parsecs"),
        (lambda d: d["services"]["worker"]["depends_on"]["head"].update(condition="x"), "service_"),
    ],
)
def test_the_validator_finds_what_is_not(
    document: Any, change: Callable[[Any], None], named: str
) -> None:
    change(document)
    with pytest.raises(ValueError, match=named):
        PyCompose.from_yaml(yaml.safe_dump(document))


@cache
def _compose() -> list[str] | None:
    """The command of a real Compose, of version 2 or newer; None if there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            said = subprocess.run([*command, "version"], capture_output=True, text=True).stdout
            if re.search(r"version v?([2-9]|\d\d)\.", said):
                return command
    return None


@pytest.mark.parametrize("overlays", [(), *((each,) for each in OVERLAYS)], ids=str)
def test_compose_itself_takes_it(overlays: tuple[Path, ...], tmp_path: Path) -> None:
    command = _compose()
    if command is None:
        pytest.skip("there is no Compose of version 2 here")
    files = [f"--file={path}" for path in (MAIN, *overlays)]
    result = subprocess.run(
        [*command, *files, "--profile=load", "--profile=tools", "config", "--quiet"],
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")


def test_what_is_published_is_published_on_loopback(services: dict[str, Any]) -> None:
    found = {}
    for name, service in services.items():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1", name
            assert outside == inside
            found.setdefault(name, set()).add(int(inside))
    assert found == PUBLISHED


def test_every_container_is_shut_in(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service, name
        assert "/var/run/docker.sock" not in str(service), name


def test_every_service_says_how_it_is(services: dict[str, Any]) -> None:
    built = {"head", "dashboard", "locust"}  # their images have a check
    without = {name for name, each in services.items() if "healthcheck" not in each}
    assert without == built


def test_nodes_database_and_registry_are_in_a_network_without_a_way_out(document: Any) -> None:
    assert document["networks"]["cluster"]["internal"] is True
    networks = {name: set(each["networks"]) for name, each in document["services"].items()}
    assert [
        name for name in ("worker", "postgres", "mlflow") if networks[name] != {"cluster"}
    ] == []
    assert all(networks[name] == {"edge"} for name in ("dashboard", "grafana", "locust"))


def test_a_worker_joins_the_head_and_can_be_many(services: dict[str, Any]) -> None:
    head, worker = services["head"], services["worker"]
    address = head["networks"]["cluster"]["ipv4_address"]
    assert head["environment"]["DERMSERVE_NODE_IP"] == address
    assert worker["command"] == ["dermserve", "node", "--address", f"{address}:6379"]
    # What would be the same for each of several.
    assert not worker.keys() & {"container_name", "ports", "hostname"}
    assert "ipv4_address" not in str(worker["networks"])
    assert worker["image"] == head["image"]
    for variable in ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_TOKEN_PATH"):
        assert worker["environment"][variable] == head["environment"][variable]
    assert head["environment"]["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "1"


def test_all_nodes_have_the_same_places(services: dict[str, Any]) -> None:
    names = ("DERMSERVE_CATALOGUE", "DERMSERVE_REGISTRY", "DERMSERVE_IMAGES", "DERMSERVE_RUNS")
    for name in names:
        assert len({services[each]["environment"][name] for each in ("head", "worker", "cli")}) == 1
    for name in ("DERMSERVE_IMAGES", "DERMSERVE_RUNS"):
        place = services["head"]["environment"][name]
        for each in ("head", "worker", "cli"):
            mounted = [volume.split(":")[1] for volume in services[each]["volumes"]]
            assert any(place.startswith(f"{path}/") for path in mounted), each
    assert services["postgres"]["environment"]["POSTGRES_USER"] == "dermserve"
    assert services["postgres"]["environment"]["POSTGRES_DB"] == "dermserve"
    assert "CREATE DATABASE mlflow;" in (DOCKER / "postgres.sql").read_text()


def test_no_secret_stands_in_it(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|TOKEN|KEY", name):
                assert not value or value.startswith("/run/secrets/"), name
        assert not re.search(r"://\w+:\w+@", str(service))


def test_every_secret_that_a_service_reads_is_its_own(document: Any) -> None:
    for name, service in document["services"].items():
        read = set(re.findall(r"/run/secrets/([\w.]+)", str(service)))
        assert read <= set(service.get("secrets", [])) <= document["secrets"].keys(), name


def test_its_configuration_lets_other_containers_in(services: dict[str, Any]) -> None:
    config = services["head"]["command"][-1]
    assert yaml.safe_load((PROJECT / config).read_text())["http_options"]["host"] == "0.0.0.0"


def test_the_object_store_and_the_images_in_flight_fit_into_shared_memory(
    services: dict[str, Any],
) -> None:
    size = services["head"]["shm_size"]
    assert size == "2gb"
    assert 2 * ServeSettings().max_waiting_bytes <= 2 * 2**30


def test_the_builds_name_files_and_targets_that_exist(services: dict[str, Any]) -> None:
    builds = [each["build"] for each in services.values() if "build" in each]
    assert len(builds) >= 3
    for build in builds:
        text = (PROJECT / build["dockerfile"]).read_text()
        if "target" in build:
            assert f" AS {build['target']}\n" in text


def test_images_of_others_are_pinned(services: dict[str, Any]) -> None:
    others = {each["image"] for each in services.values() if "build" not in each}
    assert len(others) == 3
    assert all(re.search(r":v?\d+(\.\d+)*(-\w+)?$", image) for image in others)


def test_prometheus_scrapes_as_beside_a_server() -> None:
    other = PROJECT / "cluster" / "monitoring" / "prometheus.yml"
    if not other.exists():
        pytest.skip("there is no cluster/monitoring/prometheus.yml")
    ours, theirs = (yaml.safe_load(path.read_text()) for path in (DOCKER / "prometheus.yml", other))
    for document in (ours, theirs):
        for job in document["scrape_configs"]:
            job.pop("static_configs", None)
            job.get("authorization", {}).pop("credentials_file", None)
    assert ours == theirs


def test_what_is_mounted_exists(services: dict[str, Any]) -> None:
    mounted = {
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    }
    monitoring = {path for path in mounted if path.startswith("./cluster/monitoring")}
    assert mounted - monitoring
    assert monitoring == {
        "./cluster/monitoring/rules",
        "./cluster/monitoring/grafana/provisioning",
        "./cluster/monitoring/grafana/dashboards",
    }
    if (PROJECT / "cluster" / "monitoring").is_dir():
        mounted |= monitoring
    else:
        mounted -= monitoring
    assert [path for path in mounted if not (PROJECT / path).exists()] == []


def test_the_overlays_touch_services_that_exist(services: dict[str, Any]) -> None:
    assert len(OVERLAYS) == 2
    for path in OVERLAYS:
        assert _read(path)["services"].keys() <= services.keys()
