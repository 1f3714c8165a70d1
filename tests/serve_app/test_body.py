"""Bodies of /predict: an image arrives however it is sent, and nothing else gets through."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from data.synthetic import synthetic_jpeg
from serve_app import schemas
from serve_app.access.access import Access
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.settings import MIB, ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.models.images import encode, jpeg_of_size
from tests.serve_app.chain import InProcessChain
from tests.serve_app.forms import BOUNDARY, END, FORM, chunks, error_of, file, form

SMALL = synthetic_jpeg("nv", seed=1, width=120, height=90)
LIMIT = 200_000
"""`max_image_bytes` of the tests' settings."""

GOOD: dict[str, dict[str, Any]] = {
    "jpeg": {"content": SMALL, "headers": {"content-type": "image/jpeg"}},
    "bytes": {"content": SMALL, "headers": {"content-type": "application/octet-stream"}},
    "untyped": {"content": SMALL},
    "form": {"content": form(file(SMALL)), "headers": FORM},
    "with a note": {"content": form(('name="note"', b"left arm"), file(SMALL)), "headers": FORM},
    "beside another file": {"files": [("file", SMALL)], "data": {"note": "left arm"}},
    "without a name": {"content": form(file(SMALL, name="")), "headers": FORM},
    "with a path for a name": {
        "content": form(file(SMALL, name="../../etc/passwd")),
        "headers": FORM,
    },
    "capitals": {
        "content": form(file(SMALL)),
        "headers": {"content-type": f"Multipart/Form-Data; Boundary={BOUNDARY}"},
    },
    "unknown charset": {
        "content": form(file(SMALL)),
        "headers": {"content-type": FORM["content-type"] + "; charset=klingon"},
    },
    **{
        f"charset {name}": {
            "content": form(file(SMALL, name="läsion.jpg"), ('name="note"', "für später".encode())),
            "headers": {"content-type": f"{FORM['content-type']}; charset={name}"},
        }
        for name in ("undefined", "idna", "punycode", "utf-7", "unicode_escape", "rot13", "hex")
    },
    "filled up to the limit": {"content": SMALL + bytes(LIMIT - len(SMALL))},
}


@pytest.mark.parametrize("sent", GOOD.values(), ids=GOOD)
async def test_an_image_arrives_however_it_is_sent(
    api: httpx.AsyncClient, sent: dict[str, Any]
) -> None:
    response = await api.post("/predict", **sent)
    assert response.status_code == 200, response.text
    schemas.Prediction.model_validate_json(response.content)


async def test_an_image_arrives_in_pieces(api: httpx.AsyncClient) -> None:
    whole = await api.post("/predict", content=SMALL)
    for body, headers in ((SMALL, {}), (form(file(SMALL)), FORM)):
        pieces = chunks(body[i : i + 7] for i in range(0, len(body), 7))
        response = await api.post("/predict", content=pieces, headers=headers)
        assert response.json()["probabilities"] == whole.json()["probabilities"]


