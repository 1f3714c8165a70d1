"""Intake: what has to be known of an uploaded image before anything may be learned from it.

It may be a picture that is known: one of HAM10000, or an earlier upload. Copies are found as
`data.duplicates` says, and turned or mirrored ones within 24 bits. Of 140 million comparisons
between turned HAM10000 images and images of other lesions, one was so near (two vignettes).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from data.clean_image import CleanImage, clean_image
from data.duplicates import (
    NEAR_DUPLICATE_DISTANCE,
    SAME_PICTURE_DISTANCE,
    HashIndex,
    turned_hashes,
)
from data.known_images import KnownImages, KnownMatch
from data.splits import SPLITS
from models.limits import DEFAULT_LIMITS, ImageLimits

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Examined:
    """An uploaded image, cleaned, and whether HAM10000 has it already."""

    clean: CleanImage
    pixels: Pixels = field(compare=False, repr=False)
    """uint8, shape (224, 224, 3), RGB."""
    content_hash: str
    """SHA-256 of the clean bytes, hex."""
    hashes: tuple[bytes, ...]
    """Perceptual hashes: of the picture, and of its seven turned and mirrored forms."""
    held_out: str | None
    """What it must not be learned from: "test image ISIC_0024306", "validation lesion ..."."""
    duplicate_of: str | None
    """Id of the training image of HAM10000 that it is."""

    @property
    def perceptual_hash(self) -> bytes:
        """Of the picture as it is."""
        return self.hashes[0]


def examine(
    data: bytes,
    lesion_id: str | None,
    known: KnownImages,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> Examined:
    """Clean an image, hash it, and look for it among the images of HAM10000.

    Args:
        data: an encoded image, as it was sent.
        lesion_id: what the sender calls the lesion; it counts as held out if it is one that
            the model is validated or tested on.
        known: the images of HAM10000.
        limits: sizes that are refused.

    Raises:
        EmptyImage, UnsupportedImage, TruncatedImage, ImageTooLarge, ImageTooSmall: as
            `clean_image`.
    """
    clean = clean_image(data, limits)
    hashes = turned_hashes(clean.pixels)
    match = _find_known(hashes, known)
    held_out = None
    if match is not None and match.part != "train":
        held_out = f"{match.part} image {match.image_id}"
    elif lesion_id is not None and known.part_of_lesion(lesion_id) in ("validation", "test"):
        held_out = f"{known.part_of_lesion(lesion_id)} lesion {lesion_id.strip().upper()}"
    return Examined(
        clean=clean,
        pixels=clean.pixels,
        content_hash=hashlib.sha256(clean.data).hexdigest(),
        hashes=hashes,
        held_out=held_out,
        duplicate_of=match.image_id if match is not None and held_out is None else None,
    )


class NearIndex:
    """The uploads that a process knows of, searchable by picture; safe between threads.

    It holds no more than ids and hashes: 100,000 uploads take 12 MB and a search 14 ms.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ids: list[str] = []
        self._hashes = HashIndex(())
        self._forgotten: set[str] = set()

    def near(self, hashes: Sequence[bytes]) -> Callable[[Sequence[tuple[str, bytes]]], str | None]:
        """What `Uploads.add` asks, within its transaction, about one new picture.

        Args:
            hashes: of the picture, from `Examined.hashes`.

        Returns:
            A function that takes the (id, perceptual hash) of the stored uploads that this
            process has not seen, remembers them, and gives the id of the nearest upload that
            is the same picture, or None.
        """

        def find(unseen: Sequence[tuple[str, bytes]]) -> str | None:
            self.add(unseen)
            return self.find(hashes)

        return find

    def add(self, uploads: Sequence[tuple[str, bytes]]) -> None:
        """Remember uploads by (id, perceptual hash).

        Raises:
            InvalidDataset: if a hash has another length; then none is remembered.
        """
        if uploads:
            with self._lock:
                self._hashes = self._hashes.extended([stored for _, stored in uploads])
                self._ids += [upload_id for upload_id, _ in uploads]

    def forget(self, upload_id: str) -> None:
        """Find an upload no more, because it was deleted."""
        with self._lock:
            self._forgotten.add(upload_id)

    def find(self, hashes: Sequence[bytes]) -> str | None:
        """The id of the nearest upload that is the same picture, or None.

        Raises:
            InvalidDataset: if a hash has another length.
        """
        with self._lock:
            ids, index = self._ids, self._hashes
            matches = [
                (match.distance, match.index)
                for query, limit in _queries(hashes)
                for match in index.search(query, limit)
                if ids[match.index] not in self._forgotten
            ]
            return ids[min(matches)[1]] if matches else None


def _find_known(hashes: Sequence[bytes], known: KnownImages) -> KnownMatch | None:
    """The image of HAM10000 that a picture is: of the test part before others, then the nearest."""
    found = [known.find(query, limit) for query, limit in _queries(hashes)]
    return max(
        (match for match in found if match is not None),
        key=lambda match: (SPLITS.index(match.part), -match.distance),
        default=None,
    )


def _queries(hashes: Sequence[bytes]) -> Iterator[tuple[bytes, int]]:
    """The hashes of a picture's eight forms, and the bits within which each is looked for."""
    for number, query in enumerate(hashes):
        yield query, SAME_PICTURE_DISTANCE if number else NEAR_DUPLICATE_DISTANCE
