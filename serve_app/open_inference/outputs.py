"""Outputs: predictions as the tensors that a client of the protocol asks for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from models.classes import CLASSES
from models.errors import InvalidField, MalformedRequest
from serve_app.open_inference.tensors import pack_bytes

Prediction = dict[str, Any]
"""The wire form of `schemas.Prediction`."""

_DTYPES = {"FP32": np.dtype("<f4"), "BOOL": np.dtype("?")}


@dataclass(frozen=True, slots=True)
class Output:
    """An output that the model has."""

    name: str
    datatype: str
    values: Callable[[Prediction], list[Any]]
    """Of one image, flat."""
    shape: tuple[int, ...] = ()
    """Of one image."""
    default: bool = True
    """Whether it is sent to who names no outputs."""


OUTPUTS = (
    Output(
        "PROBABILITIES",
        "FP32",
        lambda answer: [answer["probabilities"][code] for code in CLASSES],
        (len(CLASSES),),
    ),
    Output("PREDICTED_CLASS", "BYTES", lambda answer: [answer["predicted_class"]]),
    Output("CONFIDENCE", "FP32", lambda answer: [answer["confidence"]]),
    Output("MALIGNANT_SCORE", "FP32", lambda answer: [answer["malignant_score"]]),
    Output("ABSTAIN", "BOOL", lambda answer: [answer["abstain"]["abstain"]]),
    Output("PREDICTION", "BYTES", lambda answer: [orjson.dumps(answer).decode()], default=False),
)
"""What a request may ask for; probabilities stand in the order of `CLASSES`."""

_KNOWN = {output.name: output for output in OUTPUTS}


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that a request names, and how it wants it."""

    name: str
    binary: bool = False
    """In the binary form, where the transport has another one."""
    classes: int = 0
    """Only the likeliest classes, this many, each as `value:index:label`; 0 is off."""


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """One output of an answer."""

    name: str
    datatype: str
    shape: list[int]
    values: list[Any]
    """Flat: floats, booleans or strings."""
    binary: bool

    def packed(self) -> bytes:
        """The values in binary form."""
        if self.datatype == "BYTES":
            return pack_bytes([value.encode() for value in self.values])
        return np.array(self.values, _DTYPES[self.datatype]).tobytes()


def requested(
    parameters: dict[str, Any], outputs: Sequence[tuple[str, dict[str, Any]]]
) -> list[RequestedOutput]:
    """What a request asks for.

    Args:
        parameters: of the request.
        outputs: name and parameters of each that it names.

    Raises:
        InvalidField: if a parameter has a value that it cannot have.
        MalformedRequest: if there is no output of a name, or it is named twice.
    """
    binary = _flag(parameters, "binary_data_output", False)
    if not outputs:
        return [RequestedOutput(output.name, binary) for output in OUTPUTS if output.default]
    wanted = [_requested(name, each, binary) for name, each in outputs]
    if len({output.name for output in wanted}) < len(wanted):
        raise MalformedRequest("The outputs name one of them twice. Name each once.")
    return wanted


def tensors(answers: Sequence[Prediction], wanted: Sequence[RequestedOutput]) -> list[OutputTensor]:
    """The outputs of some images, in the order in which they were asked for."""
    return [_tensor(answers, each) for each in wanted]


def _tensor(answers: Sequence[Prediction], wanted: RequestedOutput) -> OutputTensor:
    output = _KNOWN[wanted.name]
    rows = [output.values(answer) for answer in answers]
    datatype, shape = output.datatype, output.shape
    if wanted.classes:
        rows = [_likeliest(row, wanted.classes) for row in rows]
        datatype, shape = "BYTES", (len(rows[0]),)
    return OutputTensor(
        wanted.name,
        datatype,
        [len(answers), *shape],
        [value for row in rows for value in row],
        wanted.binary,
    )


def _likeliest(row: list[float], classes: int) -> list[str]:
    """Triton's form of a classification."""
    order = sorted(range(len(row)), key=lambda index: -row[index])[:classes]
    return [f"{row[index]:f}:{index}:{CLASSES[index]}" for index in order]


def _requested(name: str, parameters: dict[str, Any], binary: bool) -> RequestedOutput:
    if name not in _KNOWN:
        raise MalformedRequest(f"There is no output {name!r:.50}. Use {', '.join(_KNOWN)}.")
    if "shared_memory_region" in parameters:
        raise MalformedRequest(
            f"The output {name} cannot be put into shared memory. Leave out its "
            "shared_memory parameters."
        )
    classes = parameters.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise InvalidField("classification: give how many classes you want.")
    if classes and _KNOWN[name].shape != (len(CLASSES),):
        raise MalformedRequest(
            f"The output {name} has no classes to choose from. Ask for PROBABILITIES."
        )
    return RequestedOutput(name, _flag(parameters, "binary_data", binary), classes)


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidField(f"{name}: give true or false.")
    return value
