"""The key of an image: where it lies in the image store, of which its sender chooses nothing."""

from __future__ import annotations

import re

from models.errors import InvalidField

_KEY = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}\.(jpg|png)")


def image_key(content_hash: str, suffix: str) -> str:
    """Where an image is stored: "ab/abcd....jpg", nothing of which a sender chooses.

    Raises:
        InvalidField: if the hash is no SHA-256 in lower-case hex, or the suffix is another than
            .jpg and .png.
    """
    return checked_key(f"{content_hash[:2]}/{content_hash}{suffix}")


def is_image_key(name: str) -> bool:
    """Whether a name in the store is that of an image."""
    return _KEY.fullmatch(name) is not None


def checked_key(key: str) -> str:
    """The key itself.

    Raises:
        InvalidField: if it is none.
    """
    if not is_image_key(key):
        raise InvalidField(
            f"{key[:100]!r} is no image key. It is built from a SHA-256, as "
            "'ab/ab....jpg' or '.png'."
        )
    return key


def content_hash_of(key: str) -> str:
    """SHA-256 of the image's bytes, hex."""
    return key[3:67]
