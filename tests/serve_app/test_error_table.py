"""The error table: each row of the wire contract, provoked in each protocol over a real socket.

Three columns: the routes of our own, the Open Inference Protocol over HTTP, and over gRPC. What
is behind them is a real ingress; in place of the replicas that follow, one chain in this process,
which may be held up or broken.

What cannot be provoked here: 507 needs a full disk (`tests/data/catalogue/test_full_disk.py`),
502 a replica that dies (`tests/cluster/test_edge.py`). gRPC has no methods, so no 405, and none of
its bodies can be slow, as it hands over whole messages.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from tritonclient.grpc import service_pb2

from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from serve_app import schemas
from serve_app.access.access import Access
from serve_app.access.key_ring import KeyRing
from serve_app.archive_client import ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.models.images import deflated, png
from tests.serve_app.chain import InProcessChain
from tests.serve_app.error_world import SETTINGS, Row, World, open_world
from tests.serve_app.open_inference.examples import URL, image_body, packed

Code = grpc.StatusCode


def _png(side: int) -> bytes:
    """One of so many pixels to a side, as far as its header goes."""
    return png(side, side, 8, 2, deflated(1000))


JPEG_START = bytes.fromhex("ffd8ffe000104a46494600010100000100010000")

IMAGES = [
    Row("an empty image", 400, "empty_image", Code.INVALID_ARGUMENT, image=b""),
    Row("a truncated image", 400, "truncated_image", Code.INVALID_ARGUMENT, image=JPEG_START),
    Row("no image", 415, "unsupported_image", Code.INVALID_ARGUMENT, image=b"%PDF-1.7"),
    Row("too many pixels", 422, "image_too_large", Code.INVALID_ARGUMENT, image=_png(30_000)),
    Row("too few pixels", 422, "image_too_small", Code.INVALID_ARGUMENT, image=_png(4)),
    Row("too many bytes", 413, "body_too_large", Code.INVALID_ARGUMENT, image=bytes(300_001)),
    Row("no key", 401, "unauthenticated", Code.UNAUTHENTICATED, role=None),
    Row("a key without the role", 403, "forbidden", Code.PERMISSION_DENIED, role=Role.REVIEW),
    Row("a spent key", 429, "rate_limited", Code.RESOURCE_EXHAUSTED, state="spent", retry=True),
    Row("a full server", 503, "overloaded", Code.UNAVAILABLE, state="full", retry=True),
    Row("no model", 503, "model_unavailable", Code.UNAVAILABLE, state="no model", retry=True),
    Row(
        "no time left",
        504,
        "deadline_exceeded",
        Code.DEADLINE_EXCEEDED,
        state="held",
        timeout_s=0.05,
    ),
    Row("a bug", 500, "internal_error", Code.INTERNAL, state="broken"),
]


@pytest.fixture(scope="module")
def settings() -> ServeSettings:
    return SETTINGS


@pytest.fixture
async def world(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    keys: Keys,
    ring: KeyRing,
    access: Access,
) -> AsyncIterator[World]:
    async with open_world(
        chain, archive_client, trainer_client, settings, keys, ring, access
    ) as world:
        yield world


def ours(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error in our form."""
    error = schemas.ErrorResponse.model_validate_json(response.content).error
    assert len(error.message) > 10
    assert "internals" not in response.text
    return response.status_code, error.code


def protocols(response: httpx.Response) -> tuple[int, str]:
    """Status and code of an error in the form of the Open Inference Protocol."""
    body = json.loads(response.content)
    assert set(body) == {"error"}
    assert isinstance(body["error"], str)
    assert len(body["error"]) > 10
    assert "internals" not in response.text
    return response.status_code, response.headers["x-error-code"]


