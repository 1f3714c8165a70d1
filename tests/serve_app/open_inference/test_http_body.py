"""Bodies over HTTP: JSON and binary tensors, and every way in which they do not fit together."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from models.errors import BodyTooLarge, DermServeError, MalformedRequest
from serve_app.open_inference.http_body import read_request, write_answer
from serve_app.open_inference.inference import InferenceAnswer, InferenceRequest
from serve_app.open_inference.outputs import requested, tensors
from serve_app.open_inference.tensors import read_images
from tests.serve_app.open_inference.examples import (
    HEADER_LENGTH,
    SHAPE,
    binary_body,
    binary_input,
    image_body,
    packed,
    pixels,
    prediction,
)

MAX_JSON = 10_000


def _read(body: bytes, headers: dict[str, str] | None = None) -> InferenceRequest:
    length = (headers or {}).get(HEADER_LENGTH)
    return read_request(body, length, model="m", version="", max_json_bytes=MAX_JSON)


def test_what_tritons_client_writes_is_read() -> None:
    image = pixels(3, 2)
    tensor = InferInput("PIXELS", list(image.shape), "UINT8")
    tensor.set_data_from_numpy(image)
    outputs = [
        InferRequestedOutput("CONFIDENCE", binary_data=False),
        InferRequestedOutput("PROBABILITIES", class_count=2),
    ]
    body, length = InferenceServerClient.generate_request_body(
        [tensor], outputs=outputs, request_id="mine", priority=2, timeout=1000
    )
    request = _read(body, {HEADER_LENGTH: str(length)})
    assert request.id == "mine"
    assert request.parameters == {"priority": 2, "timeout": 1000}
    assert np.array_equal(read_images(request.inputs, 2), image)
    confidence, probabilities = requested(request.parameters, request.outputs)
    assert (confidence.name, confidence.binary, confidence.classes) == ("CONFIDENCE", False, 0)
    assert (probabilities.binary, probabilities.classes) == (True, 2)


def test_json_alone_is_read() -> None:
    body = {
        "inputs": [{"name": "IMAGE", "shape": [1], "datatype": "BYTES", "data": ["YQ=="]}],
        "more": 1,
    }
    request = _read(json.dumps(body).encode())
    assert read_images(request.inputs, 1) == [b"a"]
    assert (request.id, request.parameters, request.outputs) == ("", {}, [])


def test_null_is_as_good_as_nothing() -> None:
    nothing = {"id": None, "parameters": None, "outputs": None}
    tensor = {"name": "IMAGE", "shape": [1], "datatype": "BYTES", "data": ["YQ=="]}
    request = _read(json.dumps({"inputs": [{**tensor, "parameters": None}], **nothing}).encode())
    assert (request.id, request.parameters, request.outputs) == ("", {}, [])
    outputs = [{"name": "CONFIDENCE", "parameters": None}]
    request = _read(json.dumps({"inputs": [tensor], "outputs": outputs}).encode())
    assert request.outputs == [("CONFIDENCE", {})]


@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
def test_eight_images_of_numbers_are_read(datatype: str) -> None:
    images = pixels(1, 8)
    tensor = {"name": "PIXELS", "shape": [8, *SHAPE], "datatype": datatype}
    tensor["data"] = (images // 255).tolist() if datatype == "FP32" else images.ravel().tolist()
    outputs = [{"name": name} for name in ("PROBABILITIES", "CONFIDENCE", "PREDICTION")]
    whole = {"id": "mine", "parameters": {"priority": 1}, "inputs": [tensor], "outputs": outputs}
    body = json.dumps(whole).encode()
    request = read_request(body, None, model="m", version="", max_json_bytes=len(body))
    expected = images // 255 * 255 if datatype == "FP32" else images
    assert np.array_equal(read_images(request.inputs, 8), expected)


@pytest.mark.parametrize("length", ["-1", "", "abc", "1.0", "٣", "9" * 30, "100000", "1"])
def test_a_header_that_lies_is_refused(length: str) -> None:
    body, _ = image_body(b"a")
    with pytest.raises(MalformedRequest):
        _read(body, {HEADER_LENGTH: length})


@pytest.mark.parametrize("size", [-1, 0, 4, 6, 7, 2**70, 1.0, "5", True, None])
def test_a_binary_size_that_does_not_fit_is_refused(size: Any) -> None:
    raw = packed(b"a")
    tensor = binary_input(raw)
    tensor["parameters"]["binary_data_size"] = size
    with pytest.raises(MalformedRequest):
        _read(*binary_body(raw, {"inputs": [tensor]}))


def test_tensors_do_not_overlap() -> None:
    raw = packed(b"a") + packed(b"b")
    inputs = [binary_input(packed(b"a")), binary_input(packed(b"b"))]
    first, second = _read(*binary_body(raw, {"inputs": inputs})).inputs
    assert (bytes(first.content), bytes(second.content)) == (packed(b"a"), packed(b"b"))
    inputs[0]["parameters"]["binary_data_size"] = len(raw)
    with pytest.raises(MalformedRequest, match="0 bytes are left"):
        _read(*binary_body(raw, {"inputs": inputs}))


def test_bytes_that_no_tensor_has_are_refused() -> None:
    body, headers = image_body(b"a")
    with pytest.raises(MalformedRequest, match="1 bytes are left"):
        _read(body + b"x", headers)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe",
        b'{"inputs": []}',
        b'{"inputs": [1]}',
        b'{"inputs": [{"name": "IMAGE"}]}',
        b'{"inputs": [{"name": "IMAGE", "shape": [1], "datatype": "BYTES"}]}',
        b'{"inputs": [{"name": "IMAGE", "shape": [-1], "datatype": "BYTES", "data": []}]}',
        b'{"inputs": [{"name": "IMAGE", "shape": ["1"], "datatype": "BYTES", "data": []}]}',
        b'{"inputs": [{"name": "IMAGE", "shape": [1.0], "datatype": "BYTES", "data": []}]}',
        b'{"inputs": [{"name": "IMAGE", "shape": [1], "datatype": 1, "data": []}]}',
        b'{"id": 3, "inputs": [{"name": "a", "shape": [1], "datatype": "BYTES", "data": []}]}',
        b'{"parameters": [], "inputs": [{"name": "a", "shape": [], "datatype": "", "data": []}]}',
        b"[" * 5000,
        json.dumps({"inputs": [binary_input(b"", shared_memory_region="a")]}).encode(),
    ],
)
def test_json_that_is_no_request_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedRequest):
        _read(text)


def test_json_has_a_limit_of_its_own() -> None:
    raw = packed(bytes(2 * MAX_JSON))
    _read(*binary_body(raw, {"inputs": [binary_input(raw)]}))
    with pytest.raises(BodyTooLarge, match="binary form"):
        _read(b" " * (MAX_JSON + 1))


@given(
    body=st.binary(max_size=200) | st.text(max_size=50).map(str.encode),
    length=st.none() | st.integers(-5, 300).map(str) | st.text(max_size=5),
)
def test_whatever_comes_is_read_or_refused(body: bytes, length: str | None) -> None:
    headers = {} if length is None else {HEADER_LENGTH: length}
    with pytest.raises(DermServeError):
        _read(body, headers)


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_client_reads_what_is_written(binary: bool) -> None:
    answers = [prediction(number) for number in range(2)]
    wanted = [
        ("PREDICTED_CLASS", {"binary_data": binary}),
        ("ABSTAIN", {"binary_data": binary}),
        ("PROBABILITIES", {"binary_data": binary}),
        ("CONFIDENCE", {}),
    ]
    outputs = tensors(answers, requested({}, wanted))
    body, length = write_answer(InferenceAnswer("dermserve", "v1", "mine", outputs))
    assert (length is not None) is binary
    result = InferResult.from_response_body(body, header_length=length)
    response = result.get_response()
    assert (response["model_name"], response["model_version"]) == ("dermserve", "v1")
    assert response["id"] == "mine"
    codes = [str(code, "utf-8") if binary else code for code in result.as_numpy("PREDICTED_CLASS")]
    assert codes == [answer["predicted_class"] for answer in answers]
    assert result.as_numpy("ABSTAIN").tolist() == [False, True]
    assert result.as_numpy("PROBABILITIES") == pytest.approx(
        np.array([list(answer["probabilities"].values()) for answer in answers]), abs=1e-6
    )
    assert result.as_numpy("CONFIDENCE").shape == (2,)


def test_an_id_that_was_not_given_is_not_echoed() -> None:
    body, length = write_answer(InferenceAnswer("m", "v", "", []))
    assert length is None
    assert json.loads(body) == {"model_name": "m", "model_version": "v", "outputs": []}


def test_the_shape_of_pixels_is_kept() -> None:
    raw = pixels(1).tobytes()
    tensor = binary_input(raw, name="PIXELS", datatype="UINT8", shape=[1, *SHAPE])
    (read,) = _read(*binary_body(raw, {"inputs": [tensor]})).inputs
    assert read.shape == (1, *SHAPE)
