"""The review queue: what has been uploaded, and how it is labelled and removed."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, TypedDict

from dermserve_client.answer import Answer, as_model
from dermserve_client.call import Call, segment
from dermserve_client.uploads import LabelSource

Status = Literal["labelled", "needs_label"]
Order = Literal["newest", "oldest", "uncertainty"]


class UploadPrediction(Answer):
    """What the model said of an upload when it came."""

    probabilities: dict[str, float]
    """Calibrated, by class code."""
    uncertainty: float
    """Entropy of the probabilities, as a share of the largest possible; in [0, 1]."""
    model_version: str


class Upload(Answer):
    """An image that was uploaded."""

    id: str
    status: str
    """`labelled` or `needs_label`."""
    label: str | None
    label_source: str | None
    lesion_id: str | None
    uploader: str | None
    media_type: str
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    size_bytes: int
    content_hash: str
    """SHA-256 of the stored image, which has no metadata."""
    prediction: UploadPrediction | None
    created: datetime
    updated: datetime
    """When label, source or lesion last changed."""


class UploadPage(Answer):
    """Some of the uploads that match, and how many match in all."""

    uploads: list[Upload]
    total: int


class UploadChange(TypedDict, total=False):
    """What is to change; None removes a value, and what is left out stays as it is."""

    label: str | None
    label_source: LabelSource | None
    lesion_id: str | None


class TrainedModel(Answer):
    """A model that learned from an upload."""

    version: str
    promoted: bool
    """Whether it became champion, or is about to."""


class Deleted(Answer):
    """What was removed, and which models have learned from it all the same."""

    id: str
    models: list[TrainedModel]


def list_uploads(
    *,
    status: Status | None = None,
    label: str | None = None,
    label_source: LabelSource | None = None,
    uploader: str | None = None,
    lesion_id: str | None = None,
    order: Order = "newest",
    limit: int = 50,
    offset: int = 0,
) -> Call[UploadPage]:
    """List uploads that match every filter.

    The review queue is `list_uploads(status="needs_label", order="uncertainty")`: first comes what
    the model was least certain of.

    Args:
        status: whether they have a label.
        label: a class code.
        label_source: how the label was established.
        uploader: who sent them.
        lesion_id: which lesion they show.
        order: which come first.
        limit: most uploads, 1 to 200.
        offset: how many to skip.

    Returns:
        `UploadPage`.

    Raises:
        InvalidRequest: if a filter has a value that it cannot have.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call(
        "GET",
        "/uploads",
        as_model(UploadPage),
        repeatable=True,
        params={
            "status": status,
            "label": label,
            "label_source": label_source,
            "uploader": uploader,
            "lesion_id": lesion_id,
            "order": order,
            "limit": limit,
            "offset": offset,
        },
    )


def get_upload(upload_id: str) -> Call[Upload]:
    """Tell what is known of one upload.

    Args:
        upload_id: `Upload.id`.

    Returns:
        `Upload`.

    Raises:
        NotFound: if there is no such upload.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call("GET", _path(upload_id), as_model(Upload), repeatable=True)


def upload_image(upload_id: str) -> Call[bytes]:
    """Fetch the image of an upload, as it is stored: without metadata.

    Args:
        upload_id: `Upload.id`.

    Returns:
        The bytes of a JPEG or PNG file.

    Raises:
        NotFound: if there is no such upload.
        DermServeError: its root, and of what may go wrong on the way.
    """
    path = f"{_path(upload_id)}/image"
    return Call("GET", path, lambda response: response.content, repeatable=True)


def change_upload(upload_id: str, change: UploadChange) -> Call[Upload]:
    """Label an upload, or correct its label, the source of the label or the lesion.

    Args:
        upload_id: `Upload.id`.
        change: such as `{"label": "mel", "label_source": "histopathology"}`.

    Returns:
        `Upload`, as it is now.

    Raises:
        NotFound: if there is no such upload.
        InvalidRequest: if a value cannot be, or nothing is to change.
        DermServeError: their root, and of what may go wrong on the way.
    """
    return Call("PATCH", _path(upload_id), as_model(Upload), body={"json": change})


def delete_upload(upload_id: str) -> Call[Deleted]:
    """Remove an image and all that is known of it; models that learned from it stay.

    Args:
        upload_id: `Upload.id`.

    Returns:
        `Deleted`, with those models.

    Raises:
        NotFound: if there is no such upload.
        DermServeError: its root, and of what may go wrong on the way.
    """
    return Call("DELETE", _path(upload_id), as_model(Deleted))


def _path(upload_id: str) -> str:
    return f"/uploads/{segment(upload_id)}"
