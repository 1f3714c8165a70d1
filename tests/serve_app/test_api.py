"""The API around the bodies: routes, health, failures of the chain and its own description."""

from __future__ import annotations

import re

import httpx
import pytest

from models.errors import DeadlineExceeded, DermServeError, ModelUnavailable, Overloaded
from serve_app import schemas
from tests.serve_app.chain import InProcessChain
from tests.serve_app.forms import error_of

ROUTES = {
    "/": {"get"},
    "/predict": {"post"},
    "/predict/batch": {"post"},
    "/explain": {"post"},
    "/upload/bulk": {"post"},
    "/uploads": {"get"},
    "/uploads/{id}": {"get", "patch", "delete"},
    "/uploads/{id}/image": {"get"},
    "/retrain": {"post", "delete"},
    "/retrain/status": {"get"},
    "/retrain/events": {"get"},
    "/retrain/history": {"get"},
    "/models": {"get"},
    "/models/{version}": {"get"},
    "/models/{version}/report": {"get"},
    "/models/{version}/evaluation": {"get"},
    "/metrics": {"get"},
    "/data/summary": {"get"},
    "/models/{version}/promote": {"post"},
    "/models/rollback": {"post"},
    "/health": {"get"},
    "/health/live": {"get"},
    "/health/ready": {"get"},
    "/v2": {"get"},
    "/v2/health/live": {"get"},
    "/v2/health/ready": {"get"},
    "/v2/models/stats": {"get"},
    "/v2/repository/index": {"post"},
    "/v2/repository/models/{model}/load": {"post"},
    "/v2/repository/models/{model}/unload": {"post"},
    **{
        f"/v2/models/{{model}}{version}{path}": {"post" if path == "/infer" else "get"}
        for version in ("", "/versions/{version}")
        for path in ("", "/ready", "/config", "/stats", "/infer")
    },
}


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("POST", "/predict/nothing"), ("DELETE", "/..%2fetc")],
)
async def test_an_unknown_route(api: httpx.AsyncClient, method: str, path: str) -> None:
    error = error_of(await api.request(method, path), 404, "not_found")
    assert "/docs" in error.message


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/predict"), ("DELETE", "/predict/batch"), ("PUT", "/health"), ("POST", "/")],
)
async def test_another_method(api: httpx.AsyncClient, method: str, path: str) -> None:
    error = error_of(await api.request(method, path), 405, "method_not_allowed")
    assert f"{method} {path}" in error.message


async def test_another_method_is_told_which_are_allowed(api: httpx.AsyncClient) -> None:
    """RFC 9110, section 15.5.6: a 405 must carry Allow."""
    response = await api.get("/predict")
    assert response.headers["allow"] == "POST"


async def test_the_root_says_where_to_go(api: httpx.AsyncClient) -> None:
    info = schemas.ServiceInfo.model_validate_json((await api.get("/")).content)
    assert info.disclaimer == schemas.RESEARCH_USE
    assert re.match(r"\d+\.\d+", info.version)
    for link in info.links.values():
        assert (await api.get(link)).status_code in {200, 405}


async def test_a_request_id_is_echoed(api: httpx.AsyncClient) -> None:
    response = await api.post("/predict", headers={"x-request-id": "mine-1"})
    assert error_of(response, 400, "empty_image").request_id == "mine-1"


