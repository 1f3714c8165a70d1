"""Pages that the operator has named, in a browser; other pages may not call."""

from __future__ import annotations

import httpx
import pytest

from serve_app.settings import ServeSettings
from tests.serve_app.access.conftest import MakeKey
from tests.serve_app.access.requests import bearer
from tests.serve_app.forms import error_of


@pytest.fixture(scope="module")
def settings() -> ServeSettings:
    return ServeSettings(max_batch_size=2, allowed_origins=("https://clinic.example",))


async def test_only_they_may_call_from_a_browser(
    http: httpx.AsyncClient, make_key: MakeKey, jpeg: bytes
) -> None:
    key = make_key().text
    for origin, allowed in (("https://clinic.example", True), ("https://other.example", False)):
        preflight = await http.options(
            "/predict",
            headers={
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization",
            },
        )
        assert (preflight.status_code == 200) is allowed
        response = await http.post(
            "/predict", content=jpeg, headers={"origin": origin, **bearer(key)}
        )
        assert (response.headers.get("access-control-allow-origin") == origin) is allowed
        assert "access-control-allow-credentials" not in response.headers
    refused = await http.post("/predict", headers={"origin": "https://clinic.example"})
    error_of(refused, 401, "unauthenticated")  # an error that the page may read
    assert refused.headers["access-control-allow-origin"] == "https://clinic.example"
