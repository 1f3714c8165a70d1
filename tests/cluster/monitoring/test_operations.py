"""What OPERATIONS.md tells operators to type works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cluster.server import LocalServer
from tests.cluster.monitoring.prometheus_process import PrometheusProcess
from tests.cluster.monitoring.promtool import needs_prometheus
from tests.conftest import PROJECT

TEXT = (PROJECT / "OPERATIONS.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)

WATCHING = BLOCKS[0]
"""It makes a key, which would close the tests' server, and stays; what it starts, others test."""

LINES = sorted({line for block in BLOCKS[1:] for line in block.splitlines()})


@needs_prometheus
@pytest.mark.parametrize("line", LINES)
def test_a_command_works(
    line: str,
    busy_server: LocalServer,
    prometheus: PrometheusProcess,
    server_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    (tmp_path / "var").mkdir()
    for documented, here in (
        ("127.0.0.1:8000", busy_server.url.removeprefix("http://")),
        ("127.0.0.1:8265", busy_server.dashboard_url.removeprefix("http://")),
        ("127.0.0.1:9090", prometheus.address),
    ):
        line = line.replace(documented, here)
    commands = Path(sys.executable).parent
    path = f"{commands}{os.pathsep}{server_environment['PATH']}"
    done = subprocess.run(
        ["bash", "-ec", line.replace("curl -s ", "curl -sS --fail-with-body ")],
        cwd=tmp_path,
        env={**server_environment, "PATH": path, "DERMSERVE_API_KEY": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    may_find_nothing = "|| true" in line or line.startswith("promtool")
    assert done.stdout or may_find_nothing
    if line.startswith("grep") and "|| true" in line:
        # What they search is there, whether or not anything is found.
        assert "No such file" not in done.stderr


@needs_prometheus
def test_what_starts_the_watch_names_what_is_there() -> None:
    config = re.findall(r"--config\.file=(\S+)", WATCHING)
    assert config == ["cluster/monitoring/prometheus.yml"]
    (job,) = (
        each
        for each in yaml.safe_load((PROJECT / config[0]).read_text())["scrape_configs"]
        if each["job_name"] == "dermserve"
    )
    written = re.findall(r"keys create .* > (\S+)", WATCHING)
    assert written == [f"cluster/monitoring/{job['authorization']['credentials_file']}"]
    ignored = (PROJECT / ".gitignore").read_text().splitlines()
    assert written[0] in ignored
    flags = set(re.findall(r" (--[\w.-]+)=", WATCHING)) - {"--config.file"}
    known = subprocess.run(["prometheus", "--help"], capture_output=True, text=True, timeout=30)
    assert [flag for flag in flags if flag not in known.stdout + known.stderr] == []


def test_what_it_refers_to_is_there() -> None:
    headings = re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)
    referred = set(re.findall(r"\*(Dermserve\w+|Watching)\*", TEXT))
    assert referred <= set(headings)
    for link in re.findall(r"\]\((\S+?)\)", TEXT):
        assert (PROJECT / link).exists(), link
    sections = re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]
    assert len(sections) > 20
    for section in sections:
        for part in ("**Means:**", "**Look:**", "**Do:**", "```sh\n"):
            assert part in section, section
