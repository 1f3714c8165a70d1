"""The wire contract of uploads and of the review queue."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from models.classes import CLASSES
from serve_app.schemas import Exact
from serve_app.upload import DEFAULT_SOURCE, VerdictName

LabelSource = Literal["histopathology", "follow_up", "consensus", "expert", "user"]
"""How a label was established, the most reliable first."""
LABEL_SOURCES: tuple[str, ...] = get_args(LabelSource)

ClassCode = Literal["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
Status = Literal["labelled", "needs_label"]
Order = Literal["newest", "oldest", "uncertainty"]


class UploadResult(Exact):
    """What became of one file."""

    index: int
    filename: str
    verdict: VerdictName = Field(
        description="accepted: stored with its label. needs_label: stored, and waits in the "
        "review queue. duplicate: the picture is there already. test_image: models are judged "
        "by it. rejected: it cannot be taken as it is"
    )
    id: str | None = Field(None, description="of the upload, if it was stored")
    duplicate_of: str | None = Field(None, description="an upload, or an image of HAM10000")
    reason: str | None = Field(None, description="why it was not stored")


class Counts(Exact):
    """How many files there are of each verdict."""

    accepted: int
    needs_label: int
    duplicate: int
    test_image: int
    rejected: int


class Missing(Exact):
    """What is still missing until a retraining starts by itself."""

    new_images: int = Field(description="labelled images that no run has learned from yet")
    threshold: int
    missing: int = Field(description="images, of whichever class")
    missing_by_class: dict[str, int] = Field(description="where a class has a minimum of its own")
    quiet_until: str | None = Field(
        None, description="when it may start, if nothing changes before; ISO 8601"
    )


class UploadAnswer(Exact):
    """The verdicts, in the order of the files."""

    results: list[UploadResult]
    counts: Counts
    retraining: Missing | None = Field(description="null if the trainer does not answer")
    request_id: str


class UploadPrediction(Exact):
    """What the model said of an upload when it came."""

    probabilities: dict[str, float] = Field(description="calibrated, by class code")
    uncertainty: float = Field(
        ge=0, le=1, description="entropy of the probabilities, as a share of the largest possible"
    )
    model_version: str


class Upload(Exact):
    """An image that was uploaded."""

    id: str
    status: Status
    label: ClassCode | None
    label_source: LabelSource | None
    lesion_id: str | None
    uploader: str | None
    media_type: Literal["image/jpeg", "image/png"]
    width: int = Field(description="pixels")
    height: int = Field(description="pixels")
    size_bytes: int
    content_hash: str = Field(description="SHA-256 of the stored image, which has no metadata")
    prediction: UploadPrediction | None
    created: str = Field(description="ISO 8601")
    updated: str = Field(description="when label, source or lesion last changed; ISO 8601")


class UploadPage(Exact):
    """Some of the uploads that match, and how many match in all."""

    uploads: list[Upload]
    total: int


class UploadChange(Exact):
    """What is to change; null removes a value, and what is left out stays as it is."""

    label: str | None = Field(None, json_schema_extra={"enum": [*CLASSES, None]})
    label_source: LabelSource | None = Field(
        None, description=f"if left out, a new label counts as one of a {DEFAULT_SOURCE}"
    )
    lesion_id: str | None = None


class TrainedModel(Exact):
    """A model that learned from an upload."""

    version: str
    promoted: bool = Field(description="whether it became champion, or is about to")


class Deleted(Exact):
    """What was removed, and which models have learned from it all the same."""

    id: str
    models: list[TrainedModel]
