"""What OpenAPI says of keys: how they are sent, and what is refused for want of one."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from data.catalogue.api_key import Role
from serve_app.access.routes import Need, need_of
from serve_app.open_inference.metadata import is_ours

_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "`Authorization: Bearer KEY`"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
# The empty one is for a server without keys, which answers the machine it runs on.
_ANY_OF_THEM: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}, {}]

_REFUSALS = {
    401: "No API key, or none that is valid",
    403: "The API key lacks the role {role}, or a server without keys is called from elsewhere",
    429: "The API key has used up what it may in a minute; see Retry-After",
    503: "Overloaded, or a part of the server is away; see Retry-After",
}
_TOO_SLOW = {408: "The body did not come within the time that there is for it"}
_TOO_LARGE = {413: "Too many bytes, or a body where none belongs"}


def document_access(app: FastAPI) -> None:
    """Have the document of an application say what its guard does.

    Args:
        app: changed; has all its routes.
    """
    build = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = build()
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _describe(operation, path, need_of(method.upper(), path))
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _describe(operation: dict[str, Any], path: str, need: Need) -> None:
    refusals = _TOO_LARGE | (_TOO_SLOW if "requestBody" in operation else {})
    if need != "nothing":
        operation["security"] = _ANY_OF_THEM
        role = f"`{need.value}`" if isinstance(need, Role) else "that it takes"
        refusals |= {status: text.format(role=role) for status, text in _REFUSALS.items()}
    schema = "ProtocolError" if is_ours(path) else "ErrorResponse"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    for status, description in refusals.items():
        known = operation["responses"]
        known.setdefault(str(status), {"description": description, "content": content})
