"""Bodies of the protocol over HTTP: JSON, and tensors in binary form behind it."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field, StrictInt, ValidationError

from models.errors import BodyTooLarge, MalformedRequest
from models.preprocessing import IMAGE_SIZE
from serve_app.body import invalid_fields
from serve_app.open_inference.inference import InferenceAnswer, InferenceRequest
from serve_app.open_inference.outputs import OutputTensor
from serve_app.open_inference.tensors import InputTensor, refuse_shared_memory

HEADER_LENGTH = "inference-header-content-length"
"""Header that says how many bytes of a body are JSON; the others are tensors."""

_SIZE = "binary_data_size"

MAX_TENSORS = 16
"""Most inputs of a request, and outputs that it asks for."""

MAX_JSON_VALUES = 8 * IMAGE_SIZE * IMAGE_SIZE * 3 + 1024
"""Most values in the JSON, told by its commas, which base64 has none of: eight images of numbers,
and some room for what stands around them.
Each takes a hundred bytes of memory and a quarter of a microsecond of a thread that all share."""

Parameters = dict[str, Any] | None
"""Of a request, an input or an output. Here and below, null is as good as nothing."""


class InferInput(BaseModel):
    """An input: its values as `data`, or in binary form behind the JSON."""

    name: str
    shape: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(max_length=8)]
    datatype: str
    parameters: Parameters = Field(None, description="`binary_data_size`: bytes in binary form")
    data: list[Any] | None = Field(
        None, description="row-major, flat or nested; an element of BYTES is base64"
    )


class InferOutput(BaseModel):
    """An output that is asked for."""

    name: str
    parameters: Parameters = Field(
        None,
        description="`binary_data`: in binary form; `classification`: only the likeliest classes, "
        "this many",
    )


class InferBody(BaseModel):
    """The JSON of an inference request."""

    id: str | None = Field(None, max_length=1000)
    parameters: Parameters = Field(
        None,
        description="`priority`: interactive, bulk or a number; `timeout`: microseconds; "
        "`binary_data_output`: outputs in binary form",
    )
    inputs: list[InferInput] = Field(min_length=1, max_length=MAX_TENSORS)
    outputs: list[InferOutput] | None = Field(None, max_length=MAX_TENSORS)


def read_request(
    body: bytes, header_length: str | None, *, model: str, version: str, max_json_bytes: int
) -> InferenceRequest:
    """An inference request.

    Args:
        body: JSON, and tensors in binary form behind it.
        header_length: value of `HEADER_LENGTH`; None where all of the body is JSON.
        model: that the path names.
        version: that the path names; empty if it names none.
        max_json_bytes: of the JSON.

    Raises:
        MalformedRequest: if it cannot be read, or its parts do not fit together.
        BodyTooLarge: if the JSON is larger, or has more than `MAX_JSON_VALUES` values.
    """
    whole = memoryview(body)
    length = _header_length(header_length, len(whole))
    if length > max_json_bytes:
        raise BodyTooLarge(
            f"The JSON is larger than {max_json_bytes / 2**20:.3g} MiB. Send fewer images, or "
            "tensors in binary form."
        )
    if body.count(b",", 0, length) > MAX_JSON_VALUES:
        raise BodyTooLarge(
            f"The JSON holds more than {MAX_JSON_VALUES} values. Send pixels in binary form, or "
            "encoded images."
        )
    try:
        parsed = InferBody.model_validate_json(body[:length])
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False, include_context=False)
        raise MalformedRequest(invalid_fields(problems)) from error
    rest = whole[length:]
    inputs = []
    for each in parsed.inputs:
        tensor, rest = _input(each, rest)
        inputs.append(tensor)
    if rest:
        raise MalformedRequest(
            f"{len(rest)} bytes are left behind the tensors. Give each its {_SIZE}."
        )
    return InferenceRequest(
        model=model,
        version=version,
        id=parsed.id or "",
        parameters=parsed.parameters or {},
        inputs=inputs,
        outputs=[(output.name, output.parameters or {}) for output in parsed.outputs or []],
        size_bytes=len(body),
    )


def write_answer(answer: InferenceAnswer) -> tuple[bytes, int | None]:
    """The body of an answer.

    Returns:
        The body, and how many bytes of it are JSON; None if all of them are.
    """
    packed = [output.packed() for output in answer.outputs if output.binary]
    sizes = iter(map(len, packed))
    header = orjson.dumps(
        {
            "model_name": answer.model,
            "model_version": answer.version,
            **({"id": answer.id} if answer.id else {}),
            "outputs": [
                _described(output, next(sizes) if output.binary else None)
                for output in answer.outputs
            ],
        }
    )
    if not packed:
        return header, None
    return b"".join([header, *packed]), len(header)


def _header_length(text: str | None, size: int) -> int:
    if text is None:
        return size
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= size):
        raise MalformedRequest(
            f"{HEADER_LENGTH} is {text!r:.30}. Give how many bytes of the body are JSON."
        )
    return int(text)


def _input(each: InferInput, rest: memoryview) -> tuple[InputTensor, memoryview]:
    """One input, and what is behind it."""
    parameters = each.parameters or {}
    refuse_shared_memory(each.name, parameters)
    size = parameters.get(_SIZE)
    if (size is None) == (each.data is None):
        raise MalformedRequest(f"The input {each.name!r:.50} has to have either data or {_SIZE}.")
    content: Any = each.data
    if size is not None:
        if type(size) is not int or not 0 <= size <= len(rest):
            raise MalformedRequest(
                f"The {_SIZE} of {each.name!r:.50} is {size!r:.30}; {len(rest)} bytes are left "
                f"behind the JSON, which ends where the header {HEADER_LENGTH} says."
            )
        content, rest = rest[:size], rest[size:]
    return InputTensor(each.name, each.datatype, tuple(each.shape), content), rest


def _described(output: OutputTensor, size: int | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": output.name,
        "datatype": output.datatype,
        "shape": output.shape,
    }
    if size is None:
        return described | {"data": output.values}
    return described | {"parameters": {_SIZE: size}}
