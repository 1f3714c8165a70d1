"""The guard over real HTTP: keys, budgets, slow bodies, and what every answer tells a browser."""

from __future__ import annotations

import io
import json

import httpx
import pytest

from data.catalogue.api_key import Role
from data.catalogue.database import Database
from data.catalogue.keys import Keys
from data.catalogue.tables import AuditRow, UploadRow
from serve_app.access.key_ring import KeyRing
from tests.serve_app.access.conftest import MakeKey
from tests.serve_app.access.requests import bearer, raw_answer
from tests.serve_app.forms import chunks, error_of

JPEG_TYPE = {"content-type": "image/jpeg"}


async def test_a_key_opens_what_its_role_says(
    http: httpx.AsyncClient, make_key: MakeKey, jpeg: bytes
) -> None:
    key = make_key(Role.PREDICT).text
    for headers in (bearer(key), {"x-api-key": key}):
        response = await http.post("/predict", content=jpeg, headers=headers)
        assert response.status_code == 200, response.text
        response = await http.post("/predict?timeout_s=20", content=jpeg, headers=headers)
        assert response.status_code == 200
        error_of(await http.get("/uploads", headers=headers), 403, "forbidden")
        error_of(await http.post("/retrain", headers=headers), 403, "forbidden")
        assert (await http.get("/models", headers=headers)).status_code == 200
    for path in ("/predict", "/predict/batch", "/explain", "/upload/bulk", "/retrain"):
        response = await http.post(path, content=jpeg)
        error_of(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"
    assert (await http.get("/health/ready")).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        b"x-api-key: \xc3\xa9\xff",
        b"x-api-key: ",
        b"x-api-key:",
        b"authorization: Bearer \xff\xfe",
        b"authorization: Bearer",
        b"x-api-key: " + b"k" * 30_000,
        b"x-api-key: wrong\r\nx-api-key: KEY",
        b"authorization: Bearer wrong\r\nauthorization: Bearer KEY",
        b"authorization: Bearer wrong\r\nx-api-key: KEY",
    ],
)
async def test_hostile_key_headers_are_refused_in_the_one_form(
    url: str, make_key: MakeKey, header: bytes
) -> None:
    header = header.replace(b"KEY", make_key().text.encode())
    answer = await raw_answer(
        url,
        b"GET /models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n" + header + b"\r\n\r\n",
    )
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split(b" ")[1] in (b"401", b"400"), head
    if head.split(b" ")[1] == b"401":
        assert json.loads(body)["error"]["code"] == "unauthenticated"


async def test_a_revoked_key_opens_nothing(
    http: httpx.AsyncClient, make_key: MakeKey, keys: Keys, ring: KeyRing, jpeg: bytes
) -> None:
    created = make_key(Role.PREDICT)
    assert (await http.post("/predict", content=jpeg, headers=bearer(created.text))).is_success
    keys.revoke(created.key.id, "test")
    ring.refresh()
    response = await http.post("/predict", content=jpeg, headers=bearer(created.text))
    assert created.text not in response.text
    assert "was revoked" in error_of(response, 401, "unauthenticated").message


