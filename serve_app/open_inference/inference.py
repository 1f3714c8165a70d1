"""One inference of the protocol: a request whichever way it came, and its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.errors import InvalidField
from serve_app.open_inference.outputs import OutputTensor
from serve_app.open_inference.tensors import InputTensor
from serve_app.work import Priority

_NAMES = {priority.name.lower(): priority for priority in Priority}
_MICROSECOND_S = 1e-6


@dataclass(frozen=True, slots=True)
class InferenceRequest:
    """What a client asks of the model."""

    model: str
    version: str
    """Of the registry; empty leaves it to the server."""
    id: str
    """Echoed; empty if the client gave none."""
    parameters: dict[str, Any]
    inputs: list[InputTensor]
    outputs: Sequence[tuple[str, dict[str, Any]]]
    """Name and parameters of each that is asked for; none stands for the usual ones."""
    size_bytes: int
    """As it came: what is large is not read on the event loop."""


@dataclass(frozen=True, slots=True)
class InferenceAnswer:
    """What it is told."""

    model: str
    version: str
    """That answered; two, with a comma between, if another one took over meanwhile."""
    id: str
    outputs: list[OutputTensor]


def priority_of(parameters: dict[str, Any], images: int) -> Priority:
    """The parameter `priority`: a name of ours, or a number as Triton has it.

    Of those the smallest goes first: 1 is interactive and whatever is above it bulk. 0, or no
    priority, leaves it to the server: one image is interactive and several are bulk, as on
    `/predict` and `/predict/batch`.

    Raises:
        InvalidField: if it is neither.
    """
    value = parameters.get("priority", 0)
    if isinstance(value, str) and value in _NAMES:
        return _NAMES[value]
    if type(value) is not int or value < 0:
        raise InvalidField(f"priority: give {' or '.join(_NAMES)}, or a number from 0 on.")
    if value == 0:
        return Priority.INTERACTIVE if images == 1 else Priority.BULK
    return Priority.INTERACTIVE if value == 1 else Priority.BULK


def timeout_of(parameters: dict[str, Any]) -> float | None:
    """The parameter `timeout`, microseconds, in seconds; None if there is none, which 0 says too.

    Raises:
        InvalidField: if it is no such number.
    """
    value = parameters.get("timeout", 0)
    if type(value) is not int or value < 0:
        raise InvalidField("timeout: give whole microseconds, or leave it out.")
    return value * _MICROSECOND_S or None