BROKEN_FORM = form(file(SMALL))
TEXT_FIELDS = [(f'name="n{index}"', b"x") for index in range(30)]
BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing": ({}, 400, "empty_image"),
    "empty file": ({"content": form(file(b"")), "headers": FORM}, 400, "empty_image"),
    "wrong field": (
        {"content": form(file(SMALL, field="image")), "headers": FORM},
        400,
        "missing_file",
    ),
    "text for a file": (
        {"content": form(('name="file"', SMALL)), "headers": FORM},
        400,
        "missing_file",
    ),
    "empty form": ({"content": END, "headers": FORM}, 400, "missing_file"),
    "two files": (
        {"content": form(file(SMALL), file(SMALL)), "headers": FORM},
        413,
        "too_many_files",
    ),
    "thirty fields": (
        {"content": form(*TEXT_FIELDS, file(SMALL)), "headers": FORM},
        400,
        "malformed_request",
    ),
    "no boundary": (
        {"content": BROKEN_FORM, "headers": {"content-type": "multipart/form-data"}},
        400,
        "malformed_request",
    ),
    "another boundary": (
        {
            "content": BROKEN_FORM,
            "headers": {"content-type": "multipart/form-data; boundary=other"},
        },
        400,
        "malformed_request",
    ),
    "endless boundary": (
        {
            "content": BROKEN_FORM,
            "headers": {"content-type": f"multipart/form-data; boundary={'x' * 4000}"},
        },
        400,
        "malformed_request",
    ),
    "not a form inside": ({"content": SMALL, "headers": FORM}, 400, "malformed_request"),
    "nameless field": (
        {"content": form(('filename="a.jpg"', SMALL)), "headers": FORM},
        400,
        "malformed_request",
    ),
    "base64 in json": ({"json": {"image": "/9j/4AAQ"}}, 415, "unsupported_image"),
    "urlencoded": ({"data": {"file": "a.jpg"}}, 415, "unsupported_image"),
    "text": ({"content": b"lesion"}, 415, "unsupported_image"),
    "text in a form": (
        {"content": form(file(b"lesion")), "headers": FORM},
        415,
        "unsupported_image",
    ),
    "half an image": ({"content": SMALL[: len(SMALL) // 2]}, 400, "truncated_image"),
    "one pixel": ({"content": encode(Image.new("L", (1, 1)), "PNG")}, 422, "image_too_small"),
    "a bomb": ({"content": jpeg_of_size(30_000, 30_000)}, 422, "image_too_large"),
    "a byte too many": ({"content": SMALL + bytes(LIMIT + 1 - len(SMALL))}, 413, "body_too_large"),
    "too large in a form": (
        {"content": form(file(bytes(LIMIT + 1))), "headers": FORM},
        413,
        "body_too_large",
    ),
    "far too large in a form": (
        {"content": form(file(bytes(2 * LIMIT))), "headers": FORM},
        413,
        "body_too_large",
    ),
}


@pytest.mark.parametrize(("sent", "status", "code"), BAD.values(), ids=BAD)
async def test_what_is_no_image_gets_an_error_that_says_so(
    api: httpx.AsyncClient, sent: dict[str, Any], status: int, code: str
) -> None:
    response = await api.post("/predict", **sent, params={"x": "y"})
    error_of(response, status, code)
    assert "retry-after" not in response.headers


@pytest.mark.parametrize("missing", [1, len(END), len(END) + 1, 2000, len(BROKEN_FORM) - 30])
async def test_an_unfinished_form(api: httpx.AsyncClient, missing: int) -> None:
    """Half a file must not be classified as a whole one."""
    response = await api.post("/predict", content=BROKEN_FORM[:-missing], headers=FORM)
    if missing <= 4:  # the file is complete
        assert response.status_code == 200
    else:
        assert error_of(response, 400, response.json()["error"]["code"]).code in {
            "malformed_request",
            "missing_file",
            "truncated_image",
        }


@pytest.mark.parametrize("headers", [{}, FORM], ids=["raw", "form"])
async def test_an_announced_body_is_refused_before_it_is_read(
    api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    read = []

    def parts() -> Iterator[bytes]:
        read.append(1)
        yield SMALL

    length = {"content-length": str(10**9)}
    response = await api.post("/predict", content=chunks(parts()), headers={**headers, **length})
    error = error_of(response, 413, "body_too_large")
    assert "MiB" in error.message
    assert not read


@pytest.mark.parametrize("headers", [{}, FORM], ids=["raw", "form"])
async def test_an_unannounced_body_is_refused_at_the_limit(
    api: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    read = []

    def endless() -> Iterator[bytes]:
        yield form(file(b""))[: -len(END) - 2]
        for _ in range(10_000):
            read.append(1)
            yield bytes(10_000)

    response = await api.post("/predict", content=chunks(endless()), headers=headers)
    error_of(response, 413, "body_too_large")
    assert len(read) <= 30


@pytest.mark.parametrize("headers", [[], [(b"content-type", FORM["content-type"].encode())]])
async def test_a_client_that_hangs_up_is_no_bug(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    access: Access,
    headers: list[tuple[bytes, bytes]],
) -> None:
    messages = [
        {"type": "http.request", "body": BROKEN_FORM[:500], "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/predict",
        "raw_path": b"/predict",
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("dermserve", 80),
    }
    await create_api(chain, archive_client, trainer_client, settings, access)(scope, receive, send)
    assert [message["status"] for message in sent if "status" in message] == [400]
    answer = schemas.ErrorResponse.model_validate_json(sent[-1]["body"])
    assert answer.error.code == "malformed_request"
    assert "connection closed" in answer.error.message


@pytest.mark.parametrize(("size", "status"), [(3 * MIB, 415), (20 * MIB + 9, 413)])
async def test_files_on_disk_are_closed(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    access: Access,
    size: int,
    status: int,
) -> None:
    """Above 64 KiB a part waits on disk; Python warns of a file that nobody closed."""
    app = create_api(chain, archive_client, trainer_client, ServeSettings(), access)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            response = await client.post("/predict", content=form(file(bytes(size))), headers=FORM)
            gc.collect()
    assert response.status_code == status
    assert [warning for warning in caught if warning.category is ResourceWarning] == []
