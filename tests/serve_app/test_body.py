"""Bodies: whatever a client sends, it gets an answer in the one form and with the right status."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest
from PIL import Image

from data.synthetic import synthetic_jpeg
from models.errors import MalformedRequest
from serve_app import schemas
from serve_app.api import create_api
from serve_app.settings import MIB, ServeSettings
from tests.models.images import encode, jpeg_of_size
from tests.serve_app.chain import InProcessChain

BOUNDARY = "aBc123"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
SMALL = synthetic_jpeg("nv", seed=1, width=120, height=90)


def _form(*parts: tuple[str, bytes], end: bool = True) -> bytes:
    """A multipart body; each part is its Content-Disposition and its contents."""
    lines = [
        f"--{BOUNDARY}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode()
        + contents
        + b"\r\n"
        for disposition, contents in parts
    ]
    return b"".join(lines) + (f"--{BOUNDARY}--\r\n".encode() if end else b"")


def _file(contents: bytes = SMALL, field: str = "file", name: str = "a.jpg") -> tuple[str, bytes]:
    return f'name="{field}"; filename="{name}"', contents


async def _chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Sent without announcing a length."""
    for part in parts:
        yield part


def _error(response: httpx.Response, status: int, code: str) -> schemas.ErrorDetail:
    answer = schemas.ErrorResponse.model_validate_json(response.content)
    assert (response.status_code, answer.error.code) == (status, code)
    assert response.headers["content-type"] == "application/json"
    assert answer.error.message.endswith((".", "...", "`."))
    return answer.error


@pytest.mark.parametrize(
    "kind",
    [
        {"content": SMALL, "headers": {"content-type": "image/jpeg"}},
        {"content": SMALL, "headers": {"content-type": "application/octet-stream"}},
        {"content": SMALL},
        {"content": _form(_file()), "headers": FORM},
        {"content": _form(('name="note"', b"left arm"), _file()), "headers": FORM},
        {"content": _form(_file(name="")), "headers": FORM},
        {"content": _form(_file()), "headers": {"content-type": FORM["content-type"].upper()}},
        {"content": _form(_file()), "headers": {"content-type": FORM["content-type"] + "; charset=?"}},
    ],
    ids=["jpeg", "bytes", "untyped", "form", "note", "nameless", "capitals", "charset"],
)
async def test_an_image_comes_as_a_form_or_as_the_body(
    api: httpx.AsyncClient, kind: dict[str, Any]
) -> None:
    if kind["headers"].get("content-type", "").startswith("MULTI") if "headers" in kind else False:
        kind = {**kind, "content": kind["content"].replace(BOUNDARY.encode(), BOUNDARY.upper().encode())}
    response = await api.post("/predict", **kind)
    assert response.status_code == 200
    schemas.Prediction.model_validate_json(response.content)
