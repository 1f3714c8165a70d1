"""Tensors of clients: what is in them arrives exactly, and nothing else gets through."""

from __future__ import annotations

import base64
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

from models.errors import MalformedRequest, TooManyFiles
from serve_app.message import is_pixels
from serve_app.open_inference.tensors import (
    IMAGE,
    PIXELS,
    InputTensor,
    pack_bytes,
    read_images,
    unpack_bytes,
)
from tests.serve_app.open_inference.examples import SHAPE, packed, pixels

MAX = 4


def _read(name: str, datatype: str, shape: tuple[int, ...], content: Any) -> list[Any]:
    if isinstance(content, bytes):
        content = memoryview(content)
    return read_images([InputTensor(name, datatype, shape, content)], MAX)


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_bytes_travel_as_tritons_clients_pack_them(elements: list[bytes]) -> None:
    theirs = serialize_byte_tensor(np.array(elements, np.object_))
    assert pack_bytes(elements) == (theirs.item() if elements else b"")
    assert unpack_bytes(memoryview(pack_bytes(elements)), len(elements)) == elements
    assert deserialize_bytes_tensor(pack_bytes(elements)).tolist() == elements


@given(raw=st.binary(max_size=60), count=st.integers(0, 6))
def test_whatever_the_bytes_they_are_so_many_elements_or_an_error(raw: bytes, count: int) -> None:
    try:
        elements = unpack_bytes(memoryview(raw), count)
    except MalformedRequest:
        return
    assert len(elements) == count
    assert pack_bytes(elements) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x01\x00",  # no whole length
        b"\xff\xff\xff\xffabc",  # a length of 4 GiB
        packed(b"abc")[:-1],
        packed(b"abc") + b"\x00",
        packed(b"abc", b"def"),
    ],
)
def test_lengths_that_lie_are_refused(raw: bytes) -> None:
    with pytest.raises(MalformedRequest):
        _read(IMAGE, "BYTES", (1,), raw)


def test_images_come_in_binary_form_as_base64_and_as_bytes() -> None:
    images = [b"\xff\xd8 one", b"", b"\x00\xff"]
    texts = [base64.b64encode(image).decode() for image in images]
    for shape in ((3,), (3, 1)):
        assert _read(IMAGE, "BYTES", shape, packed(*images)) == images
        assert _read(IMAGE, "BYTES", shape, texts) == images
        assert _read(IMAGE, "BYTES", shape, images) == images
    assert _read(IMAGE, "BYTES", (3, 1), [[text] for text in texts]) == images


@pytest.mark.parametrize("element", ["a picture", "YQ=", "ÄÖÜ=", 7, None, ["YQ=="], {}, True])
def test_what_is_no_base64_is_refused_with_its_number(element: Any) -> None:
    with pytest.raises(MalformedRequest, match="Element 1 of IMAGE"):
        _read(IMAGE, "BYTES", (2,), ["YQ==", element])


@given(st.lists(st.integers(0, 255), min_size=4, max_size=4))
def test_pixels_are_the_same_in_every_form(corners: list[int]) -> None:
    image = pixels(1)
    image[0, 0, 0], image[0, -1, -1, 0] = corners[:3], corners[3]
    forms = {
        "UINT8": [image.tobytes(), image.flatten().tolist()],
        "FP32": [(image / np.float32(255)).astype("<f4").tobytes()],
    }
    for datatype, contents in forms.items():
        for content in contents:
            (read,) = _read(PIXELS, datatype, (1, *SHAPE), content)
            assert is_pixels(read)
            assert read.flags.writeable
            assert (read == image[0]).all()


def test_every_value_of_fp32_is_its_uint8() -> None:
    image = np.resize(np.arange(256, dtype=np.uint8), (1, *SHAPE))
    for floats in (image / np.float32(255), (image / 255).astype(np.float32)):
        (read,) = _read(PIXELS, "FP32", image.shape, floats.astype("<f4").tobytes())
        assert (read == image[0]).all()
    (nested,) = _read(PIXELS, "FP32", image.shape, (image / 255).tolist())
    assert (nested == image[0]).all()


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, -1e-3, 1.001, 255.0, 1e300])
def test_floats_beyond_the_range_are_refused(wrong: float) -> None:
    values = np.full((2, *SHAPE), 0.5)
    values[1, 100, 7, 2] = wrong
    with np.errstate(over="ignore"):
        raw = values.astype("<f4").tobytes()
    for content in (raw, values.flatten().tolist()):
        with pytest.raises(MalformedRequest, match="from 0 to 1"):
            _read(PIXELS, "FP32", values.shape, content)


