"""The chain in one replica: its configuration, without Ray, and on a server of its own."""

from __future__ import annotations

import copy
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import ray
import tritonclient.grpc
import tritonclient.http
import yaml
from ray.serve._private.build_app import build_app
from ray.serve.schema import ServeDeploySchema

from benchmarks.started_server import StartedServer
from configs import FOLDER
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import DermServeError, ModelUnavailable, UnsupportedImage
from models.package import ModelPackage
from models.preprocessing import decode_image
from models.registry import Registry
from serve_app import archive as archive_module
from serve_app import schemas
from serve_app.app import build
from serve_app.archive import CLASSIFIER, Archive
from serve_app.classification import Classification
from serve_app.colocated import Colocated
from serve_app.message import Message
from serve_app.settings import ServeSettings
from serve_app.upload import Label, NewImage, Verdict
from serve_app.work import Priority, Work
from tests.conftest import PROJECT, free_port
from tests.serve_app.chain import InProcessChain
from tests.serve_app.handles import InProcessHandle
from tests.serve_app.models import copy_of
from training.promotion.serve_config import RunningConfig, ServedModels

CONFIG = FOLDER / "colocated.yaml"
PATIENCE_S = 90.0


@pytest.fixture
def document() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    return loaded


def _deployments(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in document["applications"][0]["deployments"]}


def test_it_is_the_default_configuration_but_for_the_chain(document: dict[str, Any]) -> None:
    default = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    deployments, of_default = _deployments(document), _deployments(default)
    assert (
        deployments["classifier"]["autoscaling_config"]
        == (of_default["ingress"]["autoscaling_config"])
    )
    assert deployments["classifier"]["user_config"] == of_default["classifier"]["user_config"]
    for name in ("explainer", "archive"):
        assert deployments[name] == of_default[name]
    assert document["applications"][0]["args"] == {
        "colocated": True,
        **default["applications"][0]["args"],
    }
    for each in (document, default):
        del each["applications"][0]["deployments"], each["applications"][0]["args"]
    assert document == default


def test_serve_takes_it_and_every_deployment_is_configured(document: dict[str, Any]) -> None:
    with pytest.warns(DeprecationWarning, match="metrics_interval_s"):
        ServeDeploySchema.model_validate(document)
    built = build_app(build(document["applications"][0]["args"]), name="dermserve")
    assert {each.name for each in built.deployments} == _deployments(document).keys()
    assert built.ingress_deployment_name == CLASSIFIER
    settings = ServeSettings.model_validate(document["applications"][0]["args"])
    targets = {
        name: each["autoscaling_config"]["target_ongoing_requests"]
        for name, each in _deployments(document).items()
    }
    assert targets == {
        "classifier": settings.ingress_target,
        "explainer": settings.stage_target,
        "archive": settings.stage_target,
    }


def test_a_rollout_finds_the_deployments_that_hold_models(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)
    running = RunningConfig(document, frozenset({"one"}))
    assert (running.pinned, running.min_replicas) == (None, 1)
    after = running.serving(ServedModels(7, "3", 0.25), min_replicas=1)
    configured = _deployments(after)
    assert configured["classifier"]["user_config"] == {
        "model": "champion",
        "standby": "3",
        "shadow_share": 0.25,
        "generation": 7,
    }
    assert configured["explainer"]["user_config"] == {"model": "champion", "generation": 7}
    for name in ("classifier", "explainer"):
        configured[name]["user_config"] = {"model": "champion"}
    assert after == before


@pytest.fixture
async def colocated() -> AsyncIterator[Colocated]:
    """A replica without Serve; nothing is beside it."""
    nobody: Any = InProcessHandle(None)
    settings = ServeSettings(colocated=True, engine="openvino", threads=2, max_batch_size=8)
    replica = Colocated(nobody, nobody, settings)
    yield replica
    await replica._classifier._device.close()


async def test_without_a_model_it_says_so(colocated: Colocated, jpeg: bytes) -> None:
    assert (await colocated.health())["status"] == "not_ready"
    with pytest.raises(ModelUnavailable, match="It is loading"):
        await colocated.predict(jpeg)
    assert colocated._admission.images == 0