async def test_a_budget_of_requests(
    http: httpx.AsyncClient, make_key: MakeKey, jpeg: bytes
) -> None:
    key = make_key(Role.PREDICT, requests_per_minute=2).text
    answers = [await http.post("/predict", content=jpeg, headers=bearer(key)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    error_of(answers[2], 429, "rate_limited")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60
    other = make_key(Role.PREDICT).text
    assert (await http.post("/predict", content=jpeg, headers=bearer(other))).is_success


async def test_a_budget_of_bytes_counts_bodies_whose_length_nobody_announced(
    http: httpx.AsyncClient, make_key: MakeKey, jpeg: bytes
) -> None:
    limit = len(jpeg) * 3 // 2
    for announced in (True, False):
        headers = bearer(make_key(Role.PREDICT, bytes_per_minute=limit).text) | JPEG_TYPE
        statuses = []
        for _ in range(2):
            body = jpeg if announced else chunks([jpeg[:100], jpeg[100:]])
            answer = await http.post("/predict", content=body, headers=headers)
            statuses.append(answer.status_code)
        assert statuses == [200, 429]
        assert answer.headers["retry-after"]
        error_of(answer, 429, "rate_limited")


async def test_a_length_beside_chunks_does_not_hide_them(
    url: str, make_key: MakeKey, jpeg: bytes
) -> None:
    key = make_key(Role.PREDICT, bytes_per_minute=len(jpeg) // 2).text
    head = (
        f"POST /predict HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: 1\r\n"
        "transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    )
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(jpeg), jpeg)
    answer = await raw_answer(url, head.encode() + body)
    assert answer.split(b" ")[1] in (b"400", b"413", b"429"), answer[:200]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_body_where_none_belongs(http: httpx.AsyncClient, method: str) -> None:
    response = await http.request(method, "/health", content=b"x" * 1000)
    assert response.status_code == 413
    response = await http.request(method, "/health", content=chunks([b"x"]))
    assert response.status_code == 413
    assert (await http.request("GET", "/health", content=b"")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/uploads/1"),
        ("POST", "/models/v1/promote"),
        ("POST", "/models/rollback"),
        ("DELETE", "/retrain"),
        ("POST", "/v2/repository/models/dermserve/unload"),
        ("PATCH", "/uploads/1"),
        ("POST", "/retrain"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/dermserve/load"),
        ("OPTIONS", "/uploads"),
    ],
)
async def test_a_body_where_little_or_none_belongs(
    http: httpx.AsyncClient, make_key: MakeKey, method: str, path: str
) -> None:
    headers = bearer(make_key().text)
    large = b" " * (64 * 1024 + 1)
    refused = await http.request(method, path, content=large, headers=headers)
    assert refused.status_code == 413
    assert "64 KiB" in refused.text
    small = await http.request(method, path, content=b'{"ready": 1}', headers=headers)
    assert small.status_code != 413
    counted = await http.request(method, path, content=chunks([large]), headers=headers)
    assert counted.status_code == 413


async def test_a_small_body_may_come_in_chunks_where_it_is_read(
    http: httpx.AsyncClient, make_key: MakeKey
) -> None:
    headers = bearer(make_key().text)
    body = chunks([b'{"ready"', b": false}"])
    response = await http.post("/v2/repository/index", content=body, headers=headers)
    assert response.status_code == 200, response.text
    refused = await http.request("DELETE", "/uploads/1", content=chunks([b"{}"]), headers=headers)
    error_of(refused, 413, "body_too_large")


@pytest.mark.parametrize(
    "path",
    [
        "/uploads%0A",
        "/uploads/%0A",
        "/uploads%0a%0a",
        "/uploads%0D",
        "/uploads/1%0A",
        "/uploads/1/image%0A",
        "/health%0A",
        "/predict%0A",
        "/v2/models/a%0Ab",
        "/%00",
        "/%7F",
        "/u%C2%85",
    ],
)
async def test_a_path_with_a_control_character_opens_nothing(
    http: httpx.AsyncClient, make_key: MakeKey, path: str
) -> None:
    for key in (make_key(Role.PREDICT), make_key(*Role)):
        for method in ("GET", "POST", "PATCH", "DELETE"):
            response = await http.request(method, path, headers=bearer(key.text))
            assert response.status_code == 404, response.text
            assert "control character" in response.text
    error_of(await http.get("/uploads%0A"), 404, "not_found")


async def test_pages_of_other_sites_are_turned_away_without_keys(
    http: httpx.AsyncClient, jpeg: bytes
) -> None:
    for headers in ({"host": "attacker.example"}, {"origin": "https://attacker.example"}):
        response = await http.post("/predict", content=jpeg, headers=headers)
        error_of(response, 403, "foreign_site")
        error_of(await http.get("/uploads", headers=headers), 403, "foreign_site")
        assert "access-control-allow-origin" not in response.headers
    assert (await http.post("/predict", content=jpeg)).status_code == 200


async def test_by_default_no_page_elsewhere_may_read_an_answer(
    http: httpx.AsyncClient, make_key: MakeKey, jpeg: bytes
) -> None:
    headers = {"origin": "https://clinic.example", **bearer(make_key().text)}
    response = await http.post("/predict", content=jpeg, headers=headers)
    assert response.status_code == 200
    preflight = {"origin": "https://clinic.example", "access-control-request-method": "POST"}
    asked = await http.options("/predict", headers=preflight)
    for answer in (response, asked):
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert asked.status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/health", 200),
        ("GET", "/nothing", 404),
        ("PUT", "/predict", 405),
        ("POST", "/predict", 400),
        ("GET", "/uploads?limit=x", 422),
        ("POST", "/v2/models/dermserve/infer", 400),
        ("GET", "/openapi.json", 200),
    ],
)
async def test_every_answer_tells_a_browser_what_not_to_do(
    http: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await http.request(method, path)
    assert response.status_code == status
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-security-policy"].startswith("default-src 'none'")


async def test_so_do_the_guards_own_answers_and_those_of_bugs(
    http: httpx.AsyncClient, make_key: MakeKey, chain: object, jpeg: bytes
) -> None:
    key = make_key().text
    refused = await http.post("/predict", content=jpeg)
    chain.error = RuntimeError("a bug with internals")  # type: ignore[attr-defined]
    try:
        bugs = [
            await http.post(path, content=jpeg, headers=bearer(key))
            for path in ("/predict", "/predict?timeout_s=5")
        ]
    finally:
        chain.error = None  # type: ignore[attr-defined]
    assert [answer.status_code for answer in (refused, *bugs)] == [401, 500, 500]
    for answer in (refused, *bugs):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "internals" not in answer.text


async def test_the_docs_may_run_their_own_scripts_and_no_others(http: httpx.AsyncClient) -> None:
    response = await http.get("/docs")
    policy = response.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "default-src 'none'" in policy
    assert "https:" not in policy


async def test_who_uploads_is_kept_as_the_id_of_the_key(
    http: httpx.AsyncClient, make_key: MakeKey, database: Database, jpeg: bytes
) -> None:
    created = make_key(Role.UPLOAD, Role.REVIEW)
    files = {"files": ("smith.jpg", io.BytesIO(jpeg), "image/jpeg")}
    named = await http.post(
        "/upload/bulk", files=files, data={"uploader": "Ada"}, headers=bearer(created.text)
    )
    assert "Leave the field uploader out" in error_of(named, 422, "invalid_field").message
    files = {"files": ("smith.jpg", io.BytesIO(jpeg), "image/jpeg")}
    sent = await http.post(
        "/upload/bulk", files=files, data={"labels": "nv"}, headers=bearer(created.text)
    )
    assert sent.status_code == 200, sent.text
    (result,) = sent.json()["results"]
    change = await http.patch(
        f"/uploads/{result['id']}", json={"label": "mel"}, headers=bearer(created.text)
    )
    assert change.status_code == 200
    actor = f"key:{created.key.id}"
    with database.reading() as session:
        assert [row.uploader for row in session.query(UploadRow)] == [actor]
        rows = session.query(AuditRow).where(AuditRow.event.like("upload.%")).all()
        assert [(row.event, row.actor) for row in rows] == [
            ("upload.added", actor),
            ("upload.changed", actor),
        ]
        everything = [str(vars(row)) for row in session.query(AuditRow)]
    assert not any(created.text in row or "smith" in row for row in everything)
