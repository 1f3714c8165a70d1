"""The answer of a server under comparison, and whether it is the right one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import httpx
import numpy as np

from benchmarks.peers.failure import PeerFailed
from models.classes import CLASSES

TOLERANCE = 0.02
"""Largest difference of a probability from that of the same engine without a server."""

Reader = Callable[[httpx.Response], list[float]]


def read_json(response: httpx.Response) -> list[float]:
    """Probabilities out of `{"probabilities": {"akiec": ...}}`, in the order of `CLASSES`."""
    probabilities = response.json()["probabilities"]
    return [float(probabilities[code]) for code in CLASSES]


def read_triton(response: httpx.Response) -> list[float]:
    """Probabilities out of Triton's answer to a raw body: a JSON header, then float32 values."""
    length = int(response.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(response.content[:length])["outputs"]
    if output["datatype"] != "FP32":
        raise ValueError(f"datatype {output['datatype']}")
    return [float(value) for value in np.frombuffer(response.content[length:], "<f4")]


def check_answer(response: httpx.Response, read: Reader, expected: Sequence[float]) -> None:
    """Refuse an answer that is not the model's.

    Args:
        response: to one image.
        read: how this server writes probabilities.
        expected: what the same engine says without a server, in the order of `CLASSES`.

    Raises:
        PeerFailed: if it is no answer, or another one.
    """
    if response.status_code != 200:
        raise PeerFailed(f"It answered {response.status_code}: {response.text[:200]}")
    try:
        given = read(response)
    except (ValueError, KeyError, TypeError) as error:
        raise PeerFailed(f"Its answer cannot be read ({error!r}): {response.text[:200]}") from error
    difference = (
        float(np.abs(np.subtract(given, expected)).max()) if len(given) == len(expected) else None
    )
    # NaN is no number up to the tolerance.
    if difference is None or not difference <= TOLERANCE:
        raise PeerFailed(
            f"Its probabilities are wrong: {_short(given)} where the engine by itself says "
            f"{_short(expected)}."
        )


def _short(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:.3f}" for value in values) + "]"