async def test_it_answers_what_the_chain_answers(
    colocated: Colocated, champion: ModelPackage
) -> None:
    await colocated.reconfigure({"model": str(champion.folder)})
    assert (await colocated.health())["status"] == "ok"
    images = [synthetic_jpeg(code, 2) for code in CLASSES] + [b"no image"]
    chain = InProcessChain(champion, ServeSettings())
    expected = await chain.preprocessor.classify(images)
    together = await colocated.classify(images, "mine", priority=Priority.BULK)
    received = await colocated.receive(Message.by_value([Work(image) for image in images]))
    pixels = [decode_image(image) for image in images[:-1]]
    preprocessed = await colocated.classify(pixels, "mine")
    for answer, other in zip(together, preprocessed, strict=False):
        assert not isinstance(answer, DermServeError)
        assert not isinstance(other, DermServeError)
        assert other["probabilities"] == pytest.approx(answer["probabilities"], abs=0.01)
    assert isinstance(together[-1], UnsupportedImage)
    assert isinstance(received[-1], UnsupportedImage)
    for right, answer, classification in zip(expected[:-1], together, received, strict=False):
        assert isinstance(right, Classification)
        assert isinstance(classification, Classification)
        assert not isinstance(answer, DermServeError)
        assert answer["predicted_class"] == right.decision.predicted_class
        for found in (
            list(answer["probabilities"].values()),
            classification.decision.probabilities,
        ):
            np.testing.assert_allclose(found, right.decision.probabilities, atol=0.01)
        timings = schemas.Prediction.model_validate(answer).timings
        assert 0 < timings.preprocessing < timings.total
        assert 0 < timings.forward < timings.total


async def test_its_stages_share_one_thread_for_each_core(colocated: Colocated) -> None:
    pool = colocated._preprocessor._pool
    assert isinstance(pool, ThreadPoolExecutor)
    assert pool is colocated._classifier._device._pool
    assert pool._max_workers == 2


