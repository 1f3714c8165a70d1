"""The routes of the protocol: answers as they are documented, and errors in its form."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import BaseModel

from models import errors
from models.classes import CLASSES
from models.errors import DermServeError, ModelUnavailable, Overloaded
from models.package import ModelPackage
from models.preprocessing import decode_image
from serve_app import schemas as wire
from serve_app.open_inference import schemas
from serve_app.work import Priority
from tests.serve_app.chain import InProcessChain
from tests.serve_app.open_inference.examples import (
    HEADER_LENGTH,
    SHAPE,
    URL,
    binary_body,
    binary_input,
    image_body,
    packed,
)

ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DermServeError)
]


def error_of(response: httpx.Response, status: int, code: str) -> str:
    """The message of an answer that must have this status and code, in the protocol's form."""
    assert (response.status_code, response.headers["x-error-code"]) == (status, code)
    message = schemas.ProtocolError.model_validate_json(response.content).error
    assert len(message) > 10
    return message


async def _infer(api: httpx.AsyncClient, *images: bytes, **header: Any) -> httpx.Response:
    body, headers = image_body(*images, **header)
    return await api.post(URL, content=body, headers=headers)


def _outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    answer = schemas.Inferred.model_validate_json(response.content)
    return {output.name: output.data for output in answer.outputs}


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("", schemas.ServerMetadata),
        ("/health/live", schemas.Live),
        ("/health/ready", schemas.Ready),
        ("/models/dermserve", schemas.ModelMetadata),
        ("/models/dermserve/ready", schemas.Ready),
        ("/models/dermserve/config", schemas.ModelConfig),
        ("/models/dermserve/stats", schemas.StatisticsList),
        ("/models/dermserve/versions/{v}", schemas.ModelMetadata),
        ("/models/dermserve/versions/{v}/ready", schemas.Ready),
        ("/models/dermserve/versions/{v}/config", schemas.ModelConfig),
        ("/models/dermserve/versions/{v}/stats", schemas.StatisticsList),
    ],
)
async def test_what_can_be_asked_is_answered_as_documented(
    api: httpx.AsyncClient, champion: ModelPackage, path: str, model: type[BaseModel]
) -> None:
    response = await api.get("/v2" + path.format(v=champion.manifest.version))
    assert response.status_code == 200, response.text
    model.model_validate_json(response.content)


async def test_metadata_names_what_an_inference_takes_and_gives(
    api: httpx.AsyncClient, champion: ModelPackage, jpeg: bytes
) -> None:
    metadata = (await api.get("/v2/models/dermserve")).json()
    assert metadata["versions"] == [champion.manifest.version]
    assert {each["name"] for each in metadata["inputs"]} == {"IMAGE", "PIXELS"}
    asked = [{"name": each["name"]} for each in metadata["outputs"]]
    answer = (await _infer(api, jpeg, outputs=asked)).json()
    config = (await api.get("/v2/models/dermserve/config")).json()
    for described, configured, output in zip(
        metadata["outputs"], config["output"], answer["outputs"], strict=True
    ):
        assert described["datatype"] == output["datatype"]
        assert [-1, *output["shape"][1:]] == described["shape"] == [-1, *configured["dims"]]
    for described, configured in zip(metadata["inputs"], config["input"], strict=True):
        assert described["shape"] == [-1, *configured["dims"]]


async def test_an_inference_says_what_predict_says(
    api: httpx.AsyncClient, champion: ModelPackage, jpeg: bytes
) -> None:
    expected = (await api.post("/predict", content=jpeg)).json()
    response = await _infer(api, jpeg, id="mine", outputs=[{"name": "PREDICTION"}])
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert (answer["model_name"], answer["id"]) == ("dermserve", "mine")
    assert answer["model_version"] == champion.manifest.version
    whole = wire.Prediction.model_validate_json(_outputs(response)["PREDICTION"][0])
    assert whole.probabilities == pytest.approx(expected["probabilities"], abs=1e-6)
    outputs = _outputs(await _infer(api, jpeg))
    assert dict(zip(CLASSES, outputs["PROBABILITIES"], strict=True)) == pytest.approx(
        expected["probabilities"], abs=1e-6
    )
    assert outputs["PREDICTED_CLASS"] == [expected["predicted_class"]]
    assert outputs["CONFIDENCE"] == pytest.approx([expected["confidence"]], abs=1e-6)
    assert outputs["MALIGNANT_SCORE"] == pytest.approx([expected["malignant_score"]], abs=1e-6)
    assert outputs["ABSTAIN"] == [expected["abstain"]["abstain"]]


