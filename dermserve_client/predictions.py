"""Predictions: what the server says of images, and how it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from dermserve_client.answer import Answer, as_model
from dermserve_client.call import Call
from dermserve_client.errors import ErrorDetail, Refused, TooLarge, error_of, error_of_detail
from dermserve_client.image import Image, ImageSource, read_image, read_images

Priority = Literal["interactive", "bulk"]
"""Bulk work gives way to interactive work, in every queue of the server."""

CHUNK_IMAGES = 32
CHUNK_BYTES = 64 * 1024 * 1024


class Diagnosis(Answer):
    """What a class means to a reader."""

    name: str
    description: str
    risk_level: str
    recommendation: str


class ActionPoint(Answer):
    """The threshold at which a score calls for action, and its measured worth, each in [0, 1]."""

    threshold: float
    exceeded: bool
    """Whether this image's score reaches the threshold."""
    validation_sensitivity: float
    test_sensitivity: float
    test_specificity: float


class Abstain(Answer):
    """Whether the model declines to be relied on for this image."""

    abstain: bool
    reason: str | None
    """`out_of_distribution` or `too_uncertain`."""


class Novelty(Answer):
    """How unlike the training images this one is; above the threshold, the model abstains."""

    score: float
    threshold: float


class Timings(Answer):
    """Seconds in each stage, and in all."""

    preprocessing: float
    queue: float
    forward: float
    total: float


class Prediction(Answer):
    """The answer for one image. For research and education only; see `disclaimer`."""

    predicted_class: str
    """`akiec`, `bcc`, `bkl`, `df`, `mel`, `nv` or `vasc`."""
    class_name: str
    confidence: float
    """Calibrated probability of `predicted_class`, in [0, 1]."""
    probabilities: dict[str, float]
    """Calibrated, by class code."""
    inference_time: float
    """Seconds of the model's forward pass."""
    diagnosis: Diagnosis
    malignant_score: float
    """p(mel) + p(bcc) + p(akiec), in [0, 1]."""
    operating_point: ActionPoint
    """Of `malignant_score`."""
    melanoma_operating_point: ActionPoint
    """Of the probability of mel."""
    prediction_set: list[str]
    """What cannot be ruled out, likeliest first."""
    abstain: Abstain
    novelty: Novelty
    model_version: str
    dataset_hash: str
    request_id: str
    timings: Timings
    disclaimer: str


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One image's answer among many: a prediction or an error."""

    index: int
    """Of the image, from 0."""
    name: str
    """Of its file, as the caller calls it; empty for bytes."""
    prediction: Prediction | None = None
    error: Refused | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where the model found its evidence for a class."""

    png: bytes
    """The image under a Grad-CAM map, 448 x 448 pixels."""
    predicted_class: str
    explained_class: str
    model_version: str


def predict(
    image: ImageSource, *, priority: Priority = "interactive", timeout_s: float | None = None
) -> Call[Prediction]:
    """Classify one image.

    Args:
        image: a path, the bytes of a file, or an open file; encoded as JPEG, PNG, BMP, GIF, WebP
            or TIFF.
        priority: bulk work gives way to interactive work.
        timeout_s: longest wait, repeated attempts included; None leaves it to the server.

    Returns:
        `Prediction`.

    Raises:
        InvalidImage: if the server cannot use the image.
        TooLarge: if the file has too many bytes.
        DeadlineExceeded: if there is no answer within `timeout_s`.
        Unavailable: if the server is overloaded or has no model, for longer than a client waits.
        ValueError: if `timeout_s` is not above 0.
        DermServeError: the root of all these but the last, and of what may go wrong on the way.
    """
    return Call(
        "POST",
        "/predict",
        as_model(Prediction),
        repeatable=True,
        # Without a query, the server has a shorter way.
        params={"priority": None if priority == "interactive" else priority},
        body=_raw(read_image(image)),
        timeout_s=timeout_s,
    )


def predict_batch(
    images: Iterable[ImageSource],
    *,
    priority: Priority = "bulk",
    timeout_s: float | None = None,
    chunk_images: int = CHUNK_IMAGES,
) -> Iterator[Call[list[BatchItem]]]:
    """Classify any number of images, a chunk at a time.

    The answers come in the order of the images, each as soon as its chunk is done, so that a loop
    over them can show how far it is. Images are read when their chunk's turn comes. An image that
    cannot be used has an error for an answer and does not stop the others.

    Args:
        images: as for `predict`.
        priority: bulk work gives way to interactive work.
        timeout_s: longest wait for one chunk; None leaves it to the server.
        chunk_images: most images in one request, within the server's limit (twice its largest
            batch). A chunk has 64 MiB at most, if it is not one image alone.

    Returns:
        An iterator of `BatchItem`.

    Raises:
        TypeError: if `images` is a single one.
        OSError: if a file cannot be read.
        DermServeError: if a whole chunk fails; the answers before it have been given.
    """
    first = 0
    for chunk in _chunks(read_images(images), chunk_images):
        yield _predict_chunk(chunk, first, priority, timeout_s)
        first += len(chunk)


def explain(image: ImageSource, *, explained_class: str | None = None) -> Call[Explanation]:
    """Show where the model found its evidence for a class.

    Args:
        image: as for `predict`.
        explained_class: a class code; None stands for the predicted class.

    Returns:
        `Explanation`.

    Raises:
        InvalidRequest: if there is no such class.
        DermServeError: as `predict`.
    """
    return Call(
        "POST",
        "/explain",
        _explanation,
        repeatable=True,
        params={"class": explained_class},
        body=_raw(read_image(image)),
    )


def _explanation(response: httpx.Response) -> Explanation:
    return Explanation(
        png=response.content,
        predicted_class=response.headers["x-predicted-class"],
        explained_class=response.headers["x-explained-class"],
        model_version=response.headers["x-model-version"],
    )


def _raw(image: Image) -> dict[str, Any]:
    return {"content": image.data, "headers": {"content-type": "application/octet-stream"}}


class _ItemAnswer(Answer):
    prediction: Prediction | None = None
    error: ErrorDetail | None = None


class _BatchAnswer(Answer):
    results: list[_ItemAnswer]


def _predict_chunk(
    chunk: list[Image], first: int, priority: Priority, timeout_s: float | None
) -> Call[list[BatchItem]]:
    """Ask for a chunk of images whose first is the `first` of all."""

    def read(response: httpx.Response) -> list[BatchItem]:
        results = _BatchAnswer.model_validate_json(response.content).results
        return [
            BatchItem(
                first + place,
                image.name,
                result.prediction,
                None if result.error is None else error_of_detail(result.error),
            )
            for place, (image, result) in enumerate(zip(chunk, results, strict=True))
        ]

    def read_error(response: httpx.Response) -> list[BatchItem]:
        # One image that is larger than a whole body may be is no reason to stop either.
        error = error_of(response)
        if len(chunk) == 1 and isinstance(error, TooLarge):
            return [BatchItem(first, chunk[0].name, error=error)]
        raise error

    return Call(
        "POST",
        "/predict/batch",
        read,
        read_error=read_error,
        repeatable=True,
        params={"priority": priority},
        body={"files": [("files", (str(place), image.data)) for place, image in enumerate(chunk)]},
        timeout_s=timeout_s,
    )


def _chunks(images: Iterable[Image], most: int) -> Iterator[list[Image]]:
    """Images in groups of `most` and `CHUNK_BYTES` at most, but of one image at least."""
    chunk: list[Image] = []
    size = 0
    for image in images:
        if chunk and (len(chunk) >= most or size + len(image.data) > CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(image)
        size += len(image.data)
    if chunk:
        yield chunk
