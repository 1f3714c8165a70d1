"""Values as both databases can store them: canonical JSON, and text without what SQL refuses."""

from __future__ import annotations

import json
import math
from typing import Any

from models.errors import InvalidField

MAX_TEXT = 128
"""Longest text, in characters, that a user may give for one field."""


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and only ASCII; the same value has one text.

    NaN and infinity, which JSON lacks, become null.

    Raises:
        TypeError: if the value is not plain: dicts with text keys, lists, tuples, text, numbers,
            bool and None.
    """
    return json.dumps(_finite(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of JSON are text")
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def storable(text: str) -> str:
    """Text of ours with U+FFFD for what UTF-8 or PostgreSQL cannot hold.

    The reason of a failure may hold any character, and must not be the next failure.
    """
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def checked_text(field: str, text: str | None) -> str | None:
    """Text that a user gave for a field.

    Raises:
        InvalidField: if it is empty, longer than `MAX_TEXT` or holds unprintable characters.
    """
    if text is not None and not (text.isprintable() and 0 < len(text) <= MAX_TEXT):
        raise InvalidField(f"{field} must be 1 to {MAX_TEXT} printable characters. Send another.")
    return text
