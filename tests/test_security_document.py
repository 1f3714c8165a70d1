"""SECURITY.md says what is so: every limit with its default, every file, target and variable."""

from __future__ import annotations

import ast
import importlib
import re
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from ray.serve._private import constants as serve_constants

from cluster import edge, tls
from cluster.environment import ENVIRONMENT_FILE
from serve_app.settings import ServeSettings
from tests.conftest import PROJECT

DOCUMENT = (PROJECT / "SECURITY.md").read_text(encoding="utf-8")
UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "s": 1, "": 1}

LIMIT_LIKE = re.compile(r"max_\w+|\w+_(timeout_s|per_minute|ongoing_requests)|deadline_s")
CONSTANT = re.compile(r"MAX_\w+|\w*TIMEOUT_S")

# Named like limits, and none of them bounds what somebody may ask.
INWARD = {
    "serve_app.datapath.MAX_MESSAGE_BYTES",  # stands there as the variable that it becomes
    "serve_app.ingress.STATUS_TIMEOUT_S",
    "serve_app.caretaker.MAX_ORPHANS",
    "serve_app.trainer_client.ANSWER_TIMEOUT_S",
    "serve_app.trainer_client.STATUS_TIMEOUT_S",
    "serve_app.reporter.TIMEOUT_S",
    "serve_app.exposition.TIMEOUT_S",
    "serve_app.metrics_api.CONTROLLER_TIMEOUT_S",
    "serve_app.shadow.MAX_WAITING",
    "cluster.edge.MAX_REQUESTS_VARIABLE",
    "cluster.edge.DEFAULT_MAX_REQUESTS",
    "serve_app.engines.openvino_cpu.MAX_PIECE",
    "models.tracking_uri.LOCK_TIMEOUT_S",
    "models.tracking_uri.PROBE_TIMEOUT_S",
    "models.registry_process.CALL_TIMEOUT_S",
}


def _limits() -> dict[str, float]:
    section = DOCUMENT.partition("\n## Limits\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\S+)` \| ([\d.]+) ?(\w*) \| .+ \|$", section, re.MULTILINE)
    assert len(rows) == section.count("\n|") - 2, "a row of the table cannot be read"
    return {name: float(number) * UNITS[unit] for name, number, unit in rows}


def _value(name: str) -> Any:
    """What a name in the table stands for."""
    if name.isupper():
        variables = dotenv_values(ENVIRONMENT_FILE)
        return variables[name] if name in variables else getattr(serve_constants, name)
    module, _, attribute = name.rpartition(".")
    if not module:
        return getattr(ServeSettings(), name)
    if module in ("http_options", "grpc_options"):
        return yaml.safe_load((PROJECT / "serve_config.yaml").read_text())[module][attribute]
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize(("name", "value"), _limits().items())
def test_a_limit_has_the_default_that_the_table_says(name: str, value: float) -> None:
    assert float(_value(name)) == value


def test_no_setting_that_limits_is_missing() -> None:
    properties = [name for name in vars(ServeSettings) if not name.startswith("_")]
    names = [*ServeSettings.model_fields, *properties]
    limits = {name for name in names if LIMIT_LIKE.fullmatch(name)}
    assert {"max_pixels", "max_waiting_bytes", "body_timeout_s"} <= limits
    assert limits - _limits().keys() == set()


def test_no_constant_that_limits_is_missing() -> None:
    found = set()
    folders = ("serve_app", "models")
    sources = [path for folder in folders for path in (PROJECT / folder).rglob("*.py")]
    sources.append(PROJECT / "cluster" / "edge.py")
    for path in sources:
        module = ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = [node.target] if isinstance(node, ast.AnnAssign) else []
            for target in getattr(node, "targets", targets):
                if isinstance(target, ast.Name) and CONSTANT.fullmatch(target.id):
                    found.add(f"{module}.{target.id}")
    assert {"cluster.edge.HEADER_TIMEOUT_S", "models.pieces.MAX_READS"} <= found
    assert found - _limits().keys() - INWARD == set()


def test_no_variable_that_limits_is_missing() -> None:
    variables = {name for name in dotenv_values(ENVIRONMENT_FILE) if re.search("MAX|TIMEOUT", name)}
    assert variables
    assert variables - _limits().keys() == set()


def test_every_file_it_names_exists() -> None:
    named = re.findall(r"\]\((\S+?)\)|`([\w.]+/[\w./-]*)`", DOCUMENT)
    paths = {a or b for a, b in named if not (a or b).startswith(("/", "var/"))}
    assert "tests/cluster/test_listening_sockets.py" in paths
    assert [path for path in sorted(paths) if not (PROJECT / path).exists()] == []


def test_its_make_targets_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make (\w+)", DOCUMENT, re.MULTILINE))
    assert {"audit", "sbom", "licences"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)


def test_its_variables_exist() -> None:
    ours = set(re.findall(r"DERMSERVE_\w+", DOCUMENT))
    values = [*vars(edge).values(), *vars(tls).values()]
    known = {value for value in values if isinstance(value, str) and value in ours}
    assert ours == known
    rays = set(re.findall(r"RAY_(?:AUTH|ENABLE)\w+", DOCUMENT))
    assert rays <= dotenv_values(ENVIRONMENT_FILE).keys()


def test_its_ports_are_those_of_the_code() -> None:
    assert f"port {tls.DEFAULT_PORT} of every interface" in DOCUMENT
    for name in (
        "RAY_SERVE_HAPROXY_STATS_PORT",
        "RAY_SERVE_HAPROXY_METRICS_PORT",
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT",
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT",
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT",
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT",
    ):
        assert str(getattr(serve_constants, name)) in DOCUMENT, name
