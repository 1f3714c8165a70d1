"""Metadata: what the protocol tells of the server and its model."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from models.classes import CLASSES
from models.preprocessing import IMAGE_SIZE
from serve_app.open_inference.outputs import OUTPUTS
from serve_app.open_inference.tensors import IMAGE, PIXELS

MODEL = "dermserve"
"""The one model there is; its versions are those of the registry."""

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "parameters",
    "schedule_policy",
    "statistics",
)
"""Triton's names for what goes beyond the protocol itself."""

_INPUTS: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    (IMAGE, "BYTES", ()),
    (PIXELS, "UINT8", (IMAGE_SIZE, IMAGE_SIZE, 3)),
)
"""Name, datatype and the shape of one image; a request has one of them. Tensors of the protocol
have one datatype, so that it cannot be said here that pixels may be FP32 as well."""


def is_ours(path: str) -> bool:
    """Whether a path is one of the protocol, so that errors there have its form.

    Args:
        path: as the router sees it, without the prefix of the application.
    """
    return f"{path}/".startswith("/v2/")


def server_metadata() -> dict[str, Any]:
    """The answer of `/v2`."""
    return {"name": MODEL, "version": version("dermserve"), "extensions": list(EXTENSIONS)}


def model_metadata(served: str, engine: str) -> dict[str, Any]:
    """The answer of `/v2/models/dermserve`.

    Args:
        served: version that serves.
        engine: that runs it.
    """
    return {
        "name": MODEL,
        "versions": [served],
        "platform": engine,
        "inputs": [
            {"name": name, "datatype": datatype, "shape": [-1, *shape]}
            for name, datatype, shape in _INPUTS
        ],
        "outputs": [
            {"name": output.name, "datatype": output.datatype, "shape": [-1, *output.shape]}
            for output in OUTPUTS
        ],
    }


def model_config(engine: str, max_images: int) -> dict[str, Any]:
    """The model's configuration in Triton's form.

    There, `dims` are a shape without its first number, as `max_batch_size` is above 0.

    Args:
        engine: that runs it.
        max_images: most images in one request.
    """
    return {
        "name": MODEL,
        "platform": engine,
        "max_batch_size": max_images,
        "input": [
            {
                "name": name,
                "data_type": _data_type(datatype),
                "dims": list(shape),
                "optional": True,
            }
            for name, datatype, shape in _INPUTS
        ],
        "output": [
            {
                "name": output.name,
                "data_type": _data_type(output.datatype),
                "dims": list(output.shape),
            }
            for output in OUTPUTS
        ],
        "dynamic_batching": {},
        "parameters": {"classes": {"string_value": ",".join(CLASSES)}},
    }


def _data_type(datatype: str) -> str:
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
