"""Whatever text comes in forms, tables, maps and tensors, it is read as it is or refused."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import DermServeError, InvalidField, LabelsMismatch, MalformedRequest
from models.preprocessing import IMAGE_SIZE
from serve_app.open_inference.http_body import read_request
from serve_app.open_inference.tensors import pack_bytes, read_images
from serve_app.upload_labels import from_csv, from_json
from tests.fuzzing.targets import TARGETS, check_message
from tests.serve_app.forms import FORM, file, form

LIMIT = 1024 * 1024

texts = st.text(max_size=40)
names = st.text(st.characters(exclude_characters='"\r\n\\', exclude_categories=["Cs"]), max_size=40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def _run(target: str, data: bytes) -> str:
    """What a target says of some bytes; an exception that is no error of ours is raised."""
    try:
        TARGETS[target].run(data)
    except DermServeError as error:
        check_message(error)
        return error.code
    return "answered"


@settings(max_examples=300)
@given(st.lists(st.tuples(names, names, st.binary(max_size=60)), max_size=6), st.binary(max_size=3))
def test_any_form(parts: list[tuple[str, str, bytes]], tail: bytes) -> None:
    body = form(*(file(data, field, name) for field, name, data in parts)) + tail
    head = FORM["content-type"].encode() + b"\n"
    known = [field for field, _, _ in parts if field == "files"]
    for target in ("predict body", "batch body", "upload form"):
        code = _run(target, head + body)
        if not known and target != "predict body":
            assert code in ("missing_file", "malformed_request", "too_many_files")


@settings(max_examples=200)
@given(st.dictionaries(st.sampled_from(["content-type", "x"]), names), st.binary(max_size=300))
def test_any_bytes_with_any_content_type(headers: dict[str, str], body: bytes) -> None:
    header = headers.get("content-type", "multipart/form-data").encode("utf-8")
    for target in ("predict body", "batch body", "upload form"):
        _run(target, header + b"\n" + body)


@settings(max_examples=300)
@given(st.dictionaries(names.filter(str.strip), names, max_size=5))
def test_a_table_is_read_as_it_was_written(labels: dict[str, str]) -> None:
    written = io.StringIO(newline="")
    table = csv.writer(written)
    table.writerow(["file", "label"])
    table.writerows(labels.items())
    try:
        read = from_csv(written.getvalue().encode())
    except InvalidField as error:  # NUL, which csv does not take
        assert "\0" in written.getvalue()
        check_message(error)
    else:
        assert {name: given.label for name, given in read.items()} == labels


@settings(max_examples=300)
@given(json_values)
def test_any_json_as_labels(value: Any) -> None:
    try:
        read = from_json(json.dumps(value))
    except (InvalidField, LabelsMismatch) as error:
        check_message(error)
        return
    assert isinstance(value, dict)
    assert read.keys() == value.keys()


@settings(max_examples=300)
@given(json_values, st.sampled_from(["data", "shape", "datatype", "name", "parameters"]))
def test_any_json_in_a_tensor(value: Any, field: str) -> None:
    tensor = {"name": "PIXELS", "datatype": "UINT8", "shape": [1, 224, 224, 3], "data": [0]}
    body = json.dumps({"inputs": [{**tensor, field: value}], "id": "x"})
    try:
        asked = read_request(body.encode(), None, model="m", version="", max_json_bytes=LIMIT)
        read_images(asked.inputs, 4)
    except DermServeError as error:
        check_message(error)
    else:
        pytest.fail(f"one number, or {value!r}, passed for an image")


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(-2, 2))
def test_elements_come_back_or_none_does(elements: list[bytes], shift: int) -> None:
    packed = pack_bytes(elements)
    sizes = {"binary_data_size": len(packed)}
    text = json.dumps(
        {
            "inputs": [
                {
                    "name": "IMAGE",
                    "datatype": "BYTES",
                    "shape": [len(elements)],
                    "parameters": sizes,
                }
            ]
        }
    ).encode()
    read: list[Any] = []
    try:
        asked = read_request(
            text + packed, str(len(text) + shift), model="m", version="", max_json_bytes=LIMIT
        )
        read = read_images(asked.inputs, 4)
    except MalformedRequest as error:
        check_message(error)
        assert shift != 0
    assert read == ([] if shift else elements)


@settings(max_examples=50)
@given(st.floats(width=32), st.integers(0, IMAGE_SIZE * IMAGE_SIZE * 3 - 1))
def test_any_number_among_pixels(value: float, place: int) -> None:
    pixels = np.zeros(IMAGE_SIZE * IMAGE_SIZE * 3, "<f4")
    pixels[place] = value
    sizes = {"binary_data_size": pixels.nbytes}
    shape = [1, IMAGE_SIZE, IMAGE_SIZE, 3]
    text = json.dumps(
        {"inputs": [{"name": "PIXELS", "datatype": "FP32", "shape": shape, "parameters": sizes}]}
    ).encode()
    asked = read_request(
        text + pixels.tobytes(), str(len(text)), model="m", version="", max_json_bytes=LIMIT
    )
    if math.isfinite(value) and 0 <= value <= 1:
        (read,) = read_images(asked.inputs, 1)
        assert np.asarray(read).ravel()[place] == round(float(np.float32(value) * np.float32(255)))
    else:
        with pytest.raises(MalformedRequest, match="from 0 to 1"):
            read_images(asked.inputs, 1)
