"""Intake: what is cleaned, what counts as known, and the index that many threads ask."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data.clean_image import clean_image
from data.duplicates import HASH_BYTES, HashIndex, perceptual_hash, turned_hashes
from data.ham10000 import LesionImage
from data.intake import NearIndex, examine
from data.known_images import KnownImages
from data.splits import SPLITS
from data.synthetic import synthetic_jpeg
from models.classes import CLASSES
from models.errors import DermServeError, EmptyImage, ImageTooLarge, InvalidDataset
from models.limits import ImageLimits
from models.preprocessing import decode_image
from tests.models.images import encode

TURNS = [None, *Image.Transpose]
hashes = st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES)


def _known(**jpegs: bytes) -> KnownImages:
    """Images of which each is its own lesion, in the part that it is named after."""
    rows = tuple(LesionImage(n, n.upper(), "nv", "histo", Path(n), True) for n in jpegs)
    pictures = tuple(perceptual_hash(decode_image(jpeg)) for jpeg in jpegs.values())
    return KnownImages(rows, pictures, {name.upper(): name for name in jpegs})  # type: ignore[misc]


KNOWN = _known(**{part: synthetic_jpeg("nv", seed=n) for n, part in enumerate(SPLITS, start=10)})


def _turned(jpeg: bytes, turn: Image.Transpose | None, quality: int = 80) -> bytes:
    image = Image.open(io.BytesIO(jpeg))
    return encode(image if turn is None else image.transpose(turn), "JPEG", quality=quality)


def _same_distance(first: bytes, second: bytes) -> int:
    (match,) = HashIndex([first]).search(second, max_distance=256)
    return match.distance


def test_a_new_image_is_neither_known_nor_held_out(jpeg: bytes) -> None:
    examined = examine(jpeg, None, KNOWN)
    clean = clean_image(jpeg)
    assert examined.clean == clean
    assert examined.content_hash == hashlib.sha256(clean.data).hexdigest()
    assert np.array_equal(examined.pixels, decode_image(jpeg))
    assert examined.perceptual_hash == perceptual_hash(decode_image(jpeg)) == examined.hashes[0]
    assert (examined.held_out, examined.duplicate_of) == (None, None)
    assert examine(jpeg, "a lesion of mine", KNOWN).held_out is None
    assert examine(jpeg, "train", KNOWN).held_out is None


@pytest.mark.parametrize("turn", TURNS, ids=str)
@pytest.mark.parametrize(("number", "part"), list(enumerate(SPLITS, start=10)))
def test_a_known_picture_is_found_however_it_is_turned(
    number: int, part: str, turn: Image.Transpose | None
) -> None:
    examined = examine(_turned(synthetic_jpeg("nv", seed=number), turn), None, KNOWN)
    if part == "train":
        assert (examined.held_out, examined.duplicate_of) == (None, "train")
    else:
        assert (examined.held_out, examined.duplicate_of) == (f"{part} image {part}", None)


def test_a_lesion_that_is_held_out_is_told_by_its_id(jpeg: bytes) -> None:
    assert examine(jpeg, " test ", KNOWN).held_out == "test lesion TEST"
    assert examine(jpeg, "Validation", KNOWN).held_out == "validation lesion VALIDATION"
    # Also where the picture is one to learn from.
    examined = examine(synthetic_jpeg("nv", seed=10), "TEST", KNOWN)
    assert (examined.held_out, examined.duplicate_of) == ("test lesion TEST", None)


def test_test_images_are_told_from_training_images(ham10000_samples: list[Path]) -> None:
    known = KnownImages.load()
    for number, path in enumerate(ham10000_samples):
        row = known.image(path.stem)
        assert row is not None
        part = known.part_of_lesion(row.lesion_id)
        examined = examine(_turned(path.read_bytes(), TURNS[number % len(TURNS)]), None, known)
        if part == "train":
            assert (examined.held_out, examined.duplicate_of) == (None, path.stem)
        else:
            assert examined.held_out == f"{part} image {path.stem}"
            assert examined.duplicate_of is None


def test_what_cannot_be_decoded_is_refused() -> None:
    with pytest.raises(EmptyImage):
        examine(b"", None, KNOWN)
    with pytest.raises(ImageTooLarge):
        examine(synthetic_jpeg("nv", seed=1), None, KNOWN, ImageLimits(max_pixels=1000))
    with pytest.raises(DermServeError):
        examine(synthetic_jpeg("nv", seed=1)[:5000], None, KNOWN)


def test_the_forms_of_a_picture_have_the_same_hashes(jpeg: bytes) -> None:
    forms = turned_hashes(decode_image(jpeg))
    assert len(set(forms)) == 8
    for turn in TURNS:
        (first, *_) = turned_hashes(decode_image(_turned(jpeg, turn, quality=95)))
        assert min(_same_distance(first, form) for form in forms) <= 8


PICTURES = [synthetic_jpeg(code, seed=3) for code in CLASSES]
FORMS = [turned_hashes(decode_image(jpeg)) for jpeg in PICTURES]


def test_an_upload_is_found_again() -> None:
    index = NearIndex()
    assert index.near(FORMS[0])(()) is None
    assert index.near(FORMS[0])([("a", FORMS[0][0])]) == "a"
    assert index.near(FORMS[1])([("b", FORMS[2][0])]) is None
    for turn in TURNS:
        copy = turned_hashes(decode_image(_turned(PICTURES[2], turn)))
        assert index.find(copy) == "b"


def test_the_nearest_upload_is_named() -> None:
    upright, *turned = FORMS[0]
    near = bytes([upright[0] ^ 0b11, *upright[1:]])
    index = NearIndex()
    index.add([("near", near), ("same", upright), ("again", upright), ("turned", turned[0])])
    assert index.find(FORMS[0]) == "same"
    index.forget("same")
    assert index.find(FORMS[0]) == "again"
    index.forget("again")
    assert index.find(FORMS[0]) == "turned"
    index.forget("turned")
    assert index.find(FORMS[0]) == "near"
    index.forget("near")
    index.forget("nobody")
    assert index.find(FORMS[0]) is None


def test_a_broken_hash_is_refused_and_nothing_of_its_kind_remembered() -> None:
    index = NearIndex()
    with pytest.raises(InvalidDataset, match="has 32 bytes"):
        index.add([("a", FORMS[0][0]), ("b", b"short")])
    assert index.find(FORMS[0]) is None
    with pytest.raises(InvalidDataset, match="has 32 bytes"):
        index.find([b""])


@given(st.lists(st.lists(hashes, max_size=4), max_size=4), hashes)
def test_it_grows_piece_by_piece_as_at_once(pieces: list[list[bytes]], query: bytes) -> None:
    stored = [one for piece in pieces for one in piece]
    grown = HashIndex(())
    for piece in pieces:
        grown = grown.extended(piece)
    assert len(grown) == len(stored)
    assert grown.search(query, 128) == HashIndex(stored).search(query, 128)


def test_threads_that_add_and_ask_see_each_others_uploads() -> None:
    index, found = NearIndex(), []

    def use(name: str) -> None:
        for number in range(50):
            own = np.random.default_rng([ord(name), number]).bytes(HASH_BYTES)
            found.append(index.near([own])([(f"{name}{number}", own)]) == f"{name}{number}")

    threads = [threading.Thread(target=use, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 200
    assert index.find([np.random.default_rng([ord("a"), 7]).bytes(HASH_BYTES)]) == "a7"
