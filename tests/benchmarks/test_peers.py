"""The peers: their settings, what counts as a right answer, and that nothing of one survives."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import numpy.typing as npt
import psutil
import pytest

from benchmarks.free_ports import free_ports
from benchmarks.peers.answer import TOLERANCE, check_answer, read_json, read_triton
from benchmarks.peers.entry import NAMES, entries
from benchmarks.peers.environment import fingerprint, peers_constraints, peers_python
from benchmarks.peers.failure import PeerFailed
from benchmarks.peers.model import PeerModel
from benchmarks.peers.reference import Reference
from benchmarks.peers.server_process import ServerProcess
from benchmarks.peers.settings import CORES, SETTINGS, options
from benchmarks.peers.task import PeerTask
from benchmarks.peers.triton_server import backends, model_repository
from models.classes import CLASSES
from models.errors import InvalidConfiguration
from tests.conftest import PROJECT

EXPECTED = [0.1, 0.1, 0.2, 0.05, 0.3, 0.2, 0.05]


def answer(values: list[float], status: int = 200) -> httpx.Response:
    return httpx.Response(status, json={"probabilities": dict(zip(CLASSES, values, strict=False))})


def triton_answer(values: list[float], datatype: str = "FP32") -> httpx.Response:
    output = {"name": "probabilities", "datatype": datatype, "shape": [1, len(values)]}
    header = json.dumps({"outputs": [output]}).encode()
    return httpx.Response(
        200,
        headers={"Inference-Header-Content-Length": str(len(header))},
        content=header + np.array(values, "<f4").tobytes(),
    )


def test_an_answer_within_the_tolerance_is_right() -> None:
    near = [EXPECTED[0] + 0.9 * TOLERANCE, *EXPECTED[1:]]
    check_answer(answer(near), read_json, EXPECTED)
    check_answer(triton_answer(near), read_triton, EXPECTED)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answer([EXPECTED[0] + 1.1 * TOLERANCE, *EXPECTED[1:]]), "probabilities are wrong"),
        (answer(EXPECTED[::-1]), "probabilities are wrong"),
        (answer(EXPECTED[:6]), "cannot be read"),
        (answer(EXPECTED, status=503), "answered 503"),
        (httpx.Response(200, text="ok"), "cannot be read"),
        (httpx.Response(200, json=[1]), "cannot be read"),
        (
            httpx.Response(200, text=json.dumps({"probabilities": dict.fromkeys(CLASSES, "x")})),
            "cannot be read",
        ),
        (
            httpx.Response(
                200, text='{"probabilities": {' + ",".join(f'"{c}": NaN' for c in CLASSES) + "}}"
            ),
            "probabilities are wrong",
        ),
    ],
)
def test_another_answer_is_refused(response: httpx.Response, reason: str) -> None:
    with pytest.raises(PeerFailed, match=reason):
        check_answer(response, read_json, EXPECTED)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (triton_answer(EXPECTED[:6]), "probabilities are wrong"),
        (triton_answer(EXPECTED, datatype="FP64"), "cannot be read"),
        (answer(EXPECTED), "cannot be read"),
    ],
)
def test_another_answer_of_triton_is_refused(response: httpx.Response, reason: str) -> None:
    with pytest.raises(PeerFailed, match=reason):
        check_answer(response, read_triton, EXPECTED)


def test_both_engines_say_the_same_of_an_image_and_sum_to_1(
    lesions: npt.NDArray[np.uint8], jpeg: bytes
) -> None:
    said = {}
    for engine in ("openvino", "torch-eager"):
        model = PeerModel.load(engine)
        said[engine] = model.probabilities(list(lesions))
        assert said[engine].shape == (7, 7)
        assert said[engine].sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert list(model.answer(jpeg)["probabilities"]) == list(CLASSES)
    # OpenVINO may compute in bf16 here.
    assert np.abs(said["openvino"] - said["torch-eager"]).max() < 0.2
    assert (said["openvino"].argmax(axis=1) == said["torch-eager"].argmax(axis=1)).mean() > 0.8


def test_the_reference_is_what_the_engine_says(tmp_path: Path, jpeg: bytes) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg)
    reference = Reference.of([tmp_path / "a.jpg"], ["openvino"])
    assert reference.bodies == (jpeg,)
    said = PeerModel.load("openvino").answer(jpeg)
    check_answer(httpx.Response(200, json=said), read_json, reference.expected("openvino")[0])
    assert reference.device.name


def test_options_are_arguments_with_the_number_of_cores() -> None:
    assert options("mosec", "append_worker", cores=3) == {"num": 3, "max_batch_size": 1}
    for peer, settings in SETTINGS.items():
        # Whatever the peer, every core is put to work, and each setting has its reason.
        assert any(setting.value == CORES for setting in settings), peer
        assert all(setting.why for setting in settings), peer


def test_every_peer_is_named_and_has_settings() -> None:
    peers = {entry.name for entry in entries(NAMES, ["torch-eager"])}
    assert peers == set(SETTINGS)
    both = entries(NAMES, ["openvino", "torch-eager"])
    assert len({entry.label for entry in both}) == len(both) == len(NAMES) + len(peers)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InvalidConfiguration, match="no server 'torchserve'"):
        entries(["torchserve"], ["openvino"])


def test_peers_are_held_to_our_versions_where_they_agree() -> None:
    lines = peers_constraints((PROJECT / "constraints.txt").read_text())
    names = {line.split("==")[0] for line in lines if "==" in line}
    assert {"torch", "openvino", "simplejpeg", "numpy", "uvicorn", "ray"} <= names
    assert not any(name.startswith(("certifi", "opentelemetry")) for name in names)


def test_an_environment_that_is_up_to_date_is_used(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    (tmp_path / ".made-of").write_text(fingerprint())
    assert peers_python(tmp_path) == python


def test_the_task_goes_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    task = PeerTask(engine="torch-eager", port=1234, cores=2)
    for name, value in task.environment().items():
        monkeypatch.setenv(name, value)
    assert PeerTask.given() == task


def test_triton_finds_a_model_for_each_core_and_the_stub_of_this_python(tmp_path: Path) -> None:
    settings = options("triton", "model", cores=3) | options("triton", "instance_group", cores=3)
    folder = model_repository(tmp_path / "models", settings)
    config = (folder / "lesions" / "config.pbtxt").read_text()
    assert "count: 3" in config
    assert config.count("{") == config.count("}")
    assert "benchmarks.peers.triton_model" in (folder / "lesions" / "1" / "model.py").read_text()
    wheel = tmp_path / "wheel"
    (wheel / "backends" / "python").mkdir(parents=True)
    (wheel / "backends" / "python" / "backend.so").touch()
    with pytest.raises(InvalidConfiguration, match="no stub for Python"):
        backends(tmp_path / "none", wheel)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    stub = wheel / "python_backend_stubs" / version / "triton_python_backend_stub"
    stub.parent.mkdir(parents=True)
    stub.touch()
    made = backends(tmp_path / "some", wheel)
    assert {path.name for path in (made / "python").iterdir()} == {"backend.so", stub.name}


def test_ports_are_free_and_differ() -> None:
    ports = free_ports(5)
    assert len(set(ports)) == 5


_FAMILY = '''
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, {on_term})
child = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("child", os.getpid(), flush=True)
time.sleep(600)
"""
subprocess.Popen([sys.executable, "-c", child], start_new_session=True)
print("leader", os.getpid(), flush=True)
time.sleep(600)
'''


@pytest.mark.parametrize("on_term", ["signal.SIG_DFL", "lambda *_: os._exit(0)"])
def test_nothing_of_a_server_survives(tmp_path: Path, on_term: str) -> None:
    log = tmp_path / "log"
    with ServerProcess(
        [sys.executable, "-c", _FAMILY.format(on_term=on_term)],
        environment=dict(os.environ),
        folder=tmp_path,
        log=log,
    ) as server:
        _until(lambda: log.exists() and len(log.read_text().splitlines()) == 2)
        pids = [int(line.split()[-1]) for line in log.read_text().splitlines()]
        assert not server.ended
        assert all(psutil.pid_exists(pid) for pid in pids)
    assert not any(_runs(pid) for pid in pids)


def test_a_server_that_ends_leaves_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('first'); raise SystemExit('no model')"]
    with ServerProcess(
        command, environment=dict(os.environ), folder=tmp_path, log=tmp_path / "log"
    ) as server:
        _until(lambda: server.ended)
        assert server.last_words().endswith("no model")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
