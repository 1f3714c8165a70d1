"""Requests of the protocol as clients write them, and predictions to answer them with."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES

SHAPE = (224, 224, 3)

URL = "/v2/models/dermserve/infer"
HEADER_LENGTH = "Inference-Header-Content-Length"


def pixels(seed: int, count: int = 1) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def packed(*elements: bytes) -> bytes:
    """Elements of BYTES in binary form."""
    return b"".join(len(each).to_bytes(4, "little") + each for each in elements)


def binary_input(
    raw: bytes, *, name: str = "IMAGE", datatype: str = "BYTES", shape: Any = (1,), **more: Any
) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(shape),
        "parameters": {"binary_data_size": len(raw), **more},
    }


def binary_body(raw: bytes, header: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A body with tensors behind its JSON, and its headers."""
    text = json.dumps(header).encode()
    return text + raw, {HEADER_LENGTH: str(len(text))}


def image_body(*images: bytes, **header: Any) -> tuple[bytes, dict[str, str]]:
    """A body with encoded images in binary form."""
    raw = packed(*images)
    return binary_body(raw, {"inputs": [binary_input(raw, shape=[len(images)])], **header})


def prediction(number: int) -> dict[str, Any]:
    """The parts of a prediction that outputs are made of."""
    scores = np.random.default_rng(number).dirichlet(np.ones(len(CLASSES))).tolist()
    probabilities = dict(zip(CLASSES, scores, strict=True))
    likeliest = max(probabilities, key=lambda code: probabilities[code])
    return {
        "predicted_class": likeliest,
        "confidence": probabilities[likeliest],
        "probabilities": probabilities,
        "malignant_score": probabilities["mel"] + probabilities["bcc"] + probabilities["akiec"],
        "abstain": {"abstain": number % 2 == 1, "reason": "ä" if number % 2 else None},
        "model_version": "v1",
    }