async def test_every_form_of_an_image_has_one_answer(api: httpx.AsyncClient, jpeg: bytes) -> None:
    image = decode_image(jpeg)[None]
    bodies = [
        image_body(jpeg),
        binary_body(
            image.tobytes(),
            {
                "inputs": [
                    binary_input(
                        image.tobytes(), name="PIXELS", datatype="UINT8", shape=[1, *SHAPE]
                    )
                ]
            },
        ),
        (
            json.dumps(
                {
                    "inputs": [
                        {
                            "name": "IMAGE",
                            "datatype": "BYTES",
                            "shape": [1],
                            "data": [base64.b64encode(jpeg).decode()],
                        }
                    ]
                }
            ).encode(),
            {},
        ),
    ]
    answers = [
        _outputs(await api.post(URL, content=body, headers=headers))["PROBABILITIES"]
        for body, headers in bodies
    ]
    assert answers[0] == answers[1] == answers[2]


async def test_outputs_come_in_binary_form_behind_the_json(
    api: httpx.AsyncClient, jpeg: bytes
) -> None:
    response = await _infer(
        api,
        jpeg,
        outputs=[
            {"name": "PROBABILITIES", "parameters": {"binary_data": True}},
            {"name": "ABSTAIN"},
        ],
    )
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[HEADER_LENGTH])
    probabilities, abstain = json.loads(response.content[:length])["outputs"]
    assert probabilities["parameters"] == {"binary_data_size": 28}
    assert "data" not in probabilities
    values = np.frombuffer(response.content[length:], "<f4")
    assert values.sum() == pytest.approx(1, abs=1e-5)
    assert isinstance(abstain["data"][0], bool)


async def test_terms_reach_the_chain(
    api: httpx.AsyncClient, chain: InProcessChain, jpeg: bytes
) -> None:
    chain.asked.clear()
    await _infer(api, jpeg)
    await _infer(api, jpeg, jpeg)
    await _infer(api, jpeg, parameters={"priority": "bulk", "timeout": 2_000_000})
    await _infer(api, jpeg, jpeg, parameters={"priority": 1})
    assert chain.asked == [
        (Priority.INTERACTIVE, None),
        (Priority.BULK, None),
        (Priority.BULK, 2.0),
        (Priority.INTERACTIVE, None),
    ]


