"""The archivist: takes uploads in, looks them up and removes them. All of it blocks."""

from __future__ import annotations

import logging
import math
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from data.catalogue.uploads import NewUpload, Prediction, Upload, Uploads
from data.clean_image import clean_image
from data.image_store import ImageStore, image_key
from data.intake import Examined, NearIndex, examine
from data.known_images import KnownImages
from models.classes import CLASSES
from models.errors import MISTAKE, DermServeError, InvalidField, UnsupportedImage
from models.limits import ImageLimits
from serve_app.classification import Classification
from serve_app.upload import DEFAULT_SOURCE, NewImage, StoredImage, Verdict

logger = logging.getLogger("ray.serve")

_ZIP = b"PK\x03\x04"
# Keys; whoever comes next waits until all of them are removed.
_MAX_LEFT_OVER = 1000


@dataclass(frozen=True, slots=True)
class Taken:
    """An image whose clean bytes are stored and which the catalogue does not know yet."""

    sent: NewImage
    new: NewUpload
    hashes: tuple[bytes, ...]
    """Perceptual hashes, as `data.intake.Examined` has them."""


class Archivist:
    """Keeps catalogue and image store in step; may be used from several threads.

    Args:
        uploads: of the catalogue; no other archivist may use the same object.
        store: of the images.
        known: the images of HAM10000.
        limits: of the images.
    """

    def __init__(
        self, uploads: Uploads, store: ImageStore, known: KnownImages, limits: ImageLimits
    ) -> None:
        self._uploads = uploads
        self._store = store
        self._known = known
        self._limits = limits
        self._near = NearIndex()
        self._left_over: deque[str] = deque(maxlen=_MAX_LEFT_OVER)

    def take(self, image: NewImage) -> Taken | Verdict:
        """Examine an image and store it, unless HAM10000 has it or it is none.

        It is stored before it is catalogued, so that a crash in between leaves a file that
        nobody looks for, and never an upload without its image. Whoever does not catalogue it
        has to `discard` it.

        Raises:
            StorageFull, CatalogueUnavailable: if the image store has no room or does not work.
        """
        try:
            if image.data.startswith(_ZIP):
                raise UnsupportedImage("ZIP archives are not unpacked. Send the images in it.")
            examined = examine(image.data, image.label.lesion_id, self._known, self._limits)
        except DermServeError as error:
            return Verdict("rejected", reason=error.message)
        except Exception:
            logger.exception("An upload could not be examined")
            return Verdict("rejected", reason=MISTAKE)
        if examined.held_out is not None:
            return Verdict(
                "test_image",
                reason=f"It is the {examined.held_out} of HAM10000. Models are judged by it and "
                "must not learn from it.",
            )
        if examined.duplicate_of is not None:
            return Verdict(
                "duplicate",
                duplicate_of=examined.duplicate_of,
                reason="It is an image of HAM10000 that the model has learned from already.",
            )
        clean = examined.clean
        self._store.put(examined.content_hash, clean.suffix, clean.data)
        return Taken(image, _new_upload(examined, image), examined.hashes)

    def catalogue(
        self, taken: Taken, answer: Classification | Exception | None, actor: str
    ) -> Verdict:
        """Enter an image into the catalogue, unless it shows the picture of another upload.

        Args:
            taken: from `take`.
            answer: of the model, if it had one.
            actor: who uploads, for the audit log.

        Raises:
            StorageFull, CatalogueUnavailable: if the catalogue has no room or does not work.
        """

        def keep() -> None:
            # Whoever deletes an equal image may have taken the file away since `take`.
            if not self._store.exists(key):
                clean = clean_image(taken.sent.data, self._limits)
                self._store.put(taken.new.content_hash, clean.suffix, clean.data)

        key = taken.new.image_key
        added = self._uploads.add(
            replace(taken.new, prediction=_prediction(answer)),
            actor,
            self._near.near(taken.hashes),
            forget=self._near.forget,
            keep=keep,
        )
        if self._left_over:
            self.discard()
        if added.duplicate_of is None:
            return Verdict("accepted" if taken.new.label else "needs_label", id=added.upload.id)
        if not added.exact:
            self.discard(key)
        same = "has the same content" if added.exact else "shows the same picture"
        return Verdict(
            "duplicate",
            duplicate_of=added.duplicate_of,
            reason=f"An earlier upload {same}. To change its label, "
            f"PATCH /uploads/{added.duplicate_of}.",
        )

    def page(self, filters: dict[str, Any]) -> dict[str, Any]:
        """The wire form of `upload_schemas.UploadPage`.

        Args:
            filters: arguments of `Uploads.page`.

        Raises:
            UnknownClass, InvalidField, CatalogueUnavailable: as `Uploads.page`.
        """
        page = self._uploads.page(**filters)
        return {"uploads": [upload_json(upload) for upload in page.items], "total": page.total}

    def summary(self) -> dict[str, Any]:
        """The wire form of `metrics_schemas.UploadSummary`.

        Raises:
            CatalogueUnavailable: as `Uploads.summary`.
        """
        return asdict(self._uploads.summary())

    def get(self, upload_id: str) -> dict[str, Any]:
        """The wire form of one `upload_schemas.Upload`.

        Raises:
            NotFound, CatalogueUnavailable: as `Uploads.get`.
        """
        return upload_json(self._uploads.get(upload_id))

    def image(self, upload_id: str) -> StoredImage:
        """The clean bytes of one upload.

        Raises:
            NotFound, ImageDamaged, CatalogueUnavailable: as `Uploads.get` and `ImageStore.get`.
        """
        upload = self._uploads.get(upload_id)
        name = upload.image_key.rpartition("/")[2]
        return StoredImage(self._store.get(upload.image_key), upload.media_type, name)

    def change(self, upload_id: str, values: dict[str, Any], actor: str) -> dict[str, Any]:
        """Change what is said of an upload.

        Args:
            upload_id: of the upload.
            values: any of label, label_source and lesion_id; None removes one.
            actor: who changes it, for the audit log.

        Returns:
            The wire form of `upload_schemas.Upload`.

        Raises:
            NotFound, UnknownClass, StorageFull, CatalogueUnavailable: as `Uploads.change`.
            InvalidField: likewise, and for a lesion that models are judged by.
        """
        lesion_id = values.get("lesion_id")
        if lesion_id is not None:
            lesion_id = lesion_id.strip()
            values = {**values, "lesion_id": lesion_id}
        part = None if lesion_id is None else self._known.part_of_lesion(lesion_id)
        if part in ("validation", "test"):
            raise InvalidField(
                f"{lesion_id} is a {part} lesion of HAM10000, by which models are judged; they "
                f"must not learn from its images. If it is shown, DELETE /uploads/{upload_id}."
            )
        label = values.get("label")
        if label is not None and label != self._uploads.get(upload_id).label:
            values = {"label_source": DEFAULT_SOURCE, **values}
        return upload_json(self._uploads.change(upload_id, actor=actor, **values))

    def delete(self, upload_id: str, actor: str) -> dict[str, Any]:
        """Remove an upload, then its image.

        Returns:
            The wire form of `upload_schemas.Deleted`.

        Raises:
            NotFound, StorageFull, CatalogueUnavailable: as `Uploads.delete`.
        """
        deleted = self._uploads.delete(upload_id, actor)
        self._near.forget(upload_id)
        self.discard(deleted.upload.image_key)
        return {"id": upload_id, "models": [asdict(model) for model in deleted.models]}

    def discard(self, *keys: str) -> int:
        """Remove images, except those that an upload needs.

        One that cannot be removed is left over until the next call, which tries again.

        Args:
            keys: of the image store.

        Returns:
            How many images are gone now that were there.
        """
        gone = 0

        def remove(key: str) -> None:
            nonlocal gone
            gone += self._store.delete(key)

        self._left_over.extend(keys)
        with suppress(IndexError):  # nothing is left
            while True:
                key = self._left_over.popleft()
                try:
                    self._uploads.release(key, partial(remove, key))
                except DermServeError as error:
                    self._left_over.append(key)
                    logger.warning("The image %s is left over for now: %s", key, error.message)
                    break
        return gone


