"""What the README tells people to type works as it stands there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import ray

from cluster.server import LocalServer
from serve_app import schemas
from serve_app.open_inference.schemas import Inferred
from tests.conftest import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, jpeg: bytes) -> Path:
    """Where the reader stands after `make serve`."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "sample.jpg").write_bytes(jpeg)
    return tmp_path


def test_the_curl_lines_are_answered(server: LocalServer, folder: Path) -> None:
    blocks = [block for block in _blocks("sh") if block.startswith("curl")]
    lines = "".join(blocks).replace("\\\n", " ").replace("http://127.0.0.1:8000", server.url)
    answers = []
    for line in lines.splitlines():
        command = [*shlex.split(line), "-s"]
        result = subprocess.run(command, cwd=folder, capture_output=True, check=True)
        answers.append(json.loads(result.stdout))
    predicted, uploaded, status, models, rolled_back = answers
    schemas.Prediction.model_validate(predicted)
    assert uploaded["results"][0]["verdict"] in ("accepted", "duplicate")
    assert status["waiting"]["threshold"] == 10
    assert models["champion"] in [model["version"] for model in models["models"]]
    # A new server has nothing to go back to.
    assert "to_version" in rolled_back or rolled_back["error"]["code"] == "not_found"


def test_the_example_answer_is_one(server: LocalServer) -> None:
    (example,) = _blocks("json")
    schemas.Prediction.model_validate(json.loads(example))


def test_the_open_inference_lines_are_answered(server: LocalServer, folder: Path) -> None:
    (lines,) = [block for block in _blocks("sh") if "/v2/" in block]
    assert "http://127.0.0.1:8000" in lines
    result = subprocess.run(
        ["bash", "-ec", lines.replace("http://127.0.0.1:8000", server.url)],
        cwd=folder,
        capture_output=True,
        check=True,
    )
    answer = Inferred.model_validate_json(result.stdout)
    assert answer.model_name == "dermserve"
    outputs = {output.name: output.data for output in answer.outputs}
    assert outputs["PROBABILITIES"] is not None
    assert sum(map(float, outputs["PROBABILITIES"])) == pytest.approx(1, abs=1e-5)


def test_the_open_inference_example_runs(server: LocalServer, folder: Path) -> None:
    (code,) = [block for block in _blocks("python") if "tritonclient" in block]
    assert "127.0.0.1:9000" in code
    assert server.grpc_address is not None
    result = subprocess.run(
        [sys.executable, "-c", code.replace("127.0.0.1:9000", server.grpc_address)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    probabilities = re.findall(r"\d\.\d+(?:e-\d+)?", result.stdout)
    assert sum(map(float, probabilities)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    "code",
    [block for block in _blocks("python") if "tritonclient" not in block],
    ids=["client", "handle"],
)
def test_the_python_examples_run(server: LocalServer, folder: Path, code: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={
            **os.environ,
            "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
            "DERMSERVE_URL": server.url,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-2:] == ["False", "True"]


def test_every_file_it_names_exists() -> None:
    named = re.findall(r"\]\((\S+?)\)|`([\w./]+/(?:[\w.-]+)?)`", README)
    paths = {a or b for a, b in named if not (a or b).startswith(("/", "http", "var/"))}
    assert paths
    assert [path for path in sorted(paths) if not (PROJECT / path).exists()] == []


def test_its_make_targets_exist() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE))
    assert {"serve", "test"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
