"""The chain over real HTTP and through Python handles."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from ray import serve

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.package import ModelPackage
from serve_app import schemas


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def _same_answer(a: schemas.Prediction, b: schemas.Prediction) -> bool:
    # Pieces of another size may round bf16 differently in the last digits.
    return a.predicted_class == b.predicted_class and all(
        abs(a.probabilities[code] - b.probabilities[code]) < 0.01 for code in CLASSES
    )


def test_predict_takes_a_form_and_a_raw_body(client: httpx.Client, jpeg: bytes) -> None:
    form = client.post("/predict", files={"file": ("lesion.jpg", jpeg, "image/jpeg")})
    raw = client.post("/predict", content=jpeg, headers={"content-type": "image/jpeg"})
    assert form.status_code == raw.status_code == 200
    answers = [schemas.Prediction.model_validate(r.json()) for r in (form, raw)]
    assert _same_answer(*answers)
    assert sum(answers[0].probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answers[0].confidence == answers[0].probabilities[answers[0].predicted_class]


def test_an_answer_names_the_model_and_the_time_of_each_stage(
    client: httpx.Client, jpeg: bytes, tiny_package: ModelPackage
) -> None:
    response = client.post("/predict", content=jpeg, headers={"x-request-id": "mine-1"})
    answer = schemas.Prediction.model_validate(response.json())
    assert answer.model_version == tiny_package.manifest.version
    assert answer.dataset_hash == tiny_package.manifest.dataset_hash
    assert answer.request_id == response.headers["x-request-id"] == "mine-1"
    stages = answer.timings
    assert 0 < stages.forward == answer.inference_time
    assert stages.preprocessing + stages.forward < stages.total < 30
    assert stages.preprocessing + stages.queue + stages.forward == pytest.approx(stages.total)


@pytest.mark.parametrize("encoding", ["PNG", "BMP", "GIF", "WEBP", "TIFF"])
def test_every_format_is_served(client: httpx.Client, jpeg: bytes, encoding: str) -> None:
    encoded = io.BytesIO()
    Image.open(io.BytesIO(jpeg)).save(encoded, encoding)
    response = client.post("/predict", content=encoded.getvalue())
    assert response.status_code == 200, response.text


def test_one_bad_image_fails_alone(client: httpx.Client, jpeg: bytes) -> None:
    bodies = [jpeg, b"not an image", jpeg[:1000], b"", jpeg]
    response = client.post(
        "/predict/batch", files=[("files", (f"{i}.jpg", b)) for i, b in enumerate(bodies)]
    )
    assert response.status_code == 200
    batch = schemas.BatchPrediction.model_validate(response.json())
    codes = [item.error.code if item.error else "ok" for item in batch.results]
    assert codes == ["ok", "unsupported_image", "truncated_image", "empty_image", "ok"]
    assert (batch.succeeded, batch.failed) == (2, 3)
    assert [item.filename for item in batch.results] == [f"{i}.jpg" for i in range(5)]


async def test_a_burst_answers_each_caller_with_its_own_image(server: LocalServer) -> None:
    images = [synthetic_jpeg(code, seed, 300, 225) for code in CLASSES for seed in range(4)]
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:

        async def ask(image: bytes) -> schemas.Prediction:
            response = await client.post("/predict", content=image)
            assert response.status_code == 200, response.text
            return schemas.Prediction.model_validate(response.json())

        alone = [await ask(image) for image in images]
        together = await asyncio.gather(*(ask(image) for image in images * 8))
    assert all(_same_answer(a, b) for a, b in zip(alone * 8, together, strict=True))


def test_a_handle_call_has_the_limits_of_http(server: LocalServer, jpeg: bytes) -> None:
    handle = serve.get_app_handle("dermserve")
    with pytest.raises(Exception, match="One request may carry 64 images"):
        handle.predict_batch.remote([b"x"] * 10_000).result(timeout_s=10)
    with pytest.raises(Exception, match="bytes of a file, not a PosixPath"):
        handle.predict.remote(Path("lesion.jpg")).result(timeout_s=10)
    with pytest.raises(Exception, match="larger than 20 MiB"):
        handle.predict.remote(bytes(21 * 2**20)).result(timeout_s=10)
    assert handle.predict.remote(jpeg).result(timeout_s=10)["request_id"]


def test_handle_calls(server: LocalServer, jpeg: bytes) -> None:
    handle = serve.get_app_handle("dermserve")
    answer = handle.predict.remote(jpeg).result(timeout_s=30)
    assert schemas.Prediction.model_validate(answer).predicted_class in CLASSES
    good, bad = handle.predict_batch.remote([jpeg, b"no image"]).result(timeout_s=30)
    assert "prediction" in good
    assert bad["error"]["code"] == "unsupported_image"


def test_real_images_are_answered(client: httpx.Client, ham10000_samples: list[Path]) -> None:
    for path in ham10000_samples[:14]:
        response = client.post("/predict", files={"file": path.read_bytes()})
        assert response.status_code == 200, response.text


def test_health_says_what_runs(client: httpx.Client, tiny_package: ModelPackage) -> None:
    assert client.get("/health/live").json() == {"status": "ok"}
    for route in ("/health", "/health/ready"):
        response = client.get(route)
        assert response.status_code == 200
        health = schemas.Health.model_validate(response.json())
        assert health.model is not None
        assert health.model["version"] == tiny_package.manifest.version
        assert health.engine is not None
        assert health.engine["name"] in ("openvino", "torch-cuda")


def test_the_front_page_leads_on(client: httpx.Client) -> None:
    info = schemas.ServiceInfo.model_validate(client.get("/").json())
    docs = client.get(info.links["docs"])
    assert docs.status_code == 200
    assets = re.findall(r'(?:src|href)="([^"]+)"', docs.text)
    assert assets
    for asset in assets:  # each from this server, none from a CDN
        assert client.get(asset).status_code == 200
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/", "/predict", "/explain", "/upload/bulk", "/retrain", "/models"} < set(paths)
