"""Near-duplicates: altered copies are found, other lesions are not, and groups are closed."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from data.duplicates import (
    HASH_BYTES,
    NEAR_DUPLICATE_DISTANCE,
    SAME_PICTURE_DISTANCE,
    HashIndex,
    Match,
    Pair,
    merged_lesions,
    perceptual_hash,
)
from data.ham10000 import Ham10000, LesionImage
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import InvalidDataset
from models.preprocessing import decode_image
from tests.conftest import SHARED_HAM10000

ZERO = bytes(HASH_BYTES)
hashes = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)


def _bits(count: int) -> bytes:
    """A hash with the first `count` bits set: that far from `ZERO`."""
    return np.packbits(np.arange(8 * HASH_BYTES) < count).tobytes()


def _hash(data: bytes) -> bytes:
    return perceptual_hash(decode_image(data))


def _jpeg(image: Image.Image, quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _scaled(image: Image.Image, factor: float) -> Image.Image:
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)


def _copies(image: Image.Image) -> list[bytes]:
    """What happens to a picture on its way through other people's hands."""
    return [
        *(_jpeg(image, quality) for quality in (60, 75, 95)),
        *(_jpeg(_scaled(image, factor)) for factor in (0.5, 0.75, 1.5, 2)),
        *(_jpeg(ImageEnhance.Brightness(image).enhance(by)) for by in (0.8, 1.2)),
        *(_jpeg(ImageEnhance.Contrast(image).enhance(by)) for by in (0.8, 1.2)),
    ]


def _cropped(image: Image.Image, fraction: float = 0.02) -> bytes:
    x, y = round(fraction * image.width), round(fraction * image.height)
    return _jpeg(image.crop((x, y, image.width - x, image.height - y)))


def _distance(first: bytes, second: bytes) -> int:
    (match,) = HashIndex([first]).search(second, max_distance=256)
    return match.distance


def test_a_hash_does_not_depend_on_the_run() -> None:
    one = _hash(synthetic_jpeg("mel", seed=3))
    assert len(one) == HASH_BYTES
    assert one == _hash(synthetic_jpeg("mel", seed=3))
    # Half of the frequencies lie above the median.
    assert sum(byte.bit_count() for byte in one) == 128


def test_a_picture_without_anything_in_it_has_a_hash() -> None:
    flat = np.full((224, 224, 3), 90, np.uint8)
    assert _distance(perceptual_hash(flat), perceptual_hash(flat + 40)) <= SAME_PICTURE_DISTANCE


def test_copies_of_synthetic_pictures_are_found_and_others_not() -> None:
    originals = [synthetic_jpeg(code, seed=1) for code in CLASSES]
    index = HashIndex([_hash(one) for one in originals])
    for number, data in enumerate(originals):
        image = Image.open(io.BytesIO(data))
        for copy in _copies(image):
            assert [match.index for match in index.search(_hash(copy))] == [number]


def test_copies_of_real_images_are_found(ham10000_samples: list[Path]) -> None:
    samples = ham10000_samples[::5]
    index = HashIndex([_hash(path.read_bytes()) for path in samples])
    found, cropped = [], []
    for number, path in enumerate(samples):
        image = Image.open(path)
        for copy in _copies(image):
            found.append(number in [m.index for m in index.search(_hash(copy))])
        cropped.append(number in [m.index for m in index.search(_hash(_cropped(image)))])
    assert np.mean(found) == 1
    assert np.mean(cropped) > 0.85
    assert index.pairs(NEAR_DUPLICATE_DISTANCE) == []


def test_one_image_has_one_hash_at_every_resolution(ham10000_samples: list[Path]) -> None:
    for folder in ("images_200x150", "images_224"):
        pairs = [(path, SHARED_HAM10000 / folder / path.name) for path in ham10000_samples]
        distances = [
            _distance(_hash(path.read_bytes()), _hash(other.read_bytes()))
            for path, other in pairs
            if other.exists()
        ]
        assert len(distances) > 20
        assert max(distances) <= SAME_PICTURE_DISTANCE


def test_of_real_lesions_only_the_true_copy_is_merged(real_ham10000: Ham10000) -> None:
    # With the nearest look-alikes, and some hundred others.
    known = {"ISIC_0025226", "ISIC_0030074", "ISIC_0025568", "ISIC_0031555", "ISIC_0029194"}
    known |= {"ISIC_0032150", "ISIC_0025905", "ISIC_0029920", "ISIC_0029099"}
    images = [image for image in real_ham10000.images if image.image_id in known]
    images += random.Random(1).sample(real_ham10000.images, 400)
    images = list(dict.fromkeys(images))
    hashes = [_hash(image.path.read_bytes()) for image in images]
    assert merged_lesions(images, hashes) == (("HAM_0004919", "HAM_0000140"),)


@settings(deadline=None, max_examples=50)
@given(stored=st.lists(hashes, max_size=8), query=hashes, limit=st.integers(0, 256))
def test_search_is_the_count_of_differing_bits(
    stored: list[bytes], query: bytes, limit: int
) -> None:
    distances = [
        (int.from_bytes(one, "big") ^ int.from_bytes(query, "big")).bit_count() for one in stored
    ]
    expected = sorted(
        (distance, index) for index, distance in enumerate(distances) if distance <= limit
    )
    index = HashIndex(stored)
    assert len(index) == len(stored)
    assert index.search(query, limit) == [Match(number, distance) for distance, number in expected]


def test_pairs_come_nearest_first_and_the_limit_belongs() -> None:
    index = HashIndex([ZERO, _bits(30), _bits(20), _bits(256)])
    assert index.pairs(20) == [Pair(1, 2, 10), Pair(0, 2, 20)]
    assert index.pairs(19) == [Pair(1, 2, 10)]


@pytest.mark.parametrize("damaged", [b"", b"1234", bytes(HASH_BYTES + 1)])
def test_what_is_no_hash_is_refused(damaged: bytes) -> None:
    with pytest.raises(InvalidDataset, match=f"has 32 bytes, not {len(damaged)}"):
        HashIndex([ZERO, damaged])
    with pytest.raises(InvalidDataset, match="has 32 bytes"):
        HashIndex([ZERO]).search(damaged)


def _image(image_id: str, lesion_id: str) -> LesionImage:
    return LesionImage(image_id, lesion_id, "nv", "histo", Path(f"{image_id}.jpg"), True)


def test_groups_are_closed_and_named_by_their_first_image() -> None:
    far = _bits(256)
    entries = [
        (_image("5", "a"), _bits(40)),
        (_image("4", "b"), _bits(20)),  # links a and c, which are too far from each other
        (_image("3", "c"), ZERO),
        (_image("2", "d"), far),
        (_image("1", "c"), _bits(128)),  # another image of c
        (_image("0", "d"), far),  # a copy within the lesion
    ]
    expected = (("c", "b", "a"),)
    for _ in range(5):
        random.Random(1).shuffle(entries)
        images, stored = zip(*entries, strict=True)
        assert merged_lesions(images, stored) == expected


def test_nothing_is_merged_of_nothing() -> None:
    assert merged_lesions([], []) == ()
    assert merged_lesions([_image("1", "a")], [ZERO]) == ()
