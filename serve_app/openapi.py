"""What FastAPI cannot read off a handler that takes the raw request: bodies and errors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from models.classes import CLASSES
from serve_app import schemas
from serve_app.upload_schemas import LABEL_SOURCES

Responses = dict[int | str, dict[str, Any]]

_DESCRIPTIONS = {
    400: "The body cannot be read",
    404: "There is none of that name",
    409: "The state of the server forbids it, as the message says",
    413: "Too many bytes or files",
    415: "Not an image in a supported format",
    422: "A field has a value that it cannot have",
    503: "Overloaded, or a part of the server is away; see Retry-After",
    504: "Deadline passed",
    507: "No room left",
}


def errors(*statuses: int) -> Responses:
    """Answers of these statuses, in the one form of all errors."""
    return {
        status: {"model": schemas.ErrorResponse, "description": _DESCRIPTIONS[status]}
        for status in statuses
    }


ERRORS = errors(400, 413, 415, 422, 503, 504)
ERRORS[400]["description"] = "Empty or truncated image, or a broken form"
ERRORS[422]["description"] = "Too many or too few pixels"
ERRORS[503]["description"] = "Overloaded or no model; see Retry-After"

_BINARY = {"schema": {"type": "string", "format": "binary"}}

EXPLANATIONS: Responses = {
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


def content(description: str, *media_types: str) -> Responses:
    """A good answer that is no JSON."""
    types: dict[str, Any] = dict.fromkeys(media_types, _BINARY)
    return {200: {"description": description, "content": types}}


def json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A body of JSON that the handler validates itself."""
    schema = model.model_json_schema()
    whole = _inlined(schema, schema.pop("$defs", {}))
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": whole}}}
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema with its definitions in their places: in a document, nobody finds them beside it."""
    if isinstance(schema, list):
        return [_inlined(each, definitions) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if (place := schema.get("$ref")) is not None:
        rest = {name: value for name, value in schema.items() if name != "$ref"}
        return _inlined(definitions[place.rpartition("/")[2]], definitions) | rest
    return {name: _inlined(value, definitions) for name, value in schema.items()}


def _form(required: str, properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": [required], "properties": properties}
    return {"multipart/form-data": {"schema": schema}}


_FILES = {"type": "array", "items": _BINARY["schema"]}
_TEXT = {"type": "string"}

PREDICT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            **_form("file", {"file": _BINARY["schema"]}),
            "image/*": _BINARY,
            "application/octet-stream": _BINARY,
        },
    }
}
BATCH_BODY = {"requestBody": {"required": True, "content": _form("files", {"files": _FILES})}}
UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": _form(
            "files",
            {
                "files": _FILES,
                "labels": {
                    "type": "array",
                    "items": _TEXT,
                    "description": "one class code per file, empty where there is none; or a "
                    "single JSON object by file name",
                },
                "manifest": _BINARY["schema"]
                | {"description": "CSV: file,label[,lesion_id][,label_source]"},
                "label_source": {
                    **_TEXT,
                    "enum": list(LABEL_SOURCES),
                    "description": "of every label that names none itself",
                },
                "lesion_id": {**_TEXT, "description": "of every file that has none of its own"},
                "uploader": _TEXT,
            },
        ),
    }
}