@pytest.mark.parametrize(
    ("image", "status", "code"),
    [(b"", 400, "empty_image"), (b"hello", 415, "unsupported_image"),
     (b"\xff\xd8\xff\xe0" + bytes(50), 400, "truncated_image")],
)  # fmt: skip
async def test_one_bad_image_fails_its_request_and_is_named(
    api: httpx.AsyncClient, jpeg: bytes, image: bytes, status: int, code: str
) -> None:
    assert "Image 1 of 3" in error_of(await _infer(api, jpeg, image, jpeg), status, code)
    assert "of 1" not in error_of(await _infer(api, image), status, code)


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
async def test_every_error_has_the_protocols_form(
    api: httpx.AsyncClient, chain: InProcessChain, jpeg: bytes, kind: type[DermServeError]
) -> None:
    chain.error = kind("Say what to do.")
    response = await _infer(api, jpeg)
    assert error_of(response, kind.status, kind.code) == "Say what to do."
    if kind is Overloaded:
        assert response.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/nothing", 404, "not_found"),
        ("GET", "/v2/models/other", 404, "not_found"),
        ("GET", "/v2/models/other/ready", 404, "not_found"),
        ("GET", "/v2/models/dermserve/versions/99", 404, "not_found"),
        ("GET", "/v2/models/dermserve/versions/99/stats", 404, "not_found"),
        ("GET", "/v2/models/dermserve/infer", 405, "method_not_allowed"),
        ("POST", "/v2/models/dermserve/infer", 400, "malformed_request"),
        ("POST", "/v2/repository/models/other/unload", 404, "not_found"),
        ("POST", "/v2/repository/models/dermserve/unload", 409, "model_needed"),
        ("POST", "/v2/repository/models/other/load", 404, "not_found"),
        ("POST", "/v2/repository/models/dermserve/load", 422, "invalid_field"),
    ],
)
async def test_what_cannot_be_asked_is_refused(
    api: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    error_of(await api.request(method, path), status, code)


async def test_only_the_version_that_serves_infers(
    api: httpx.AsyncClient, champion: ModelPackage, jpeg: bytes
) -> None:
    body, headers = image_body(jpeg)
    for version, status in ((champion.manifest.version, 200), ("99", 404)):
        path = f"/v2/models/dermserve/versions/{version}/infer"
        response = await api.post(path, content=body, headers=headers)
        assert response.status_code == status
    path = "/v2/models/other/infer"
    error_of(await api.post(path, content=body, headers=headers), 404, "not_found")


async def test_limits_are_those_of_predict_batch(api: httpx.AsyncClient, jpeg: bytes) -> None:
    error_of(await _infer(api, *[b"a"] * 5), 413, "too_many_files")
    error_of(await _infer(api, bytes(500_001)), 413, "body_too_large")
    error_of(await api.post(URL, content=b" " * 400_000), 413, "body_too_large")


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [({"priority": "urgent"}, 422, "invalid_field"), ({"timeout": -1}, 422, "invalid_field")],
)
async def test_wrong_terms_are_refused(
    api: httpx.AsyncClient, jpeg: bytes, parameters: dict[str, Any], status: int, code: str
) -> None:
    error_of(await _infer(api, jpeg, parameters=parameters), status, code)


async def test_a_compressed_body_is_refused(api: httpx.AsyncClient, jpeg: bytes) -> None:
    body, headers = image_body(jpeg)
    response = await api.post(URL, content=body, headers={**headers, "content-encoding": "gzip"})
    assert "compressed" in error_of(response, 400, "malformed_request")


async def test_nothing_is_ready_without_a_model(
    api: httpx.AsyncClient, chain: InProcessChain, jpeg: bytes
) -> None:
    chain.error = ModelUnavailable("No model is loaded.")
    for path in ("/health/ready", "/models/dermserve", "/models/dermserve/ready"):
        error_of(await api.get("/v2" + path), 503, "model_unavailable")
    error_of(await _infer(api, jpeg), 503, "model_unavailable")
    assert (await api.get("/v2/health/live")).status_code == 200
    (entry,) = (await api.post("/v2/repository/index")).json()
    assert entry["state"] == "UNAVAILABLE"
    assert (await api.post("/v2/repository/index", json={"ready": True})).json() == []


def test_a_packed_image_is_as_tritons_extension_has_it() -> None:
    assert packed(b"ab") == b"\x02\x00\x00\x00ab"


async def test_openapi_knows_every_route(api: httpx.AsyncClient) -> None:
    paths = (await api.get("/openapi.json")).json()["paths"]
    for path in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        operation = paths[path + "/infer"]["post"]
        named = {each["name"] for each in operation["parameters"]}
        assert HEADER_LENGTH.lower() in named
        assert named >= {part[1:-1] for part in path.split("/") if part.startswith("{")}
        error = operation["responses"]["400"]["content"]["application/json"]["schema"]["$ref"]
        assert error.endswith("/ProtocolError")
        for suffix in ("", "/ready", "/config", "/stats"):
            assert "get" in paths[path + suffix]
