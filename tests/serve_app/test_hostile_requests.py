"""Hostile requests over real HTTP: each has its own error, soon, and memory stays flat."""

from __future__ import annotations

import contextlib
import copy
import socket
import struct
import time
import zlib
from collections.abc import Iterator

import httpx
import psutil
import pytest

from cluster.server import LocalServer
from serve_app import schemas

MIB = 1024 * 1024

SOON_S = 5.0  # a tenth of this where nothing else runs; the bound is for a busy machine


@pytest.fixture(scope="module")
def client(server: LocalServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=30) as client:
        yield client


def _error(response: httpx.Response) -> tuple[int, str]:
    detail = schemas.ErrorResponse.model_validate(response.json()).error
    assert detail.request_id == response.headers["x-request-id"]
    return response.status_code, detail.code


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "empty_image")),
        (b"hello", (415, "unsupported_image")),
        (b"%PDF-1.7 and so on", (415, "unsupported_image")),
        (b"\xff\xd8\xff\xe0" + bytes(50), (400, "truncated_image")),
        (_png_header(30_000, 30_000), (422, "image_too_large")),
        (_png_header(4, 4), (422, "image_too_small")),
    ],
)
def test_a_bad_body_has_its_own_error(
    client: httpx.Client, body: bytes, expected: tuple[int, str]
) -> None:
    assert _error(client.post("/predict", content=body)) == expected
    assert _error(client.post("/predict", files={"file": ("a.jpg", body)})) == expected


def test_a_truncated_photograph(client: httpx.Client, jpeg: bytes) -> None:
    truncated = jpeg[: len(jpeg) // 2]
    assert _error(client.post("/predict", content=truncated)) == (400, "truncated_image")


def test_a_wrong_field_name(client: httpx.Client, jpeg: bytes) -> None:
    assert _error(client.post("/predict", files={"image": jpeg})) == (400, "missing_file")
    assert _error(client.post("/predict/batch", files={"file": jpeg})) == (400, "missing_file")


def test_unknown_routes_and_methods(client: httpx.Client) -> None:
    assert _error(client.get("/nowhere")) == (404, "not_found")
    assert _error(client.get("/predict")) == (405, "method_not_allowed")


def _resident_bytes() -> int:
    """Memory of this process's children: the whole server."""
    total = 0
    for process in psutil.Process().children(recursive=True):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def test_a_huge_body_is_refused_soon(client: httpx.Client, jpeg: bytes) -> None:
    client.post("/predict", content=jpeg)
    before = _resident_bytes()
    huge = bytes(100 * MIB)
    started = time.monotonic()
    response = client.post("/predict", content=huge)
    assert time.monotonic() - started < SOON_S
    assert _error(response) == (413, "body_too_large")
    assert _resident_bytes() - before < 30 * MIB
    assert client.post("/predict", content=jpeg).status_code == 200


def test_a_huge_body_of_unknown_length_is_refused(client: httpx.Client, jpeg: bytes) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(100):
            yield bytes(MIB)

    before = _resident_bytes()
    try:
        response = client.post("/predict", content=chunks())
    except httpx.WriteError:  # the server may hang up before the client has sent it all
        pass
    else:
        assert _error(response) == (413, "body_too_large")
    assert _resident_bytes() - before < 60 * MIB
    assert client.post("/predict", content=jpeg).status_code == 200


def test_ten_thousand_files_are_refused_soon(client: httpx.Client) -> None:
    request = client.build_request(
        "POST", "/predict/batch", files=[("files", (f"{i}.jpg", b"x")) for i in range(10_000)]
    )
    request.read()
    started = time.monotonic()
    response = client.send(request)
    assert time.monotonic() - started < SOON_S
    assert _error(response) == (413, "too_many_files")


def test_a_client_that_hangs_up_harms_nobody(server: LocalServer, client: httpx.Client) -> None:
    port = int(server.url.rsplit(":", 1)[1])
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(
                b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nshort"
            )
    assert client.get("/health/ready").status_code == 200


def test_a_deployment_without_a_model_says_what_to_do(
    server: LocalServer, client: httpx.Client, jpeg: bytes
) -> None:
    config = {"model": "/nowhere"}
    with _second_application(server, client, name="modelless", user_config=config):
        for response in (
            client.get("/modelless/health/ready"),
            client.post("/modelless/predict", content=jpeg),
        ):
            assert _error(response) == (503, "model_unavailable")
            assert int(response.headers["retry-after"]) > 0
            assert "`dermserve models list`" in response.json()["error"]["message"]


def test_a_passed_deadline_is_said(server: LocalServer, client: httpx.Client, jpeg: bytes) -> None:
    with _second_application(server, client, name="hasty", args={"deadline_s": 0.0001}):
        assert _error(client.post("/hasty/predict", content=jpeg)) == (504, "deadline_exceeded")


@contextlib.contextmanager
def _second_application(
    server: LocalServer,
    client: httpx.Client,
    *,
    name: str,
    args: dict[str, object] | None = None,
    user_config: dict[str, object] | None = None,
) -> Iterator[None]:
    """The same application once more, with other settings, under its name."""
    first = server.config["applications"]
    second = copy.deepcopy(first[0])
    second |= {"name": name, "route_prefix": f"/{name}"}
    second["args"] |= args or {}
    for deployment in second["deployments"]:
        if deployment["name"] == "classifier":
            deployment["user_config"] |= user_config or {}
    server.config["applications"] = [*first, second]
    server.deploy()
    try:
        deadline = time.monotonic() + 60
        while client.get(f"/{name}/health/live").status_code != 200:
            assert time.monotonic() < deadline, "the second application did not come up"
            time.sleep(0.2)
        yield
    finally:
        server.config["applications"] = first
        server.deploy()
