"""Clients that we did not write: Triton's, over HTTP and gRPC, against the running server."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import grpc as grpc_transport
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from cluster.server import LocalServer
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.package import ModelPackage
from models.preprocessing import decode_image
from serve_app import schemas

MODEL = "dermserve"
JPEG = synthetic_jpeg("mel", seed=11)
PIXELS = decode_image(JPEG)[None]


def _small_png() -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (4, 4)).save(encoded, "PNG")
    return encoded.getvalue()


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


@pytest.fixture(scope="module")
def triton(request: pytest.FixtureRequest, server: LocalServer) -> Iterator[Any]:
    """A client of Triton."""
    module, address = _transport(request.param, server)
    client = module.InferenceServerClient(address)
    yield client
    client.close()


both = pytest.mark.parametrize("triton", ["http", "grpc"], indirect=True)


def _transport(name: str, server: LocalServer) -> tuple[Any, str]:
    if name == "http":
        return triton_http, server.url.removeprefix("http://")
    assert server.grpc_address is not None
    return triton_grpc, server.grpc_address


def _module(client: Any) -> Any:
    return triton_http if isinstance(client, triton_http.InferenceServerClient) else triton_grpc


def _images(client: Any, *images: bytes) -> Any:
    tensor = _module(client).InferInput("IMAGE", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, np.object_))
    return tensor


def _pixels(client: Any, pixels: Any, datatype: str) -> Any:
    tensor = _module(client).InferInput("PIXELS", list(pixels.shape), datatype)
    tensor.set_data_from_numpy(pixels)
    return tensor


def _refusal(client: Any, *inputs: Any, **terms: Any) -> tuple[str, str]:
    """The status and the message of an inference that must fail."""
    with pytest.raises(InferenceServerException) as raised:
        client.infer(MODEL, list(inputs), **terms)
    return raised.value.status().removeprefix("StatusCode."), raised.value.message()


def _probabilities(result: Any) -> Any:
    return result.as_numpy("PROBABILITIES")


@both
def test_the_server_describes_itself(triton: Any, tiny_package: ModelPackage) -> None:
    assert triton.is_server_live()
    assert triton.is_server_ready()
    assert triton.is_model_ready(MODEL)
    version = tiny_package.manifest.version
    assert triton.is_model_ready(MODEL, version)
    terms = {} if _module(triton) is triton_http else {"as_json": True}
    assert triton.get_server_metadata(**terms)["name"] == MODEL
    metadata = triton.get_model_metadata(MODEL, **terms)
    assert metadata["versions"] == [version]
    assert [each["name"] for each in metadata["inputs"]] == ["IMAGE", "PIXELS"]
    config = triton.get_model_config(MODEL, **terms)
    config = config.get("config", config)
    assert config["max_batch_size"] == 64


@both
def test_every_form_of_an_image_has_the_answer_of_predict(
    triton: Any, client: httpx.Client
) -> None:
    expected = schemas.Prediction.model_validate(client.post("/predict", content=JPEG).json())
    floats = (PIXELS / np.float32(255)).astype(np.float32)
    for tensor in (
        _images(triton, JPEG),
        _pixels(triton, PIXELS, "UINT8"),
        _pixels(triton, floats, "FP32"),
    ):
        result = triton.infer(MODEL, [tensor])
        assert _probabilities(result)[0] == pytest.approx(
            np.array([expected.probabilities[code] for code in CLASSES]), abs=1e-6
        )
        assert result.as_numpy("PREDICTED_CLASS")[0].decode() == expected.predicted_class
        assert result.as_numpy("CONFIDENCE")[0] == pytest.approx(expected.confidence, abs=1e-6)
        assert result.as_numpy("MALIGNANT_SCORE")[0] == pytest.approx(
            expected.malignant_score, abs=1e-6
        )
        assert result.as_numpy("ABSTAIN").tolist() == [expected.abstain.abstain]


@both
def test_many_images_are_answered_in_order(triton: Any) -> None:
    images = [synthetic_jpeg(code, seed=3) for code in CLASSES]
    alone = [_probabilities(triton.infer(MODEL, [_images(triton, each)]))[0] for each in images]
    together = _probabilities(triton.infer(MODEL, [_images(triton, *images * 4)]))
    assert together.shape == (28, 7)
    assert together == pytest.approx(np.array(alone * 4), abs=0.01)


@both
def test_outputs_and_the_id_are_what_was_asked_for(triton: Any, tiny_package: ModelPackage) -> None:
    module = _module(triton)
    outputs = [
        module.InferRequestedOutput("PREDICTION"),
        module.InferRequestedOutput("PROBABILITIES", class_count=2),
    ]
    version = tiny_package.manifest.version
    result = triton.infer(
        MODEL,
        [_images(triton, JPEG)],
        model_version=version,
        outputs=outputs,
        request_id="mine",
        priority=2,
        timeout=15_000_000,
    )
    response = result.get_response()
    answered = response if isinstance(response, dict) else {
        "id": response.id,
        "model_version": response.model_version,
        "outputs": response.outputs,
    }  # fmt: skip
    assert (answered["id"], answered["model_version"]) == ("mine", version)
    assert len(answered["outputs"]) == 2
    whole = schemas.Prediction.model_validate_json(result.as_numpy("PREDICTION")[0])
    first = result.as_numpy("PROBABILITIES")[0, 0].decode()
    assert float(first.split(":")[0]) == pytest.approx(max(whole.probabilities.values()), abs=1e-6)


def test_json_alone_will_do(client: httpx.Client, server: LocalServer) -> None:
    text = base64.b64encode(JPEG).decode()
    tensor = triton_http.InferInput("IMAGE", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([text], np.object_), binary_data=False)
    outputs = [triton_http.InferRequestedOutput("PROBABILITIES", binary_data=False)]
    with triton_http.InferenceServerClient(server.url.removeprefix("http://")) as triton:
        result = triton.infer(MODEL, [tensor], outputs=outputs)
    expected = client.post("/predict", content=JPEG).json()["probabilities"]
    assert _probabilities(result)[0].tolist() == pytest.approx(list(expected.values()), abs=1e-6)


async def test_the_asynchronous_client_will_do(server: LocalServer) -> None:
    address = server.url.removeprefix("http://")
    async with triton_http_aio.InferenceServerClient(address) as triton:
        tensor = triton_http.InferInput("PIXELS", list(PIXELS.shape), "UINT8")
        tensor.set_data_from_numpy(PIXELS)
        result = await triton.infer(MODEL, [tensor])
    assert _probabilities(result).sum() == pytest.approx(1, abs=1e-5)


def test_typed_contents_will_do(server: LocalServer) -> None:
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    tensor = request.inputs.add(name="IMAGE", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(JPEG)
    with grpc_transport.insecure_channel(server.grpc_address) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request)
    assert response.outputs[0].name == "PROBABILITIES"


@pytest.mark.parametrize(
    ("image", "http", "grpc"),
    [
        (b"", "400", "INVALID_ARGUMENT"),
        (JPEG[:1000], "400", "INVALID_ARGUMENT"),
        (b"hello", "415", "INVALID_ARGUMENT"),
        (_small_png(), "422", "INVALID_ARGUMENT"),
        (bytes(21 * 2**20), "413", "INVALID_ARGUMENT"),
    ],
    ids=["empty", "truncated", "no image", "few pixels", "many bytes"],
)  # fmt: skip
@both
def test_a_bad_image_has_its_status(triton: Any, image: bytes, http: str, grpc: str) -> None:
    status, message = _refusal(triton, _images(triton, image))
    assert status == (http if _module(triton) is triton_http else grpc), message


@both
def test_a_bad_request_has_its_status(triton: Any) -> None:
    invalid, missing, late = (
        ("400", "404", "504")
        if _module(triton) is triton_http
        else ("INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED")
    )
    image = _images(triton, JPEG)
    assert _refusal(triton, image, image)[0] == invalid
    wrong_shape = _pixels(triton, PIXELS[0], "UINT8")
    assert _refusal(triton, wrong_shape) == (
        invalid,
        "The input PIXELS has shape [n,224,224,3], not [224,224,3].",
    )
    assert "from 0 to 1" in _refusal(triton, _pixels(triton, PIXELS.astype("f4"), "FP32"))[1]
    assert "Image 1 of 2" in _refusal(triton, _images(triton, JPEG, b"hello"))[1]
    assert _refusal(triton, image, model_version="99")[0] == missing
    assert _refusal(triton, image, timeout=1)[0] == late
    with pytest.raises(InferenceServerException, match="There is no model 'other'"):
        triton.infer("other", [image])


@both
def test_more_images_than_a_request_may_carry(triton: Any) -> None:
    status, message = _refusal(triton, _images(triton, *[JPEG] * 65))
    assert status == ("413" if _module(triton) is triton_http else "INVALID_ARGUMENT")
    assert "64 images" in message


def test_a_message_that_is_too_large_is_refused_before_it_is_read(server: LocalServer) -> None:
    with triton_grpc.InferenceServerClient(server.grpc_address) as triton:
        large = _pixels(triton, np.zeros((150, 224, 224, 3), np.float32), "FP32")
        status, _ = _refusal(triton, large)
    assert status == "RESOURCE_EXHAUSTED"


@both
def test_the_repository_is_the_registry(triton: Any, tiny_package: ModelPackage) -> None:
    terms = {} if _module(triton) is triton_http else {"as_json": True}
    index = triton.get_model_repository_index(**terms)
    entries = index if isinstance(index, list) else index["models"]
    states = {each["version"]: each["state"] for each in entries}
    assert states[tiny_package.manifest.version] == "READY"
    with pytest.raises(InferenceServerException, match="name a version"):
        triton.load_model(MODEL)
    with pytest.raises(InferenceServerException, match="needs its model"):
        triton.unload_model(MODEL)


def test_loading_what_serves_or_is_not_there(
    client: httpx.Client, tiny_package: ModelPackage
) -> None:
    def load(version: str) -> httpx.Response:
        wish = {"parameters": {"version": version}}
        return client.post(f"/v2/repository/models/{MODEL}/load", json=wish)

    assert load(tiny_package.manifest.version).status_code == 200
    response = load("99")
    assert (response.status_code, response.headers["x-error-code"]) == (404, "not_found")
    assert json.loads(response.content).keys() == {"error"}


@both
def test_statistics_grow(triton: Any) -> None:
    def count() -> int:
        terms = {} if _module(triton) is triton_http else {"as_json": True}
        found = triton.get_inference_statistics(MODEL, **terms)
        return sum(int(each["inference_count"]) for each in found["model_stats"])

    before = count()
    triton.infer(MODEL, [_images(triton, JPEG, JPEG)])
    assert count() >= before + 2


def test_what_is_not_offered_says_so(server: LocalServer) -> None:
    with (
        triton_grpc.InferenceServerClient(server.grpc_address) as triton,
        pytest.raises(InferenceServerException) as raised,
    ):
        triton.get_trace_settings()
    assert raised.value.status() == "StatusCode.UNIMPLEMENTED"


def test_an_error_of_grpc_has_its_code_and_request_id(server: LocalServer) -> None:
    request = service_pb2.ModelInferRequest(model_name="other")
    with (
        grpc_transport.insecure_channel(server.grpc_address) as channel,
        pytest.raises(grpc_transport.RpcError) as raised,
    ):
        service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(
            request, metadata=[("request_id", "mine")]
        )
    error: Any = raised.value
    trailers = dict(error.trailing_metadata())
    assert (trailers["error-code"], trailers["request_id"]) == ("not_found", "mine")
