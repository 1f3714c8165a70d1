"""The review desk: which picture is next, what was done, and how that is undone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from dermserve_client import Upload
from dermserve_client.review_queue import UploadChange

DOUBT_BELOW = 0.05
"""A label is disputed if the model held it for less probable than this."""


@dataclass(frozen=True)
class Done:
    """One label that was given, and what was there before."""

    upload_id: str
    label: str
    label_before: str | None
    source_before: str | None

    def way_back(self) -> UploadChange:
        """The change that undoes it."""
        change: UploadChange = {"label": self.label_before}
        if self.label_before is not None:
            change["label_source"] = self.source_before  # type: ignore[typeddict-item]
        return change


@dataclass
class ReviewDesk:
    """What one reader has done in this session."""

    done: list[Done] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)
    first: str | None = None
    """Id of the picture that was undone, which comes first again."""

    def next_of(self, waiting: Iterable[Upload]) -> Upload | None:
        """The picture to look at: the one that was undone, or the first that was not skipped."""
        left = [upload for upload in waiting if upload.id not in self.skipped]
        again = (upload for upload in left if upload.id == self.first)
        return next(again, left[0] if left else None)

    def without_labelled(self, uploads: Iterable[Upload]) -> list[Upload]:
        """Those that got no label here; one that was confirmed is as disputed as before."""
        ids = {each.upload_id for each in self.done}
        return [upload for upload in uploads if upload.id not in ids]

    def labelled(self, upload: Upload, label: str) -> None:
        """Note a label that was given."""
        self.done.append(Done(upload.id, label, upload.label, upload.label_source))
        self.first = None

    def undone(self) -> Done:
        """Note that the last label was taken back."""
        last = self.done.pop()
        self.first = last.upload_id
        self.skipped.discard(last.upload_id)
        return last

    def skip(self, upload: Upload) -> None:
        """Leave a picture for later."""
        self.skipped.add(upload.id)
        self.first = None


def disputed(uploads: Sequence[Upload]) -> list[Upload]:
    """Labelled uploads whose label the model held for improbable, the least probable first."""

    def held(upload: Upload) -> float | None:
        if upload.label is None or upload.prediction is None:
            return None
        return upload.prediction.probabilities.get(upload.label)

    doubtful = [(held(upload), upload) for upload in uploads]
    return [
        upload
        for share, upload in sorted(
            ((share, upload) for share, upload in doubtful if share is not None),
            key=lambda pair: pair[0],
        )
        if share < DOUBT_BELOW
    ]