@pytest.mark.parametrize("wrong", [-1, 256, 0.5, math.nan, 1e300])
def test_numbers_that_are_no_uint8_are_refused(wrong: float) -> None:
    values = pixels(2).flatten().tolist()
    values[-1] = wrong
    with pytest.raises(MalformedRequest, match="from 0 to 255"):
        _read(PIXELS, "UINT8", (1, *SHAPE), values)


@pytest.mark.parametrize("data", [["a"], [None], [{}], [[1], 2], [10**400], [[[]]], []])
def test_data_that_is_no_numbers_is_refused(data: list[Any]) -> None:
    for datatype in ("UINT8", "FP32"):
        with pytest.raises(MalformedRequest):
            _read(PIXELS, datatype, (1, *SHAPE), data)


def test_one_long_string_does_not_make_a_large_array() -> None:
    data = ["1" * 1_000_000, *["1"] * 1000]
    tracemalloc.start()
    try:
        with pytest.raises(MalformedRequest):
            _read(PIXELS, "FP32", (1, *SHAPE), data)
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


SHAPES = st.lists(st.sampled_from([-1, 0, 1, 2, 3, 224, 2**31, 2**62, 2**63 - 1]), max_size=6).map(
    tuple
)
TENSORS = st.builds(
    InputTensor,
    st.sampled_from([IMAGE, PIXELS]),
    st.sampled_from(["BYTES", "UINT8", "FP32", "INT64"]),
    SHAPES,
    st.binary(max_size=50).map(memoryview)
    | st.lists(st.none() | st.integers() | st.text(max_size=3) | st.floats(), max_size=4),
)


@given(st.lists(TENSORS, max_size=3))
def test_whatever_the_tensors_they_are_images_or_refused(inputs: list[InputTensor]) -> None:
    try:
        images = read_images(inputs, MAX)
    except (MalformedRequest, TooManyFiles):
        return
    # Empty strings are base64 of nothing, and the decoder's business.
    assert len(images) == inputs[0].shape[0]


@pytest.mark.parametrize("shape", [(), (0,), (1, 2), (1, 1, 1), (-1,)])
def test_wrong_shapes_of_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedRequest, match="shape"):
        _read(IMAGE, "BYTES", shape, packed(b"a"))


@pytest.mark.parametrize(
    "shape", [(), SHAPE, (0, *SHAPE), (1, 3, 224, 224), (1, 224, 224), (-1, *SHAPE)]
)
def test_wrong_shapes_of_pixels_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MalformedRequest, match="shape"):
        _read(PIXELS, "UINT8", shape, pixels(1).tobytes())


@pytest.mark.parametrize("size", [0, 1, 224 * 224 * 3 - 1, 224 * 224 * 3 + 1])
def test_a_shape_that_its_values_do_not_fill_is_refused(size: int) -> None:
    with pytest.raises(MalformedRequest, match="do not fill its shape"):
        _read(PIXELS, "UINT8", (1, *SHAPE), bytes(size))
    with pytest.raises(MalformedRequest, match="do not fill its shape"):
        _read(PIXELS, "FP32", (1, *SHAPE), bytes(4 * size))


def test_more_images_than_a_request_may_carry_are_refused() -> None:
    assert len(_read(IMAGE, "BYTES", (MAX,), packed(*[b"a"] * MAX))) == MAX
    for shape in ((MAX + 1,), (2**62,)):
        with pytest.raises(TooManyFiles):
            _read(IMAGE, "BYTES", shape, packed(*[b"a"] * (MAX + 1)))
    with pytest.raises(TooManyFiles):
        _read(PIXELS, "UINT8", (2**62, *SHAPE), b"")


def test_there_is_exactly_one_input() -> None:
    image = InputTensor(IMAGE, "BYTES", (1,), [b"a"])
    for inputs in ([], [image, image], [InputTensor("image", "BYTES", (1,), [b"a"])]):
        with pytest.raises(MalformedRequest, match="exactly one input"):
            read_images(inputs, MAX)
