"""Tensors: what clients of the protocol send, and the images that are in it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import MalformedRequest, TooManyFiles
from models.preprocessing import IMAGE_SIZE
from serve_app.message import Image, Pixels

IMAGE = "IMAGE"
"""Input of encoded images: BYTES, shape [n] or [n, 1]."""

PIXELS = "PIXELS"
"""Input of preprocessed images: UINT8, or FP32 in 0..1, shape [n, 224, 224, 3], RGB."""

_PIXELS_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)
_DTYPES: dict[str, npt.DTypeLike] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_LENGTH_BYTES = 4  # of an element of BYTES, little-endian, in front of it


@dataclass(frozen=True, slots=True)
class InputTensor:
    """One input as it came."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: memoryview | Sequence[Any]
    """The values in row-major order: their bytes, as the binary tensor extension has them, or a
    sequence of them, flat or nested. In that an element of BYTES is `bytes`, or base64."""


def read_images(inputs: Sequence[InputTensor], max_images: int) -> list[Image]:
    """The images of a request, in order.

    Args:
        inputs: exactly one of `IMAGE` and `PIXELS`.
        max_images: most images.

    Returns:
        Encoded images, not looked at yet, or pixels: uint8, shape (224, 224, 3). FP32 is rounded
        to the nearest of the 256 values, so that UINT8 / 255 is the same image.

    Raises:
        MalformedRequest: if a name, datatype, shape or value is none of those, or the shape and
            the values do not match.
        TooManyFiles: if there are more images.
    """
    if len(inputs) != 1 or inputs[0].name not in (IMAGE, PIXELS):
        raise MalformedRequest(
            f"Send exactly one input: {IMAGE}, encoded images, or {PIXELS}, preprocessed ones."
        )
    (tensor,) = inputs
    if tensor.name == IMAGE:
        _require_datatype(tensor, "BYTES")
        if len(tensor.shape) not in (1, 2) or tensor.shape[1:] not in ((), (1,)):
            raise _wrong_shape(tensor, "[n] or [n,1]")
        return list(_elements(tensor, _count(tensor, max_images)))
    _require_datatype(tensor, *_DTYPES)
    if tensor.shape[1:] != _PIXELS_SHAPE:
        raise _wrong_shape(tensor, f"[n,{IMAGE_SIZE},{IMAGE_SIZE},3]")
    return list(_pixels(tensor, _count(tensor, max_images)))


def refuse_shared_memory(name: str, parameters: Container[str]) -> None:
    """Raise `MalformedRequest` if the parameters of an input say that it is in shared memory."""
    if "shared_memory_region" in parameters:
        raise MalformedRequest(
            f"The input {name!r:.50} is in shared memory, which the server does not read. Send "
            "its values."
        )


def pack_bytes(elements: Sequence[bytes]) -> bytes:
    """Elements of BYTES in binary form: each behind its length."""
    return b"".join(
        part for each in elements for part in (len(each).to_bytes(_LENGTH_BYTES, "little"), each)
    )


def unpack_bytes(packed: memoryview, count: int) -> list[bytes]:
    """The elements of BYTES in binary form.

    Raises:
        MalformedRequest: if those are not `count` elements and nothing else.
    """
    elements: list[bytes] = []
    at = 0
    while at < len(packed) and len(elements) < count:
        begin = at + _LENGTH_BYTES
        end = begin + int.from_bytes(packed[at:begin], "little")
        if begin > len(packed) or end > len(packed):
            raise MalformedRequest(
                f"Element {len(elements)} of BYTES ends after the tensor. Each element stands "
                "behind its length, four bytes, little-endian."
            )
        elements.append(bytes(packed[begin:end]))
        at = end
    if len(elements) != count or at != len(packed):
        raise MalformedRequest(
            f"The shape says {count} elements of BYTES; the tensor holds "
            f"{'more' if len(elements) == count else len(elements)}."
        )
    return elements


def _elements(tensor: InputTensor, count: int) -> list[bytes]:
    if isinstance(tensor.content, memoryview):
        return unpack_bytes(tensor.content, count)
    values = list(tensor.content)
    if len(tensor.shape) == 2 and all(isinstance(v, list) and len(v) == 1 for v in values):
        values = [value for (value,) in values]
    if len(values) != count:
        raise _wrong_count(tensor, len(values))
    return [_element(value, index) for index, value in enumerate(values)]


def _element(value: object, index: int) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        if isinstance(value, str):
            return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise MalformedRequest(
        f"Element {index} of {IMAGE} is not base64. In JSON an image is a string of base64; the "
        "binary tensor extension takes it as it is."
    )


def _pixels(tensor: InputTensor, count: int) -> Pixels:
    values = _numbers(tensor)
    if values.size != count * IMAGE_SIZE * IMAGE_SIZE * 3:
        raise _wrong_count(tensor, values.size)
    values = values.reshape(count, *_PIXELS_SHAPE)
    if tensor.datatype == "FP32":
        return _rounded(values)
    if values.dtype != np.uint8 and not (_within(values, 255) and np.all(values % 1 == 0)):
        raise MalformedRequest(f"{PIXELS} of UINT8 are whole numbers from 0 to 255.")
    return values.astype(np.uint8)  # a copy: the pixels alone, in memory that may be written


def _numbers(tensor: InputTensor) -> npt.NDArray[Any]:
    """The values, of the tensor's own type where they came in binary form, else float32.

    Of a fixed type, so that no long string in a sequence makes a large array.
    """
    if isinstance(tensor.content, memoryview):
        dtype = np.dtype(_DTYPES[tensor.datatype])
        if tensor.content.nbytes % dtype.itemsize:
            raise _wrong_count(tensor, tensor.content.nbytes / dtype.itemsize)
        return np.frombuffer(tensor.content, dtype)
    try:
        with np.errstate(over="ignore"):
            return np.array(tensor.content, np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise MalformedRequest(
            f"The data of {tensor.name} are numbers in row-major order, flat or nested as the "
            "shape says."
        ) from error


def _rounded(values: npt.NDArray[Any]) -> Pixels:
    if not _within(values, 1):
        raise MalformedRequest(f"{PIXELS} of FP32 are numbers from 0 to 1: UINT8 / 255.")
    return np.rint(values * np.float32(255)).astype(np.uint8)


def _within(values: npt.NDArray[Any], largest: int) -> bool:
    """Whether all values are from 0 to `largest`, which one that is no number is not."""
    return bool(values.min() >= 0 and values.max() <= largest)


def _count(tensor: InputTensor, max_images: int) -> int:
    count = tensor.shape[0]
    if count < 1:
        raise _wrong_shape(tensor, "of at least one image")
    if count > max_images:
        raise TooManyFiles(
            f"One request may carry {max_images} images. Send the rest in further requests."
        )
    return count


def _require_datatype(tensor: InputTensor, *known: str) -> None:
    if tensor.datatype not in known:
        raise MalformedRequest(
            f"The input {tensor.name} has datatype {' or '.join(known)}, not "
            f"{tensor.datatype!r:.20}."
        )


def _wrong_shape(tensor: InputTensor, right: str) -> MalformedRequest:
    shape = ",".join(map(str, tensor.shape[:8]))
    return MalformedRequest(f"The input {tensor.name} has shape {right}, not [{shape:.100}].")


def _wrong_count(tensor: InputTensor, count: float) -> MalformedRequest:
    return MalformedRequest(
        f"The input {tensor.name} holds {count:g} values, which do not fill its shape."
    )