async def refused(call: Any) -> tuple[grpc.StatusCode, str, str | None]:
    """Status, code and retry-after of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    trailers = dict(error.value.trailing_metadata())
    assert len(error.value.details() or "") > 10
    assert "internals" not in (error.value.details() or "")
    return error.value.code(), trailers.get("error-code", ""), trailers.get("retry-after")


@pytest.mark.parametrize("row", IMAGES, ids=lambda row: row.what)
class TestInference:
    """Rows that any prediction may meet, in the three protocols."""

    async def test_of_ours(self, world: World, row: Row, jpeg: bytes) -> None:
        headers = await world.prepare(row, jpeg)
        image = jpeg if row.image is None else row.image
        query = {} if row.timeout_s is None else {"timeout_s": row.timeout_s}
        response = await world.http.post("/predict", content=image, params=query, headers=headers)
        assert ours(response) == (row.status, row.code)
        assert ("retry-after" in response.headers) is row.retry

    async def test_of_the_protocol(self, world: World, row: Row, jpeg: bytes) -> None:
        headers = await world.prepare(row, jpeg)
        body, more = image_body(
            jpeg if row.image is None else row.image, parameters=_parameters(row.timeout_s)
        )
        response = await world.http.post(URL, content=body, headers={**headers, **more})
        assert protocols(response) == (row.status, row.code)
        assert ("retry-after" in response.headers) is row.retry

    async def test_of_grpc(self, world: World, row: Row, jpeg: bytes) -> None:
        headers = await world.prepare(row, jpeg)
        image = jpeg if row.image is None else row.image
        request = service_pb2.ModelInferRequest(model_name="dermserve")
        for name, value in _parameters(row.timeout_s).items():
            request.parameters[name].int64_param = value
        request.inputs.add(name="IMAGE", datatype="BYTES", shape=[1])
        request.raw_input_contents.append(packed(image))
        code, name, retry = await refused(world.call("ModelInfer", request, headers))
        assert (code, name) == (row.rpc, row.code)
        assert (retry is not None) is row.retry


def _parameters(timeout_s: float | None) -> dict[str, int]:
    return {} if timeout_s is None else {"timeout": round(timeout_s * 1e6)}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/models/none", 404, "not_found"),
        ("GET", f"/uploads/{'0' * 32}", 404, "not_found"),
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/predict", 405, "method_not_allowed"),
        ("DELETE", "/retrain", 409, "no_run_active"),
        ("GET", "/v2/models/none", 404, "not_found"),
        ("GET", "/v2/nothing", 404, "not_found"),
        ("PUT", URL, 405, "method_not_allowed"),
        ("POST", "/v2/repository/models/dermserve/unload", 409, "model_needed"),
        ("POST", "/v2/repository/models/none/unload", 404, "not_found"),
        ("POST", "/v2/repository/models/dermserve/load", 422, "invalid_field"),
        ("POST", URL, 400, "malformed_request"),
    ],
)
async def test_rows_of_other_routes(
    world: World, chain: InProcessChain, method: str, path: str, status: int, code: str
) -> None:
    roles = list(Role)
    text = world.keys.create("a test", roles, "test").text
    world.ring.refresh()
    response = await world.http.request(
        method, path.replace("{champion}", chain.preprocessor.version), headers={"x-api-key": text}
    )
    form = protocols if path.startswith("/v2") else ours
    assert form(response) == (status, code)


@pytest.mark.parametrize(
    ("files", "labels", "status", "code"),
    [
        (["a"], ["nv", "mel"], 422, "labels_mismatch"),
        ([], [], 400, "missing_file"),
        (["a"] * 9, [], 413, "too_many_files"),
    ],
)
async def test_rows_of_uploads(
    world: World, jpeg: bytes, files: list[str], labels: list[str], status: int, code: str
) -> None:
    parts: list[tuple[str, Any]] = [("files", (name, jpeg, "image/jpeg")) for name in files]
    parts += [("labels", (None, label)) for label in labels] or [("label_source", (None, "expert"))]
    response = await world.http.post(
        "/upload/bulk", files=parts, headers=world.headers(Role.UPLOAD)
    )
    assert ours(response) == (status, code)


@pytest.mark.parametrize(("path", "form"), [("/predict", ours), (URL, protocols)])
async def test_a_slow_body(world: World, path: str, form: Any) -> None:
    key = world.headers(Role.PREDICT)["x-api-key"]
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(world.url).port)
    writer.write(
        f"POST {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\n"
        "content-length: 100\r\n\r\n{".encode()
    )
    head, _, body = (await asyncio.wait_for(reader.read(), 30)).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    answer = httpx.Response(int(first.split(" ")[1]), headers=headers, content=body)
    assert form(answer) == (408, "body_too_slow")


@pytest.mark.parametrize(
    ("procedure", "request_", "code", "name"),
    [
        ("ModelReady", service_pb2.ModelReadyRequest(name="none"), Code.NOT_FOUND, "not_found"),
        (
            "RepositoryModelUnload",
            service_pb2.RepositoryModelUnloadRequest(model_name="dermserve"),
            Code.FAILED_PRECONDITION,
            "model_needed",
        ),
        (
            "RepositoryModelLoad",
            service_pb2.RepositoryModelLoadRequest(model_name="dermserve"),
            Code.INVALID_ARGUMENT,
            "invalid_field",
        ),
        (
            "ModelInfer",
            service_pb2.ModelInferRequest(model_name="dermserve"),
            Code.INVALID_ARGUMENT,
            "malformed_request",
        ),
    ],
)
async def test_rows_of_other_procedures(
    world: World, procedure: str, request_: Any, code: grpc.StatusCode, name: str
) -> None:
    text = world.keys.create("a test", list(Role), "test").text
    world.ring.refresh()
    found = await refused(world.call(procedure, request_, {"authorization": f"Bearer {text}"}))
    assert found[:2] == (code, name)


async def test_a_procedure_that_is_not_offered(world: World) -> None:
    call = world.call("ModelStreamInfer", service_pb2.ModelInferRequest(), {})
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    assert error.value.code() == Code.UNIMPLEMENTED
