"""The message: a batch of work on its way to another process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from models.errors import MalformedRequest
from models.preprocessing import IMAGE_SIZE
from serve_app.shared_memory import Place, SharedFile, SharedReader
from serve_app.telemetry.trace import Trace, WireTrace
from serve_app.work import Priority, Work

Pixels = npt.NDArray[np.uint8]
"""A preprocessed image: uint8, shape (224, 224, 3), RGB."""

Image = bytes | Pixels
"""An image on its way to the preprocessor: encoded, or preprocessed by whoever sends it."""

_SHAPE = (IMAGE_SIZE, IMAGE_SIZE, 3)
_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3


@dataclass(frozen=True, slots=True)
class Message:
    """Payloads, or where they lie, and the terms of each.

    Deadlines travel as the seconds that are left, because clocks of two machines differ.
    """

    sizes: list[int]
    """Bytes of each payload."""
    priorities: list[int]
    remaining_s: list[float | None]
    content: Place | list[Any]
    """The payloads themselves: bytes of an image file, or pixels."""
    preprocessed: tuple[int, ...] = ()
    """Which of them are pixels, for a receiver that takes both."""
    request_ids: tuple[str, ...] = ()
    """Of each payload; none if nobody named them."""
    traces: tuple[WireTrace | None, ...] = ()
    """Of each payload; none if no request among them is recorded."""

    @classmethod
    def by_value(cls, works: Sequence[Work[Any]]) -> Message:
        """Carry the payloads along."""
        return cls(*_terms(works), [work.payload for work in works], *_origins(works))

    @classmethod
    def in_memory(cls, works: Sequence[Work[Any]], file: SharedFile) -> Message:
        """Lay the payloads into shared memory.

        Raises:
            NotShared: if there is not enough of it.
        """
        place = file.write([work.payload for work in works])
        return cls(*_terms(works), place, *_origins(works))

    def images(self, reader: SharedReader) -> list[Work[Image]]:
        """The work of images, encoded or preprocessed.

        Raises:
            NotShared: if the payloads cannot be read from here.
            MalformedRequest: if what is to be pixels has another shape or dtype.
        """
        if not isinstance(self.content, Place):
            for index in self.preprocessed:
                _check_pixels(self.content[index])
            return self._works(self.content)
        payloads: list[Image] = list(reader.read(self.content, self.sizes))
        for index in self.preprocessed:
            pixels = np.frombuffer(payloads[index], np.uint8)
            if pixels.size != _BYTES:
                raise _not_pixels(f"{pixels.size} bytes")
            payloads[index] = pixels.reshape(_SHAPE)
        return self._works(payloads)

    def pixels(self, reader: SharedReader) -> list[Work[Pixels]]:
        """The work of preprocessed images, each uint8 of shape (224, 224, 3).

        Raises:
            NotShared: if the payloads cannot be read from here.
            MalformedRequest: if they have another shape or dtype.
        """
        if isinstance(self.content, Place):
            if any(size != _BYTES for size in self.sizes):
                raise _not_pixels(f"{self.sizes} bytes")
            images = np.empty((len(self.sizes), *_SHAPE), np.uint8)
            reader.read_into(self.content, images)
            return self._works(list(images))
        for image in self.content:
            _check_pixels(image)
        return self._works(self.content)

    def _works(self, payloads: Sequence[Any]) -> list[Work[Any]]:
        now = time.monotonic()
        count = len(self.sizes)
        names: Iterable[str] = self.request_ids or repeat("", count)
        traces: Iterable[Trace | None] = repeat(None, count)
        if self.traces:
            traces = [None if sent is None else Trace.from_wire(sent) for sent in self.traces]
        return [
            Work(payload, Priority(priority), None if left is None else now + left, name, trace)
            for payload, priority, left, name, trace in zip(
                payloads, self.priorities, self.remaining_s, names, traces, strict=True
            )
        ]


def is_pixels(image: object) -> bool:
    """Whether an image is preprocessed: uint8 of shape (224, 224, 3)."""
    return isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape == _SHAPE


def size_of(image: Image) -> int:
    """Bytes of an image."""
    return image.nbytes if isinstance(image, np.ndarray) else len(image)


def _origins(
    works: Sequence[Work[Any]],
) -> tuple[tuple[int, ...], tuple[str, ...], tuple[WireTrace | None, ...]]:
    """Which payloads are pixels, and whose they are."""
    pixels = tuple(i for i, work in enumerate(works) if isinstance(work.payload, np.ndarray))
    traces: tuple[WireTrace | None, ...] = ()
    if any(work.trace is not None for work in works):
        traces = tuple(None if work.trace is None else work.trace.to_wire() for work in works)
    return pixels, tuple(work.request_id for work in works), traces


def _check_pixels(image: object) -> None:
    if not is_pixels(image):
        raise _not_pixels(
            f"{image.dtype} of shape {image.shape}"
            if isinstance(image, np.ndarray)
            else type(image).__name__
        )


def _terms(works: Sequence[Work[Any]]) -> tuple[list[int], list[int], list[float | None]]:
    now = time.monotonic()
    return (
        [memoryview(work.payload).nbytes for work in works],
        [int(work.priority) for work in works],
        [None if work.deadline is None else work.deadline - now for work in works],
    )


def _not_pixels(what: str) -> MalformedRequest:
    return MalformedRequest(f"Expected images of uint8 and shape {_SHAPE}, got {what}.")