@pytest.mark.parametrize(
    ("error", "retry_after"),
    [
        (Overloaded("Full. Send it again in a second."), "1"),
        (ModelUnavailable("No model is loaded. It is loading."), "10"),
        (DeadlineExceeded("The deadline passed. Allow more time."), None),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
async def test_what_the_chain_raises_is_answered(
    api: httpx.AsyncClient,
    chain: InProcessChain,
    jpeg: bytes,
    error: DermServeError,
    retry_after: str | None,
    path: str,
) -> None:
    chain.error = error
    field = "file" if path == "/predict" else "files"
    response = await api.post(path, files={field: ("a.jpg", jpeg)})
    assert error_of(response, error.status, error.code).message == error.message
    assert response.headers.get("retry-after") == retry_after


async def test_a_bug_is_answered_without_its_secrets(
    api: httpx.AsyncClient, chain: InProcessChain, jpeg: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    chain.error = RuntimeError("/home/somebody/secret.key")
    response = await api.post("/predict", content=jpeg, headers={"x-request-id": "quote-me"})
    error = error_of(response, 500, "internal_error")
    assert error.request_id == "quote-me"
    assert "secret" not in response.text
    assert "RuntimeError" not in response.text


async def test_health_of_a_server_that_is_ready(api: httpx.AsyncClient) -> None:
    for path in ("/health", "/health/ready"):
        response = await api.get(path)
        assert response.status_code == 200
        assert schemas.Health.model_validate_json(response.content).status == "ok"
    live = await api.get("/health/live")
    assert schemas.Live.model_validate_json(live.content).status == "ok"


async def test_health_of_a_server_that_is_not_ready(
    api: httpx.AsyncClient, chain: InProcessChain
) -> None:
    chain.error = ModelUnavailable("The model is loading.")
    health = await api.get("/health")
    assert health.status_code == 200
    assert schemas.Health.model_validate_json(health.content).status == "not_ready"
    ready = await api.get("/health/ready")
    assert error_of(ready, 503, "model_unavailable").message == "The model is loading."
    assert ready.headers["retry-after"] == "10"
    assert (await api.get("/health/live")).status_code == 200


async def test_the_api_describes_itself(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    assert {path: set(operations) for path, operations in document["paths"].items()} == ROUTES
    assert schemas.RESEARCH_USE in document["info"]["description"]
    page = await api.get("/docs")
    assert page.status_code == 200
    assert "openapi.json" in page.text


async def test_the_description_tells_bodies_and_errors(api: httpx.AsyncClient) -> None:
    document = (await api.get("/openapi.json")).json()
    predict = document["paths"]["/predict"]["post"]
    single = predict["requestBody"]["content"]
    assert single["multipart/form-data"]["schema"]["required"] == ["file"]
    assert {"image/*", "application/octet-stream"} <= single.keys()
    batch = document["paths"]["/predict/batch"]["post"]["requestBody"]["content"]
    assert batch["multipart/form-data"]["schema"]["properties"]["files"]["type"] == "array"
    assert {"200", "400", "413", "415", "422", "503", "504"} <= predict["responses"].keys()
    for status, answer in predict["responses"].items():
        name = "Prediction" if status == "200" else "ErrorResponse"
        schema = answer["content"]["application/json"]["schema"]
        assert schema == {"$ref": f"#/components/schemas/{name}"}


async def test_every_reference_of_the_description_leads_somewhere(api: httpx.AsyncClient) -> None:
    text = (await api.get("/openapi.json")).text
    known = (await api.get("/openapi.json")).json()["components"]["schemas"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', text))
    assert references
    assert references <= known.keys()


@pytest.mark.parametrize("prefix", ["", "/derm", "/v2"])
@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/v2/models/dermserve", {"host": "attacker.example"}, 403),  # by the guard
        ("GET", "/models", {"host": "attacker.example"}, 403),
        ("GET", "/v2/models/other", {}, 404),  # by a handler
        ("GET", "/models/v2/x", {}, 404),
        ("PUT", "/v2", {}, 405),
        ("PUT", "/predict", {}, 405),
        ("POST", "/predict?timeout_s=x", {}, 422),
    ],
)
async def test_an_error_has_the_form_of_its_route_under_any_prefix(
    api: httpx.AsyncClient,
    prefix: str,
    method: str,
    path: str,
    headers: dict[str, str],
    status: int,
) -> None:
    app = api._transport.app  # type: ignore[attr-defined]
    behind = httpx.ASGITransport(app, root_path=prefix)
    async with httpx.AsyncClient(transport=behind, base_url="http://localhost") as client:
        answer = await client.request(method, f"{prefix}{path}", headers=headers)
    assert answer.status_code == status, answer.text
    assert isinstance(answer.json()["error"], str) == path.startswith("/v2")
    assert ("x-error-code" in answer.headers) == path.startswith("/v2")


async def test_a_bug_has_the_form_of_its_route_under_a_prefix(
    api: httpx.AsyncClient, chain: InProcessChain
) -> None:
    chain.error = RuntimeError("a bug")
    app = api._transport.app  # type: ignore[attr-defined]
    behind = httpx.ASGITransport(app, root_path="/derm", raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=behind, base_url="http://localhost") as client:
        ours = await client.post("/derm/predict?timeout_s=5", content=b"x")
        image = {"name": "IMAGE", "shape": [1], "datatype": "BYTES", "data": ["eA=="]}
        infer = "/derm/v2/models/dermserve/infer"
        protocols = await client.post(infer, json={"inputs": [image]})
    error_of(ours, 500, "internal_error")
    assert protocols.status_code == 500
    assert isinstance(protocols.json()["error"], str)
