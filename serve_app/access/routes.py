"""What each route needs: nothing, any key, or a key with a role."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from data.catalogue.api_key import Role

Need = Role | Literal["nothing", "a key"]

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
_COMPILED = tuple((re.compile(pattern + "/?", re.DOTALL), need) for pattern, need in _TABLE)


@lru_cache(maxsize=1024)
def need_of(method: str, path: str) -> Need:
    """What a request needs.

    Args:
        method: in capitals.
        path: as the router sees it, without the prefix of the application.
    """
    asked = f"{method} {path}"
    return next(need for pattern, need in _COMPILED if pattern.fullmatch(asked))