def upload_json(upload: Upload) -> dict[str, Any]:
    """The wire form of `upload_schemas.Upload`: nothing of where it is stored."""
    return {
        "id": upload.id,
        "status": upload.status,
        "label": upload.label,
        "label_source": upload.label_source,
        "lesion_id": upload.lesion_id,
        "uploader": upload.uploader,
        "media_type": upload.media_type,
        "width": upload.width,
        "height": upload.height,
        "size_bytes": upload.size_bytes,
        "content_hash": upload.content_hash,
        "prediction": upload.prediction and asdict(upload.prediction),
        "created": upload.created.isoformat(),
        "updated": upload.updated.isoformat(),
    }


def _new_upload(examined: Examined, image: NewImage) -> NewUpload:
    clean, label = examined.clean, image.label
    return NewUpload(
        content_hash=examined.content_hash,
        perceptual_hash=examined.perceptual_hash,
        image_key=image_key(examined.content_hash, clean.suffix),
        media_type=clean.media_type,
        width=clean.width,
        height=clean.height,
        size_bytes=len(clean.data),
        label=label.code,
        label_source=label.source,
        lesion_id=label.lesion_id,
        uploader=image.uploader,
    )


def _prediction(answer: Classification | Exception | None) -> Prediction | None:
    """What the catalogue keeps of a model's answer."""
    if not isinstance(answer, Classification):
        return None
    probabilities = answer.decision.probabilities
    entropy = -sum(p * math.log(p) for p in probabilities if p > 0)
    return Prediction(
        probabilities=dict(zip(CLASSES, probabilities, strict=True)),
        uncertainty=min(1.0, max(0.0, entropy / math.log(len(CLASSES)))),
        model_version=answer.model.version,
    )
