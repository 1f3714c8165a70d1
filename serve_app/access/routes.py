"""What each route and procedure needs, nothing, any key or a role, and what body it takes."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from data.catalogue.api_key import Role

Need = Role | Literal["nothing", "a key"]

Body = Literal["images", "fields", "nothing", "anything"]
"""What a route reads: bodies with limits of its own, a small object of JSON, or none at all; or
anything where there is no route."""

# The first line that matches decides. To read takes a key unless a line says otherwise, and to
# change an admin's, so that a route that was forgotten here is closed and not open.
_TABLE: tuple[tuple[str, Need], ...] = (
    (r"POST /predict(/batch)?", Role.PREDICT),
    (r"POST /explain", Role.PREDICT),
    (r"POST /v2/models/.+/infer", Role.PREDICT),
    (r"POST /upload/bulk", Role.UPLOAD),
    (r"[A-Z]+ /uploads(/.*)?", Role.REVIEW),
    (r"(POST|DELETE) /retrain", Role.ADMIN),
    (r"POST /models/(.+/promote|rollback)", Role.ADMIN),
    (r"POST /v2/repository/models/.+/(load|unload)", Role.ADMIN),
    (r"POST /v2/repository/index", "a key"),
    (r"GET /", "nothing"),
    (r"GET /health(/live|/ready)?", "nothing"),
    (r"GET /v2/health/(live|ready)", "nothing"),
    (r"GET /(openapi\.json|docs(/oauth2-redirect)?|redoc)", "nothing"),
    (r"(GET|HEAD) /static-offline-docs/.+", "nothing"),
    (r"(GET|HEAD|OPTIONS) .*", "a key"),
    (r".*", Role.ADMIN),
)
# Whoever adds a route that changes something says here what it reads; a test compares the routes
# with this table. What is in no line is no route: 404 or 405 comes before its body is read.
_BODIES: tuple[tuple[str, Body], ...] = (
    (r"POST /predict(/batch)?", "images"),
    (r"POST /explain", "images"),
    (r"POST /v2/models/.+/infer", "images"),
    (r"POST /upload/bulk", "images"),
    (r"PATCH /uploads/.+", "fields"),
    (r"POST /retrain", "fields"),
    (r"POST /v2/repository/index", "fields"),
    (r"POST /v2/repository/models/.+/load", "fields"),
    (r"(GET|HEAD|OPTIONS|DELETE) .*", "nothing"),
    (r"POST /models/.+", "nothing"),
    (r"POST /v2/repository/models/.+/unload", "nothing"),
    (r".*", "anything"),
)

_ROUTES_OF_PROCEDURES = {
    "ServerLive": ("GET", "/v2/health/live"),
    "ServerReady": ("GET", "/v2/health/ready"),
    "ServerMetadata": ("GET", "/v2"),
    "ModelReady": ("GET", "/v2/models/MODEL/ready"),
    "ModelMetadata": ("GET", "/v2/models/MODEL"),
    "ModelConfig": ("GET", "/v2/models/MODEL/config"),
    "ModelStatistics": ("GET", "/v2/models/MODEL/stats"),
    "ModelInfer": ("POST", "/v2/models/MODEL/infer"),
    "RepositoryIndex": ("POST", "/v2/repository/index"),
    "RepositoryModelLoad": ("POST", "/v2/repository/models/MODEL/load"),
    "RepositoryModelUnload": ("POST", "/v2/repository/models/MODEL/unload"),
}


def _compiled(pattern: str) -> re.Pattern[str]:
    # The router ends its patterns with `$`, which matches before a line break at the end too.
    return re.compile(pattern + r"/?\n?", re.DOTALL)


_NEEDS = tuple((_compiled(pattern), need) for pattern, need in _TABLE)
_TAKES = tuple((_compiled(pattern), body) for pattern, body in _BODIES)


@lru_cache(maxsize=1024)
def need_of(method: str, path: str) -> Need:
    """What a request needs.

    Args:
        method: in capitals.
        path: as the router sees it, without the prefix of the application.
    """
    asked = f"{method} {path}"
    return next(need for pattern, need in _NEEDS if pattern.fullmatch(asked))


def need_of_procedure(name: str) -> Need:
    """What a call over gRPC needs (`serve_app/open_inference/rpc.py`): the same as its route.

    Args:
        name: of the procedure, as `ModelInfer`.
    """
    return need_of(*_ROUTES_OF_PROCEDURES[name])


@lru_cache(maxsize=1024)
def body_of(method: str, path: str) -> Body:
    """What a request may carry; arguments as for `need_of`."""
    asked = f"{method} {path}"
    return next(body for pattern, body in _TAKES if pattern.fullmatch(asked))
