"""What FastAPI cannot read off a handler that takes the raw request: bodies and errors."""

from __future__ import annotations

from typing import Any

from models.classes import CLASSES
from serve_app import schemas

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": schemas.ErrorResponse, "description": description}
    for status, description in (
        (400, "Empty or truncated image, or a broken form"),
        (413, "Too many bytes or files"),
        (415, "Not an image in a supported format"),
        (422, "Too many or too few pixels"),
        (503, "Overloaded or no model; see Retry-After"),
        (504, "Deadline passed"),
    )
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}

EXPLANATIONS: dict[int | str, dict[str, Any]] = {
    **ERRORS,
    200: {
        "description": "The image with its map, 448 x 448 pixels",
        "content": {"image/png": _BINARY},
        "headers": {
            "x-model-version": {"schema": {"type": "string"}},
            "x-predicted-class": {"schema": {"type": "string", "enum": list(CLASSES)}},
            "x-explained-class": {"schema": {"type": "string", "enum": list(CLASSES)}},
        },
    },
    422: ERRORS[422] | {"description": "An unknown class, or too many or too few pixels"},
}
"""What `/explain` answers: an image, or an error in the form of all others."""


def _form(field: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"schema": {"type": "object", "required": [field], "properties": {field: schema}}}


PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _form("file", _BINARY["schema"]),
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
        },
    }
}
BATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": _form("files", {"type": "array", "items": _BINARY["schema"]})
        },
    }
}
