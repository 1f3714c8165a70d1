"""The access log: a line for each request, of one shape, that says nothing it must not."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from data.catalogue.api_key import Role
from data.catalogue.keys import Keys
from serve_app.access.key_ring import KeyRing
from tests.serve_app.telemetry.conftest import Open
from tests.serve_app.telemetry.leaving import leave
from tests.serve_app.telemetry.lines import lines_of, text_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_a_request_has_a_line(
    open_api: Open, caplog: pytest.LogCaptureFixture, jpeg: bytes
) -> None:
    async with open_api(access_log=True) as client:
        with caplog.at_level(logging.INFO):
            headers = {"x-request-id": "mine-1", "traceparent": f"00-{TRACE}-{SPAN}-01"}
            answer = await client.post("/predict", content=jpeg, headers=headers)
    (line,) = lines_of(caplog)
    assert 0 < line.pop("duration_ms") < 60_000
    model = answer.json()["model_version"]
    assert line == {
        "event": "request",
        "protocol": "http",
        "method": "POST",
        "route": "/predict",
        "status": 200,
        "request_id": "mine-1",
        "key_id": None,
        "request_bytes": len(jpeg),
        "response_bytes": len(answer.content),
        "model_version": model,
    }
    (text,) = [r.getMessage() for r in caplog.records if r.__dict__.get("event")]
    assert text.startswith("POST /predict 200 ")
    assert text.endswith(
        f"ms key=- model={model} in={len(jpeg)} out={len(answer.content)} trace={TRACE}"
    )


async def test_the_hot_path_and_the_framework_write_the_same(
    open_api: Open, caplog: pytest.LogCaptureFixture, jpeg: bytes
) -> None:
    async with open_api(access_log=True) as client:
        with caplog.at_level(logging.INFO):
            for query in ("", "?priority=interactive"):  # with a query it goes the usual way
                for body in (jpeg, b"no image", b""):
                    headers = {"x-request-id": "mine-1"}
                    await client.post(f"/predict{query}", content=body, headers=headers)
    lines = lines_of(caplog)
    assert [line["status"] for line in lines] == [200, 415, 400] * 2
    for line in lines:
        del line["duration_ms"], line["response_bytes"]  # a time more or less in the answer
    assert lines[:3] == lines[3:]


ASKED = [
    ("GET", "/", "/", 200),
    ("GET", "/health/live?secret=1", "/health/live", 200),
    ("GET", "/uploads/secret", "/uploads/{id}", 404),
    ("GET", "/uploads/secret%0Ax", "/uploads/{id}", 404),
    ("GET", "/secret", None, 404),
    ("DELETE", "/predict", "/predict", 405),
    ("POST", "/v2/models/secret/infer", "/v2/models/{model}/infer", 400),
    ("GET", "/static-offline-docs/secret.js", "/static-offline-docs", 404),
    ("SECRET", "/predict", "/predict", 405),
    ("GET", "/docs", "/docs", 200),
]


async def test_a_line_names_the_route_and_nothing_of_the_client(
    open_api: Open, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_api(access_log=True) as client:
        with caplog.at_level(logging.INFO):
            answers = [await client.request(method, path) for method, path, _, _ in ASKED]
    lines = lines_of(caplog)
    for (method, path, route, status), answer, line in zip(ASKED, answers, lines, strict=True):
        assert answer.status_code == line["status"] == status, path
        assert line["route"] == route, path
        assert line["method"] == ("_OTHER" if method == "SECRET" else method)
        assert line["response_bytes"] == len(answer.content)
    assert "secret" not in text_of(caplog).lower()


async def test_a_line_names_the_key_by_its_id(
    open_api: Open,
    keys: Keys,
    ring: KeyRing,
    caplog: pytest.LogCaptureFixture,
    jpeg: bytes,
) -> None:
    created = keys.create("a test", [Role.PREDICT], "test")
    ring.refresh()
    async with open_api(access_log=True) as client:
        with caplog.at_level(logging.INFO):
            for text in (created.text, created.text[:-1] + "x", None):
                headers = {} if text is None else {"x-api-key": text}
                await client.post("/predict", content=jpeg, headers=headers)
    lines = lines_of(caplog)
    assert [line["status"] for line in lines] == [200, 401, 401]
    assert [line["key_id"] for line in lines] == [created.key.id, None, None]
    assert {line["route"] for line in lines} == {"/predict"}  # whoever has answered
    assert created.text not in text_of(caplog)
    assert created.text.rpartition("_")[2][:-1] not in text_of(caplog)


async def test_a_file_name_is_not_told(
    open_api: Open, caplog: pytest.LogCaptureFixture, jpeg: bytes
) -> None:
    async with open_api(access_log=True) as client:
        with caplog.at_level(logging.INFO):
            parts = [("files", ("secret.jpg", jpeg)), ("files", ("secret.pdf", b"%PDF"))]
            answer = await client.post("/predict/batch", files=parts)
    assert answer.json()["succeeded"] == 1
    (line,) = lines_of(caplog)
    assert line["model_version"] == answer.json()["results"][0]["prediction"]["model_version"]
    assert "secret" not in text_of(caplog)


async def test_a_client_that_leaves_has_a_line(
    open_api: Open, caplog: pytest.LogCaptureFixture, jpeg: bytes
) -> None:
    async with open_api(access_log=True) as client:
        with caplog.at_level(logging.INFO):
            await leave(client, jpeg)
    (line,) = lines_of(caplog)
    assert (line["status"], line["request_bytes"]) == (499, None)


async def test_without_the_setting_there_is_no_line(
    open_api: Open, caplog: pytest.LogCaptureFixture, jpeg: bytes
) -> None:
    async with open_api() as client:
        with caplog.at_level(logging.INFO):
            assert (await client.post("/predict", content=jpeg)).is_success
    assert lines_of(caplog) == []


async def test_an_error_of_ours_is_logged_under_the_request(
    open_api: Open,
    caplog: pytest.LogCaptureFixture,
    jpeg: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("serve_app.preprocessing.decode_image", fail)
    async with open_api("chain") as client:
        answer = await client.post("/predict", content=jpeg, headers={"x-request-id": "mine-1"})
    assert answer.status_code == 500
    errors = [record.__dict__ for record in caplog.records if record.levelname == "ERROR"]
    assert [each["request_id"] for each in errors] == ["mine-1"]
