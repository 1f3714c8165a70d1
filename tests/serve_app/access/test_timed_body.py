"""Half-open requests over real HTTP: nobody waits for a body for ever."""

from __future__ import annotations

import asyncio
import json
import time
from urllib.parse import urlsplit

import pytest

from serve_app.settings import ServeSettings
from tests.serve_app.access.requests import raw_answer
from tests.waiting import until


@pytest.fixture(scope="module")
def settings() -> ServeSettings:
    return ServeSettings(max_batch_size=2, body_timeout_s=0.3)


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("/predict", "image/jpeg"),
        ("/predict", "multipart/form-data; boundary=b"),
        ("/predict?timeout_s=5", "image/jpeg"),
        ("/predict/batch", "multipart/form-data; boundary=b"),
        ("/upload/bulk", "multipart/form-data; boundary=b"),
        ("/explain", "image/jpeg"),
        ("/retrain", "application/json"),
    ],
)
async def test_a_body_that_does_not_come_is_given_up(
    url: str, path: str, content_type: str
) -> None:
    head = (
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\n"
        "content-length: 100\r\n\r\n"
    )
    started = time.monotonic()
    answer = await raw_answer(url, head.encode() + b"--b\r\n")
    assert time.monotonic() - started < 20  # the default would be more
    head, _, body = answer.decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408 ")
    assert "connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "body_too_slow"


async def test_a_body_that_dribbles_has_no_more_time_than_another(url: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n")
    answer = asyncio.create_task(reader.read(12))

    def dribbled() -> bool:
        writer.write(b"x")
        return answer.done()

    await until(dribbled, "it may take for ever", pause_s=0.02)
    assert await answer == b"HTTP/1.1 408"
    writer.close()


async def test_the_protocol_has_it_in_its_own_form(url: str) -> None:
    head = (
        "POST /v2/models/dermserve/infer HTTP/1.1\r\nhost: localhost\r\n"
        "content-length: 100\r\n\r\n{"
    )
    head, _, body = (await raw_answer(url, head.encode())).decode().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 408 ")
    assert isinstance(json.loads(body)["error"], str)