async def test_it_is_healthy(colocated: Colocated, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def check_health() -> None:
        asked.append(1)

    monkeypatch.setattr(colocated._classifier, "check_health", check_health)
    await colocated.check_health()
    assert asked == [1]


async def test_the_archive_finds_the_chain_in_front_of_it_once(
    chain: InProcessChain,
    storage: Path,
    settings: ServeSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def find(name: str) -> Any:
        asked.append(name)
        if len(asked) == 1:
            raise KeyError(name)  # as Serve says of a deployment that it does not know yet
        return InProcessHandle(chain.preprocessor)

    monkeypatch.setattr(archive_module.serve, "get_deployment_handle", find)
    archive = Archive(None, settings)
    images = [NewImage(synthetic_jpeg("mel", seed, 120, 90), Label("mel")) for seed in range(3)]
    predictions = []
    for image in images:
        (verdict,) = await archive.add([image], "test")
        assert isinstance(verdict, Verdict)
        upload = await archive.get(verdict.id or "")
        assert isinstance(upload, dict)
        predictions.append(upload["prediction"])
    # The first is stored without the model's view.
    assert [prediction is None for prediction in predictions] == [True, False, False]
    assert asked == [CLASSIFIER] * 2
    archive._pixels.shutdown()
    archive._catalogue.shutdown()
    archive._archivist._uploads._database.close()


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def running(
    champion: ModelPackage,
    serve_config_file: Path,
    grpc_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartedServer]:
    """`dermserve up` with the colocated chain; the registry holds a second version."""
    if ray.is_initialized():
        # The fallback proxies of two Ray clusters on one machine share a port, and requests.
        pytest.skip("another server runs in these tests; run this file by itself, as .ci/run does")
    folder = tmp_path_factory.mktemp("colocated")
    registry = Registry(f"sqlite:///{folder}/mlflow.db")
    registry.champion()
    registry.register(copy_of(champion, folder / "second", "second").folder)
    config = yaml.safe_load(CONFIG.read_text())
    # The gate is the one of the other tests, which watches a new version for a moment.
    config["applications"][1] = yaml.safe_load(serve_config_file.read_text())["applications"][1]
    config["grpc_options"]["port"] = grpc_port
    path = folder / "serve.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.MonkeyPatch.context() as patch:
        # Beside the server of the other tests, which may have the default ports. Two replicas
        # that listen on one port would share its requests.
        patch.setenv("RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT", "42000")
        patch.setenv("RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT", "42500")
        patch.setenv("RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT", "32000")
        patch.setenv("RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT", "32500")
        patch.setenv("RAY_SERVE_HAPROXY_STATS_PORT", str(free_port()))
        patch.setenv("RAY_SERVE_HAPROXY_METRICS_PORT", str(free_port()))
        with StartedServer(path, folder) as server:
            yield server


@pytest.fixture
def client(running: StartedServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=running.url, timeout=60) as client:
        yield client


def test_a_server_predicts_with_one_process_for_the_chain(
    running: StartedServer, client: httpx.Client, champion: ModelPackage, jpeg: bytes
) -> None:
    response = client.post("/predict", content=jpeg, headers={"x-request-id": "mine"})
    answer = schemas.Prediction.model_validate_json(response.content)
    assert answer.model_version == champion.manifest.version
    assert answer.request_id == response.headers["x-request-id"] == "mine"
    batch = client.post("/predict/batch", files=[("files", ("a.jpg", jpeg))] * 10)
    assert schemas.BatchPrediction.model_validate_json(batch.content).succeeded == 10
    health = schemas.Health.model_validate_json(client.get("/health/ready").content)
    assert health.model is not None
    assert health.model["version"] == champion.manifest.version
    assert client.post("/explain", content=jpeg).headers["content-type"] == "image/png"


def test_a_server_speaks_the_open_inference_protocol(
    running: StartedServer, client: httpx.Client, grpc_port: int, jpeg: bytes
) -> None:
    expected = client.post("/predict", content=jpeg).json()
    for module, address in (
        (tritonclient.http, running.url.removeprefix("http://")),
        (tritonclient.grpc, f"127.0.0.1:{grpc_port}"),
    ):
        image = module.InferInput("IMAGE", [1], "BYTES")
        image.set_data_from_numpy(np.array([jpeg], np.object_))
        with module.InferenceServerClient(address) as triton:
            result = triton.infer("dermserve", [image])
        assert result.as_numpy("CONFIDENCE")[0] == pytest.approx(expected["confidence"], abs=1e-6)


def test_a_server_tells_how_uncertain_it_is_of_an_upload(client: httpx.Client) -> None:
    image = synthetic_jpeg("bcc", 4711)
    predicted = client.post("/predict", content=image).json()
    response = client.post(
        "/upload/bulk", files={"files": ("a.jpg", image)}, data={"labels": "bcc"}
    )
    assert response.status_code == 200, response.text
    (verdict,) = response.json()["results"]
    assert verdict["verdict"] == "accepted"
    prediction = client.get(f"/uploads/{verdict['id']}").json()["prediction"]
    assert prediction is not None
    assert 0 < prediction["uncertainty"] < 1
    assert prediction["model_version"] == predicted["model_version"]


@contextmanager
def _clients(url: str, image: bytes) -> Iterator[Counter[str]]:
    """Clients that predict until the block ends; yields the versions or errors they got."""
    answers: Counter[str] = Counter()
    over = threading.Event()

    def work() -> None:
        with httpx.Client(base_url=url, timeout=60) as client:
            while not over.is_set():
                try:
                    response = client.post("/predict", content=image)
                except httpx.HTTPError as error:
                    answers[repr(error)] += 1
                    continue
                good = response.status_code == 200
                answers[response.json()["model_version"] if good else response.text] += 1

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(work) for _ in range(2)]
        try:
            yield answers
        finally:
            over.set()
    for each in running:
        each.result()


def _wait_for(client: httpx.Client, version: str) -> None:
    """Wait until the rollout is over; the version must then serve."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        rollout = client.get("/retrain/status").json()["rollout"]
        if rollout is not None and rollout["finished"] is not None:
            assert (rollout["state"], rollout["to_version"]) == ("completed", version), rollout
            return
        assert time.monotonic() < deadline, f"it does not end: {rollout}"
        time.sleep(0.2)


def test_a_server_changes_models_under_load_without_a_lost_request(
    running: StartedServer, client: httpx.Client, champion: ModelPackage, jpeg: bytes
) -> None:
    first = champion.manifest.version
    with _clients(running.url, jpeg) as answers:
        promoted = client.post("/models/second/promote", params={"force": True})
        assert promoted.status_code in (200, 202), promoted.text
        _wait_for(client, "second")
        assert client.post("/predict", content=jpeg).json()["model_version"] == "second"
        back = client.post("/models/rollback")
        assert back.status_code in (200, 202), back.text
        assert back.json()["to_version"] == first
        _wait_for(client, first)
        assert client.post("/predict", content=jpeg).json()["model_version"] == first
    assert answers.keys() == {first, "second"}
