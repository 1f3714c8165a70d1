"""Uploads: images to learn from, and what the server makes of each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Literal

import httpx

from dermserve_client.answer import Answer
from dermserve_client.call import Call
from dermserve_client.image import Image, ImageSource, read_images

LabelSource = Literal["histopathology", "follow_up", "consensus", "expert", "user"]
"""How a label was established, the most reliable first."""


class UploadResult(Answer):
    """What became of one file."""

    index: int
    name: str = ""
    """Of the file, as the caller calls it; empty for bytes. The server does not know it."""
    verdict: str
    """`accepted`: stored with its label. `needs_label`: stored, and waits in the review queue.
    `duplicate`: the picture is there already. `test_image`: models are judged by it.
    `rejected`: it cannot be taken as it is."""
    id: str | None = None
    """Of the upload, if it was stored."""
    duplicate_of: str | None = None
    """An upload, or an image of HAM10000."""
    reason: str | None = None
    """Why it was not stored."""


class Missing(Answer):
    """What is still missing until a retraining starts by itself."""

    new_images: int
    """Labelled images that no run has learned from yet."""
    threshold: int
    missing: int
    """Images, of whichever class."""
    missing_by_class: dict[str, int]
    """Where a class has a minimum of its own."""
    quiet_until: datetime | None = None
    """When a retraining may start, if nothing changes before."""


class UploadAnswer(Answer):
    """The verdicts, in the order of the files."""

    results: list[UploadResult]
    counts: dict[str, int]
    """Files of each verdict."""
    retraining: Missing | None
    """None if the trainer does not answer."""
    request_id: str


def upload(
    images: Iterable[ImageSource],
    labels: Sequence[str | None] | None = None,
    *,
    label_source: LabelSource | None = None,
    lesion_ids: Sequence[str | None] | None = None,
    uploader: str | None = None,
) -> Call[UploadAnswer]:
    """Upload images to learn from. A client never repeats that by itself.

    When no answer comes, the images may be there all the same. To send them again does no harm:
    the server tells pictures that it has, and answers `duplicate`.

    Args:
        images: as for `predict`; within the server's limits (256 files and 256 MiB at most,
            unless it is configured otherwise).
        labels: a class code for each image, or None for one that is to wait in the review queue.
        label_source: how the labels were established; None counts as `user`.
        lesion_ids: names of the lesions, the same for all images of one.
        uploader: who sends them, on a server without API keys; on another, it is the key.

    Returns:
        `UploadAnswer`, with a verdict for each image.

    Raises:
        ValueError: if there are not as many labels or lesions as images.
        InvalidRequest: if nothing was stored, because a field has a value that it cannot have.
        TooLarge: if it is too much for one request.
        StorageFull: if there is no room for the images.
        Unreachable: if no answer came.
        DermServeError: the root of all these but the first.
    """
    sent = list(read_images(images))
    given = [
        {"label": label, "lesion_id": lesion_id}
        for label, lesion_id in zip(
            _for_each(sent, labels, "labels"),
            _for_each(sent, lesion_ids, "lesion_ids"),
            strict=True,
        )
    ]
    fields = {
        # By name, so that they cannot shift against the files.
        "labels": json.dumps({str(index): entry for index, entry in enumerate(given)}),
        "label_source": label_source,
        "uploader": uploader,
    }

    def read(response: httpx.Response) -> UploadAnswer:
        answer = UploadAnswer.model_validate_json(response.content)
        results = [
            result.model_copy(update={"name": image.name})
            for image, result in zip(sent, answer.results, strict=True)
        ]
        return answer.model_copy(update={"results": results})

    return Call(
        "POST",
        "/upload/bulk",
        read,
        body={
            "files": [("files", (str(index), image.data)) for index, image in enumerate(sent)],
            "data": {name: value for name, value in fields.items() if value is not None},
        },
    )


def _for_each(
    images: Sequence[Image], values: Sequence[str | None] | None, what: str
) -> Sequence[str | None]:
    """A value for each image, None for all if there are no values.

    Raises:
        ValueError: if there are more or fewer values than images; shifted labels would mislabel
            them all.
    """
    if isinstance(values, str):
        raise ValueError(f"{what} must be one for each image. Put the one into a list.")
    if values is not None and len(values) != len(images):
        raise ValueError(f"There are {len(values)} {what} for {len(images)} images. Give as many.")
    return values if values is not None else [None] * len(images)
