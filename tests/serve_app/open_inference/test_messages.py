"""Messages of gRPC: raw and typed contents are the same request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferResult, service_pb2

from models.errors import MalformedRequest
from serve_app.open_inference.inference import InferenceAnswer
from serve_app.open_inference.messages import inference_answer, inference_request
from serve_app.open_inference.outputs import requested, tensors
from serve_app.open_inference.tensors import read_images
from tests.serve_app.open_inference.examples import SHAPE, packed, pixels, prediction


def _request(name: str, datatype: str, shape: list[int]) -> tuple[Any, Any]:
    request = service_pb2.ModelInferRequest(model_name="m", model_version="v", id="mine")
    return request, request.inputs.add(name=name, datatype=datatype, shape=shape)


def test_raw_and_typed_images_are_the_same() -> None:
    images = [b"\xff\xd8", b"two"]
    raw, _ = _request("IMAGE", "BYTES", [2])
    raw.raw_input_contents.append(packed(*images))
    typed, tensor = _request("IMAGE", "BYTES", [2, 1])
    tensor.contents.bytes_contents.extend(images)
    for message in (raw, typed):
        assert read_images(inference_request(message).inputs, 2) == images


def test_raw_and_typed_pixels_are_the_same() -> None:
    image = pixels(5)
    for datatype, dtype, field in (
        ("UINT8", np.uint8, "uint_contents"),
        ("FP32", np.float32, "fp32_contents"),
    ):
        values = image if dtype is np.uint8 else image / np.float32(255)
        raw, _ = _request("PIXELS", datatype, [1, *SHAPE])
        raw.raw_input_contents.append(values.tobytes())
        typed, tensor = _request("PIXELS", datatype, [1, *SHAPE])
        getattr(tensor.contents, field).extend(values.flatten().tolist())
        for message in (raw, typed):
            (read,) = read_images(inference_request(message).inputs, 1)
            assert np.array_equal(read, image[0])


def test_typed_values_that_are_no_uint8_are_refused() -> None:
    message, tensor = _request("PIXELS", "UINT8", [1, *SHAPE])
    tensor.contents.uint_contents.extend([256] * (224 * 224 * 3))
    with pytest.raises(MalformedRequest, match="from 0 to 255"):
        read_images(inference_request(message).inputs, 1)


def test_contents_of_another_type_are_missing() -> None:
    message, tensor = _request("IMAGE", "BYTES", [1])
    tensor.contents.int_contents.append(1)
    with pytest.raises(MalformedRequest):
        read_images(inference_request(message).inputs, 1)
    message, tensor = _request("IMAGE", "INT64", [1])
    tensor.contents.int64_contents.append(1)
    with pytest.raises(MalformedRequest, match="BYTES"):
        read_images(inference_request(message).inputs, 1)


def test_raw_contents_stand_for_each_input_and_alone() -> None:
    message, tensor = _request("IMAGE", "BYTES", [1])
    message.raw_input_contents.extend([packed(b"a"), packed(b"b")])
    with pytest.raises(MalformedRequest, match="2 raw_input_contents for 1 inputs"):
        inference_request(message)
    del message.raw_input_contents[1]
    tensor.contents.bytes_contents.append(b"a")
    with pytest.raises(MalformedRequest, match="contents"):
        inference_request(message)


def test_shared_memory_is_refused() -> None:
    message, tensor = _request("IMAGE", "BYTES", [1])
    tensor.parameters["shared_memory_region"].string_param = "a"
    with pytest.raises(MalformedRequest, match="shared memory"):
        inference_request(message)


def test_names_and_parameters_are_read() -> None:
    message, _ = _request("IMAGE", "BYTES", [1])
    message.parameters["priority"].uint64_param = 2
    message.parameters["timeout"].int64_param = 7
    message.parameters["note"].string_param = "x"
    message.parameters["empty"].SetInParent()
    output = message.outputs.add(name="PROBABILITIES")
    output.parameters["classification"].int64_param = 3
    request = inference_request(message)
    assert (request.model, request.version, request.id) == ("m", "v", "mine")
    assert request.parameters == {"priority": 2, "timeout": 7, "note": "x"}
    assert request.outputs == [("PROBABILITIES", {"classification": 3})]


def test_tritons_client_reads_an_answer() -> None:
    answers = [prediction(number) for number in range(2)]
    outputs = tensors(answers, requested({}, []))
    message = inference_answer(InferenceAnswer("dermserve", "v1", "mine", outputs))
    result = InferResult(service_pb2.ModelInferResponse.FromString(message.SerializeToString()))
    assert [code.decode() for code in result.as_numpy("PREDICTED_CLASS")] == [
        answer["predicted_class"] for answer in answers
    ]
    assert result.as_numpy("ABSTAIN").tolist() == [False, True]
    assert result.as_numpy("PROBABILITIES").shape == (2, 7)
    assert (result.get_response().id, result.get_response().model_version) == ("mine", "v1")
