"""Outputs: what is asked for comes, in the form that is asked for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import deserialize_bytes_tensor

from models.classes import CLASSES
from models.errors import InvalidField, MalformedRequest
from serve_app.open_inference.outputs import OUTPUTS, OutputTensor, requested, tensors
from tests.serve_app.open_inference.examples import prediction

ANSWERS = [prediction(number) for number in range(3)]


def _tensor(name: str, **parameters: Any) -> OutputTensor:
    (tensor,) = tensors(ANSWERS, requested({}, [(name, parameters)]))
    return tensor


def test_by_default_all_come_but_the_whole_prediction() -> None:
    wanted = requested({}, [])
    assert [each.name for each in wanted] == [
        "PROBABILITIES",
        "PREDICTED_CLASS",
        "CONFIDENCE",
        "MALIGNANT_SCORE",
        "ABSTAIN",
    ]
    assert not any(each.binary for each in wanted)
    assert {output.name for output in OUTPUTS} - {each.name for each in wanted} == {"PREDICTION"}


def test_outputs_come_in_the_order_they_are_asked_for() -> None:
    wanted = requested({}, [("CONFIDENCE", {}), ("PROBABILITIES", {})])
    assert [tensor.name for tensor in tensors(ANSWERS, wanted)] == ["CONFIDENCE", "PROBABILITIES"]


@pytest.mark.parametrize(
    ("of_request", "of_output", "binary"),
    [({}, {}, False), ({"binary_data_output": True}, {}, True), ({}, {"binary_data": True}, True),
     ({"binary_data_output": True}, {"binary_data": False}, False)],
)  # fmt: skip
def test_an_output_says_its_form_or_else_the_request_does(
    of_request: dict[str, Any], of_output: dict[str, Any], binary: bool
) -> None:
    (wanted,) = requested(of_request, [("ABSTAIN", of_output)])
    assert wanted.binary is binary


def test_values_and_their_binary_form_agree() -> None:
    probabilities = _tensor("PROBABILITIES")
    expected = [[answer["probabilities"][code] for code in CLASSES] for answer in ANSWERS]
    assert (probabilities.datatype, probabilities.shape) == ("FP32", [3, 7])
    assert np.reshape(probabilities.values, (3, 7)).tolist() == expected
    raw = np.frombuffer(probabilities.packed(), "<f4").reshape(3, 7)
    assert raw == pytest.approx(np.array(expected), rel=1e-6)

    classes = _tensor("PREDICTED_CLASS")
    assert (classes.datatype, classes.shape) == ("BYTES", [3])
    assert [code.decode() for code in deserialize_bytes_tensor(classes.packed())] == [
        answer["predicted_class"] for answer in ANSWERS
    ]

    abstain = _tensor("ABSTAIN")
    assert (abstain.datatype, abstain.shape) == ("BOOL", [3])
    assert np.frombuffer(abstain.packed(), bool).tolist() == abstain.values == [False, True, False]

    for name, field in (("CONFIDENCE", "confidence"), ("MALIGNANT_SCORE", "malignant_score")):
        assert _tensor(name).values == [answer[field] for answer in ANSWERS]


def test_the_whole_prediction_comes_as_json() -> None:
    whole = _tensor("PREDICTION")
    assert [json.loads(text) for text in whole.values] == ANSWERS
    unpacked = deserialize_bytes_tensor(whole.packed())
    assert [json.loads(text) for text in unpacked] == ANSWERS


@pytest.mark.parametrize(("classes", "columns"), [(1, 1), (3, 3), (100, 7)])
def test_a_classification_names_the_likeliest_classes(classes: int, columns: int) -> None:
    tensor = _tensor("PROBABILITIES", classification=classes)
    assert (tensor.datatype, tensor.shape) == ("BYTES", [3, columns])
    value, index, label = tensor.values[0].split(":")
    assert label == CLASSES[int(index)] == ANSWERS[0]["predicted_class"]
    assert float(value) == pytest.approx(ANSWERS[0]["confidence"], abs=1e-6)
    values = [float(text.split(":")[0]) for text in tensor.values[:columns]]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("name", "parameters", "error"),
    [
        ("LOGITS", {}, MalformedRequest),
        ("ABSTAIN", {"classification": 2}, MalformedRequest),
        ("PROBABILITIES", {"shared_memory_region": "a"}, MalformedRequest),
        ("PROBABILITIES", {"classification": -1}, InvalidField),
        ("PROBABILITIES", {"classification": "2"}, InvalidField),
        ("PROBABILITIES", {"classification": True}, InvalidField),
        ("PROBABILITIES", {"binary_data": 1}, InvalidField),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    name: str, parameters: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        requested({}, [(name, parameters)])


def test_an_output_is_named_once() -> None:
    with pytest.raises(MalformedRequest, match="twice"):
        requested({}, [("ABSTAIN", {}), ("ABSTAIN", {})])
    with pytest.raises(InvalidField):
        requested({"binary_data_output": "yes"}, [])
