"""What each route needs: every route there is has its line here, put down on purpose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest
from starlette.routing import Mount, Route

from data.catalogue.api_key import Role
from serve_app.access.access import Access
from serve_app.access.routes import Need, body_of, need_of
from serve_app.api import create_api
from serve_app.archive_client import ArchiveClient
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.serve_app.chain import InProcessChain

OPEN, ANY = "nothing", "a key"
PREDICT, UPLOAD, REVIEW, ADMIN = Role.PREDICT, Role.UPLOAD, Role.REVIEW, Role.ADMIN

MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"

EXPECTED: dict[str, Need] = {
    "GET /": OPEN,
    "GET /health": OPEN,
    "GET /health/live": OPEN,
    "GET /health/ready": OPEN,
    "GET /openapi.json": OPEN,
    "GET /docs": OPEN,
    "GET /docs/oauth2-redirect": OPEN,
    "GET /redoc": OPEN,
    "POST /predict": PREDICT,
    "POST /predict/batch": PREDICT,
    "POST /explain": PREDICT,
    "POST /upload/bulk": UPLOAD,
    "GET /uploads": REVIEW,
    "GET /uploads/{id}": REVIEW,
    "PATCH /uploads/{id}": REVIEW,
    "DELETE /uploads/{id}": REVIEW,
    "GET /uploads/{id}/image": REVIEW,
    "POST /retrain": ADMIN,
    "DELETE /retrain": ADMIN,
    "GET /retrain/status": ANY,
    "GET /retrain/events": ANY,
    "GET /retrain/history": ANY,
    "GET /models": ANY,
    "GET /models/{version}": ANY,
    "GET /models/{version}/report": ANY,
    "GET /models/{version}/evaluation": ANY,
    "GET /metrics": ANY,
    "GET /data/summary": ANY,
    "POST /models/{version}/promote": ADMIN,
    "POST /models/rollback": ADMIN,
    "GET /v2": ANY,
    "GET /v2/models/stats": ANY,
    "GET /v2/health/live": OPEN,
    "GET /v2/health/ready": OPEN,
    **{f"GET {of}{path}": ANY for of in (MODEL, VERSION) for path in ("", "/ready", "/config")},
    **{f"GET {of}/stats": ANY for of in (MODEL, VERSION)},
    **{f"POST {of}/infer": PREDICT for of in (MODEL, VERSION)},
    "POST /v2/repository/index": ANY,
    "POST /v2/repository/models/{model}/load": ADMIN,
    "POST /v2/repository/models/{model}/unload": ADMIN,
}


@pytest.fixture
def routes(
    chain: InProcessChain,
    archive_client: ArchiveClient,
    trainer_client: TrainerClient,
    settings: ServeSettings,
    access: Access,
) -> set[str]:
    app = create_api(chain, archive_client, trainer_client, settings, access)
    found = set()
    for route in _leaves(app.router.routes):
        for method in (route.methods or set()) - {"HEAD"}:
            found.add(f"{method} {route.path}")
    return found


def _leaves(routes: Iterable[object]) -> Iterator[Route]:
    """The routes, those of included routers too."""
    for route in routes:
        if isinstance(route, Route):
            yield route
        elif not isinstance(route, Mount):  # the scripts of /docs
            yield from _leaves(route.original_router.routes)  # type: ignore[attr-defined]


def test_every_route_is_in_the_table_on_purpose(routes: set[str]) -> None:
    assert routes == set(EXPECTED)


@pytest.mark.parametrize("route", EXPECTED)
def test_each_route_needs_what_it_should(route: str) -> None:
    method, template = route.split(" ")
    for value in ("v1", "a b", "x/y", "ä\n"):
        path = template
        for name in ("id", "version", "model"):
            path = path.replace(f"{{{name}}}", value)
        if value == "x/y" and path.startswith(("/models/", "/uploads/")) and method == "GET":
            continue  # one level more is another route, or none
        assert need_of(method, path) == EXPECTED[route]
        if path != "/":
            assert need_of(method, f"{path}/") == EXPECTED[route]


@pytest.mark.parametrize("route", EXPECTED)
def test_a_line_break_at_the_end_changes_nothing(route: str) -> None:
    """The router ends its patterns with `$`, which matches before a line break as well."""
    method, path = route.split(" ")
    for end in ("\n", "/\n"):
        assert need_of(method, f"{path}{end}") == EXPECTED[route]
        assert body_of(method, f"{path}{end}") == body_of(method, path)


def test_the_routes_that_read_a_body() -> None:
    reading = {route: body_of(*route.split(" ")) for route in EXPECTED}
    assert {route: body for route, body in reading.items() if body != "nothing"} == {
        "POST /predict": "images",
        "POST /predict/batch": "images",
        "POST /explain": "images",
        "POST /upload/bulk": "images",
        f"POST {MODEL}/infer": "images",
        f"POST {VERSION}/infer": "images",
        "PATCH /uploads/{id}": "fields",
        "POST /retrain": "fields",
        "POST /v2/repository/index": "fields",
        "POST /v2/repository/models/{model}/load": "fields",
    }


@pytest.mark.parametrize(
    ("method", "path", "need"),
    [
        ("POST", "/new", ADMIN),
        ("PUT", "/predict", ADMIN),
        ("DELETE", "/models/v1", ADMIN),
        ("POST", "/health", ADMIN),
        ("POST", "", ADMIN),
        ("predict", "/predict", ADMIN),
        ("TRACE", "/", ADMIN),
        ("GET", "/new", ANY),
        ("GET", "/healthy", ANY),
        ("GET", "/docs/../uploads", ANY),
        ("HEAD", "/uploads", REVIEW),
        ("OPTIONS", "/uploads/1", REVIEW),
        ("GET", "//uploads", ANY),
        ("GET", "/static-offline-docs/a.js", OPEN),
    ],
)
def test_whatever_the_table_does_not_name_is_closed(method: str, path: str, need: Need) -> None:
    assert need_of(method, path) == need
