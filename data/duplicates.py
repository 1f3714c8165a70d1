"""Near-duplicates: pictures that are one picture, encoded, scaled, brightened or cropped anew.

Each picture has a perceptual hash of 256 bits: which of the 16 x 16 lowest frequencies of
its grey values lie above their median (pHash; Zauner, "Implementation and Benchmarking of
Perceptual Image Hash Functions", 2010). Hashes of one picture differ in few bits, those of
two pictures in about half of them. Hashed is what `decode_image` returns, so that one
picture has one hash at every resolution and in every frame that the decoder crops.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data.ham10000 import LesionImage
from models.errors import InvalidDataset

HASH_BYTES = 32

# Measured on HAM10000: 50 million pairs of different lesions, one of them a true copy at 12
# bits and look-alikes (round vignettes) at 28, 30, 34, 38, 40 and up; and altered copies of
# 70 images of 600 x 450 and 250 of 200 x 150. Share of copies that are found:
#
#   bits  false pairs  JPEG 60-95, x 0.5-2  light, contrast +-30 %  2 % off one side  off all
#    16        0             99.9 %                  99.0 %                2 %           4 %
#    24        0              100 %                  99.8 %               39 %          27 %
#    32        2              100 %                  99.9 %               92 %          71 %
#    40        5              100 %                  99.9 %               99 %          95 %
#    48       25
SAME_PICTURE_DISTANCE = 24
"""Bits up to which lesions are merged: a false pair would chain many of them together."""
NEAR_DUPLICATE_DISTANCE = 40
"""Bits up to which a new picture is held to be a known one."""


@dataclass(frozen=True)
class Match:
    """A picture of an index that is near a query."""

    index: int
    distance: int
    """Bits that differ, 0 to 256."""


@dataclass(frozen=True)
class Pair:
    """Two pictures of an index that are near each other, first < second."""

    first: int
    second: int
    distance: int
    """Bits that differ, 0 to 256."""


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Hash one picture.

    Args:
        pixels: uint8, shape (height, width, 3), RGB, as `decode_image` returns it.

    Returns:
        `HASH_BYTES` bytes.
    """
    bits = imagehash.phash(Image.fromarray(pixels), hash_size=16).hash
    return np.packbits(bits).tobytes()


def turned_hashes(pixels: npt.NDArray[np.uint8]) -> tuple[bytes, ...]:
    """Hash one picture and its turned and mirrored forms, which are other pictures to a hash.

    Args:
        pixels: as `perceptual_hash` takes them.

    Returns:
        Eight hashes: of the picture as it is, turned by quarters, and of its mirror image,
        turned by quarters.
    """
    forms = (np.rot90(side, turns) for side in (pixels, pixels[:, ::-1]) for turns in range(4))
    return tuple(perceptual_hash(np.ascontiguousarray(form)) for form in forms)


class HashIndex:
    """Perceptual hashes that can be searched; 10,000 take 320 KB and a query 0.2 ms."""

    def __init__(self, hashes: Sequence[bytes]) -> None:
        """Take hashes in the order that results refer to.

        Raises:
            InvalidDataset: if one has not `HASH_BYTES` bytes.
        """
        self._words = _words(hashes)

    def __len__(self) -> int:
        return len(self._words)

    def extended(self, hashes: Sequence[bytes]) -> HashIndex:
        """An index that holds these and, behind them, more; a copy of memory and no more.

        Raises:
            InvalidDataset: if one has not `HASH_BYTES` bytes.
        """
        longer = HashIndex(hashes)
        longer._words = np.concatenate([self._words, longer._words])
        return longer

    def search(self, query: bytes, max_distance: int = NEAR_DUPLICATE_DISTANCE) -> list[Match]:
        """The pictures within `max_distance` bits of a query, nearest first.

        Raises:
            InvalidDataset: if the query has not `HASH_BYTES` bytes.
        """
        distances = _distances(_words([query])[0], self._words)
        near = np.flatnonzero(distances <= max_distance)
        matches = [Match(int(index), int(distances[index])) for index in near]
        return sorted(matches, key=lambda match: (match.distance, match.index))

    def pairs(self, max_distance: int = SAME_PICTURE_DISTANCE) -> list[Pair]:
        """All pairs within `max_distance` bits, nearest first; 10,000 pictures take seconds."""
        pairs = []
        for first, query in enumerate(self._words):
            distances = _distances(query, self._words[first + 1 :])
            for offset in np.flatnonzero(distances <= max_distance):
                pairs.append(Pair(first, first + 1 + int(offset), int(distances[offset])))
        return sorted(pairs, key=lambda pair: (pair.distance, pair.first, pair.second))


def merged_lesions(
    images: Sequence[LesionImage],
    hashes: Sequence[bytes],
    max_distance: int = SAME_PICTURE_DISTANCE,
) -> tuple[tuple[str, ...], ...]:
    """Find lesions that share a picture and so must never be split apart.

    Args:
        images: in any order.
        hashes: one for each image, from `perceptual_hash`.
        max_distance: bits.

    Returns:
        Disjoint groups of two or more lesion ids, as `split_by_lesion` takes them. The lesion
        of the smallest image id comes first, in the groups and among them.

    Raises:
        InvalidDataset: if a hash has not `HASH_BYTES` bytes.
    """
    order = sorted(range(len(images)), key=lambda index: images[index].image_id)
    lesions = [images[index].lesion_id for index in order]
    numbers = {lesion: number for number, lesion in enumerate(dict.fromkeys(lesions))}
    pairs = HashIndex([hashes[index] for index in order]).pairs(max_distance)
    edges = np.array(
        [(numbers[lesions[pair.first]], numbers[lesions[pair.second]]) for pair in pairs], int
    ).reshape(-1, 2)
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(len(numbers), len(numbers)))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[str]] = defaultdict(list)
    for lesion, label in zip(numbers, labels.tolist(), strict=True):
        groups[label].append(lesion)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _words(hashes: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """The hashes as uint64, shape (hashes, 4), which XOR and population count take at once."""
    for one in hashes:
        if len(one) != HASH_BYTES:
            raise InvalidDataset(
                f"A perceptual hash has {HASH_BYTES} bytes, not {len(one)}. Compute it again."
            )
    return np.frombuffer(b"".join(hashes), np.uint64).reshape(-1, HASH_BYTES // 8)


def _distances(
    query: npt.NDArray[np.uint64], words: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Hamming distances in bits, shape (hashes,), by a 64-bit population count."""
    distances: npt.NDArray[np.int64] = np.bitwise_count(words ^ query).sum(axis=1, dtype=np.int64)
    return distances
