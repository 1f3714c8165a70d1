"""Predictions: what is sent for one image and for many, and whose answer is whose."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dermserve_client import InvalidImage, TooLarge, UnexpectedAnswer, predictions
from dermserve_client.image import Image
from tests.dermserve_client.conftest import Connect
from tests.dermserve_client.refusal import refusal


def _parts(request: httpx.Request) -> list[bytes]:
    """The contents of the files of a form; the images of these tests hold no line breaks."""
    return re.findall(rb"\r\n\r\n(.*?)\r\n--", request.content)


class _Server:
    """Finds every image unusable, and says which it was."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        results = [
            {
                "index": index,
                "filename": str(index),
                "error": {"code": "empty_image", "message": data.decode(), "request_id": "r"},
            }
            for index, data in enumerate(_parts(request))
        ]
        return httpx.Response(200, json={"results": results})


async def test_the_short_way_is_taken_where_there_is_one(connect: Connect) -> None:
    requests = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return refusal(415, "unsupported_image")

    client = connect(handler, url="http://server")
    for options in ({}, {"priority": "bulk"}):
        with pytest.raises(InvalidImage):
            await client("predict", b"picture", **options)
    assert [str(request.url) for request in requests] == [
        "http://server/predict",
        "http://server/predict?priority=bulk",
    ]
    assert {request.headers["content-type"] for request in requests} == {"application/octet-stream"}


async def test_answers_come_in_order_with_the_names_of_the_caller(
    connect: Connect, tmp_path: Path
) -> None:
    path = tmp_path / "meier-1962.jpg"
    path.write_bytes(b"p0")
    images = [path, *(b"p%d" % number for number in range(1, 7))]
    server = _Server()
    items = await connect(server)("predict_batch", images, chunk_images=3)
    assert [(item.index, item.error.message) for item in items] == [
        (number, f"p{number}") for number in range(7)
    ]
    assert all(isinstance(item.error, InvalidImage) for item in items)
    assert [item.name for item in items] == [str(path)] + [""] * 6
    assert [len(_parts(request)) for request in server.requests] == [3, 3, 1]
    assert {request.url.params["priority"] for request in server.requests} == {"bulk"}
    # A name may tell who a patient is.
    assert not any(b"meier" in request.content for request in server.requests)


async def test_images_are_read_and_sent_as_answers_are_taken(connect: Connect) -> None:
    read = []

    def images() -> Any:
        for number in range(100):
            read.append(number)
            yield b"p%d" % number

    server = _Server()
    items = await connect(server)("predict_batch", images(), chunk_images=2, most=3)
    assert len(items) == 3
    assert len(server.requests) == 2
    assert len(read) <= 5


async def test_no_images_need_no_request(connect: Connect) -> None:
    server = _Server()
    assert await connect(server)("predict_batch", []) == []
    assert not server.requests


async def test_one_image_that_is_too_large_stops_no_other(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "CHUNK_BYTES", 10)
    server = _Server()

    def limited(request: httpx.Request) -> httpx.Response:
        if b"x" * 20 in request.content:
            return refusal(413, "body_too_large")
        return server(request)

    items = await connect(limited)("predict_batch", [b"a", b"x" * 20, b"b"])
    assert [(item.index, type(item.error)) for item in items] == [
        (0, InvalidImage),
        (1, TooLarge),
        (2, InvalidImage),
    ]


async def test_too_many_at_once_is_said(connect: Connect) -> None:
    client = connect(lambda request: refusal(413, "too_many_files"))
    with pytest.raises(TooLarge):
        await client("predict_batch", [b"a", b"b"])


async def test_an_answer_for_each_image_or_none(connect: Connect) -> None:
    client = connect(lambda request: httpx.Response(200, json={"results": []}))
    with pytest.raises(UnexpectedAnswer):
        await client("predict_batch", [b"a"])


@given(st.lists(st.integers(0, 12)), st.integers(1, 5))
def test_chunks_hold_everything_once_within_their_limits(sizes: list[int], most: int) -> None:
    images = [Image(str(place), b"x" * size) for place, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "CHUNK_BYTES", 10)
        chunks = list(predictions._chunks(images, most))
    assert [image for chunk in chunks for image in chunk] == images
    for chunk in chunks:
        assert 1 <= len(chunk) <= most
        assert len(chunk) == 1 or sum(len(image.data) for image in chunk) <= 10


async def test_an_explanation(connect: Connect) -> None:
    headers = {"x-predicted-class": "nv", "x-explained-class": "mel", "x-model-version": "2"}

    def handler(request: httpx.Request) -> httpx.Response:
        assert str(request.url.query, "ascii") == "class=mel"
        return httpx.Response(200, content=b"png", headers=headers)

    explained = await connect(handler)("explain", b"picture", explained_class="mel")
    assert explained == predictions.Explanation(b"png", "nv", "mel", "2")
    client = connect(lambda request: httpx.Response(200, content=b"png"))
    with pytest.raises(UnexpectedAnswer):
        await client("explain", b"picture")
