"""The operations: what is large is not read on the event loop."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

import httpx
import pytest

from serve_app.open_inference import rest
from serve_app.open_inference.http_body import read_request
from serve_app.open_inference.protocol import aside
from tests.serve_app.open_inference.examples import URL

MIB = 2**20


@pytest.mark.parametrize(("size_bytes", "here"), [(0, True), (MIB, True), (MIB + 1, False)])
async def test_what_is_large_is_read_in_a_thread(size_bytes: int, here: bool) -> None:
    def read(first: int, *, second: int) -> tuple[int, int]:
        return first + second, threading.get_ident()

    found, thread = await aside(size_bytes, read, 1, second=2)
    assert found == 3
    assert (thread == threading.get_ident()) is here


@pytest.mark.parametrize("size", [100, 250_000])
async def test_json_is_read_where_its_size_says(
    api: httpx.AsyncClient, jpeg: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []

    def watched(*arguments: Any, **named: Any) -> Any:
        threads.append(threading.get_ident())
        return read_request(*arguments, **named)

    monkeypatch.setattr(rest, "read_request", watched)
    monkeypatch.setattr("serve_app.open_inference.protocol._INLINE_BYTES", 100_000)
    text = base64.b64encode(jpeg).decode()
    tensor = {"name": "IMAGE", "datatype": "BYTES", "shape": [1], "data": [text]}
    body = json.dumps({"inputs": [tensor], "id": None}).encode().ljust(size)
    response = await api.post(URL, content=body)
    assert response.status_code == 200, response.text
    assert (threads == [threading.get_ident()]) is (len(body) <= 100_000)
