"""A message: payloads and terms are the same on the other side, whichever way they travel."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import MalformedRequest
from models.preprocessing import IMAGE_SIZE
from serve_app.message import Message, Pixels, is_pixels
from serve_app.shared_memory import NotShared, Place, SharedFile, SharedReader, host
from serve_app.work import Priority, Work
from tests.serve_app.virtual_time import pass_s, run

SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)

needs_memory = pytest.mark.skipif(host() is None, reason="this system has no such memory")
ways = pytest.mark.parametrize("way", ["value", pytest.param("memory", marks=needs_memory)])


@pytest.fixture
def reader() -> Iterator[SharedReader]:
    reader = SharedReader()
    yield reader
    for descriptor in reader._open.values():
        os.close(descriptor)


def _carry(works: list[Work[Any]], way: str) -> tuple[Message, SharedFile | None]:
    """The message on the other side, and what has to live until it is read."""
    if way == "value":
        return pickle.loads(pickle.dumps(Message.by_value(works))), None
    file = SharedFile()
    return pickle.loads(pickle.dumps(Message.in_memory(works, file))), file


def _image(value: int) -> Pixels:
    return np.random.default_rng(value).integers(0, 256, SHAPE, np.uint8)


WORKS = st.lists(
    st.builds(
        Work,
        st.binary(max_size=50),
        st.sampled_from(Priority),
        st.none() | st.floats(900, 1100),
    ),
    max_size=6,
)


@ways
@given(works=WORKS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_files_arrive_with_their_terms(
    reader: SharedReader, way: str, works: list[Work[bytes]]
) -> None:
    async def scenario() -> None:
        message, _file = _carry(works, way)
        received = message.images(reader)
        assert [work.payload for work in received] == [work.payload for work in works]
        assert [work.priority for work in received] == [work.priority for work in works]
        assert all(isinstance(work.priority, Priority) for work in received)
        for work, other in zip(works, received, strict=True):
            if work.deadline is None:
                assert other.deadline is None
            else:
                assert other.deadline == pytest.approx(work.deadline, abs=1e-9)

    run(scenario())


def test_a_deadline_is_on_the_receivers_clock() -> None:
    async def pack() -> Message:
        return Message.by_value([Work(b"a", deadline=1003.0), Work(b"b", deadline=999.0)])

    async def unpack(message: Message) -> list[float | None]:
        await pass_s(500)  # another machine has run for longer
        return [work.deadline for work in message.images(SharedReader())]

    message = run(pack())
    assert message.remaining_s == [3.0, -1.0]
    assert run(unpack(message)) == [1503.0, 1499.0]


@ways
def test_pixels_arrive(reader: SharedReader, way: str) -> None:
    works = [Work(_image(1)), Work(_image(2), Priority.BULK)]
    message, _file = _carry(works, way)
    received = message.pixels(reader)
    for work, other in zip(works, received, strict=True):
        assert other.payload.shape == SHAPE
        assert other.payload.dtype == np.uint8
        assert (other.payload == work.payload).all()
        assert other.priority is work.priority


@ways
def test_encoded_and_preprocessed_images_travel_together(reader: SharedReader, way: str) -> None:
    payloads = [b"one", _image(1), b"", _image(2)]
    message, _file = _carry([Work(payload) for payload in payloads], way)
    received = [work.payload for work in message.images(reader)]
    assert [received[0], received[2]] == [b"one", b""]
    for index in (1, 3):
        assert is_pixels(received[index])
        assert np.array_equal(received[index], payloads[index])


@ways
def test_an_array_that_is_no_pixels_is_refused(reader: SharedReader, way: str) -> None:
    message, _file = _carry([Work(b"one"), Work(np.zeros(7, np.uint8))], way)
    with pytest.raises(MalformedRequest, match="uint8"):
        message.images(reader)


@needs_memory
def test_pixels_are_the_receivers_own(reader: SharedReader) -> None:
    file = SharedFile()
    (received,) = Message.in_memory([Work(_image(1))], file).pixels(reader)
    file.write([_image(2)])  # the sender goes on once it has the answer
    assert (received.payload == _image(1)).all()


@needs_memory
def test_a_message_in_memory_says_only_where() -> None:
    file = SharedFile()
    message = Message.in_memory([Work(_image(1))], file)
    assert isinstance(message.content, Place)
    assert len(pickle.dumps(message)) < 1000


@ways
def test_no_work(reader: SharedReader, way: str) -> None:
    message, _file = _carry([], way)
    assert message.images(reader) == []
    assert message.pixels(reader) == []


@pytest.mark.parametrize(
    "payload",
    [
        np.zeros(SHAPE, np.float32),
        np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8),
        np.zeros((1, *SHAPE), np.uint8),
        b"an image file",
        bytearray(IMAGE_SIZE * IMAGE_SIZE * 3),
    ],
    ids=["dtype", "gray", "batch", "bytes", "bytearray"],
)
def test_what_is_no_pixels(reader: SharedReader, payload: Any) -> None:
    message = Message.by_value([Work(_image(1)), Work(payload)])
    with pytest.raises(MalformedRequest, match=r"uint8 and shape \(224, 224, 3\)"):
        message.pixels(reader)


@needs_memory
@pytest.mark.parametrize("size", [0, 1, IMAGE_SIZE * IMAGE_SIZE * 3 - 1, IMAGE_SIZE**2 * 6])
def test_memory_that_holds_no_pixels(reader: SharedReader, size: int) -> None:
    file = SharedFile()
    message = Message.in_memory([Work(bytes(size))], file)
    with pytest.raises(MalformedRequest, match=rf"\[{size}\] bytes"):
        message.pixels(reader)


@needs_memory
def test_memory_that_is_elsewhere_or_gone(reader: SharedReader) -> None:
    file = SharedFile()
    message = Message.in_memory([Work(_image(1))], file)
    assert isinstance(message.content, Place)
    elsewhere = replace(message, content=replace(message.content, host="elsewhere"))
    for read in (elsewhere.images, elsewhere.pixels):
        with pytest.raises(NotShared):
            read(reader)
    file.close()
    for read in (message.images, message.pixels):
        with pytest.raises(NotShared):
            read(reader)


def test_a_message_that_contradicts_itself(reader: SharedReader) -> None:
    message = Message.by_value([Work(b"a"), Work(b"b")])
    with pytest.raises(ValueError, match="shorter"):
        replace(message, priorities=[0]).images(reader)


def test_what_has_no_bytes_is_its_senders_error() -> None:
    with pytest.raises(TypeError):
        Message.by_value([Work("text")])
