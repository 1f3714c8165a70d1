"""An API key: its text, what the catalogue keeps of it, and what it opens.

The text is `ds_<id>_<secret>`, with a secret of 256 random bits. The catalogue keeps the id, by
which logs may name a key, and a slow hash, of which nobody gets the text back.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import NamedTuple

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

# OWASP's recommendation with the least memory, as every ingress replica verifies keys: 19 MiB.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_TEXT = re.compile(r"ds_([0-9a-f]{12})_[0-9a-f]{64}")


class Role(str, Enum):
    """What a key may do; it has one or several, and none includes another."""

    PREDICT = "predict"
    """Ask for predictions and explanations."""
    UPLOAD = "upload"
    """Send images to learn from."""
    REVIEW = "review"
    """See, label and delete uploads."""
    ADMIN = "admin"
    """Retrain, promote and roll back."""


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key as the catalogue knows it."""

    id: str
    """12 hexadecimal digits; public."""
    name: str
    """What its maker calls it."""
    roles: frozenset[Role]
    hash: str
    """Argon2id of the whole text, with its parameters and salt, as the PHC string format has it."""
    requests_per_minute: int | None
    """None is the server's default, as for the bytes."""
    bytes_per_minute: int | None
    """Of request bodies."""
    created: datetime
    """UTC, as the others."""
    expires: datetime | None
    revoked: datetime | None

    def ended(self, moment: datetime) -> str | None:
        """Why the key opens nothing any more, "was revoked" or "has expired"; None if it does."""
        if self.revoked is not None:
            return "was revoked"
        if self.expires is not None and self.expires <= moment:
            return "has expired"
        return None


class NewText(NamedTuple):
    """The parts of a key that was just drawn."""

    id: str
    text: str
    hash: str


def draw() -> NewText:
    """Draw a new key; its text is nowhere but here."""
    key_id = secrets.token_hex(6)
    text = f"ds_{key_id}_{secrets.token_hex(32)}"
    return NewText(key_id, text, _HASHER.hash(text))


def id_of(text: str) -> str | None:
    """The id in the text of a key; None if the text is none."""
    found = _TEXT.fullmatch(text)
    return found and found[1]


def matches(stored_hash: str, text: str) -> bool:
    """Whether a hash is that of a text; takes tens of milliseconds, so that guessing does."""
    try:
        return _HASHER.verify(stored_hash, text)
    except VerifyMismatchError:
        return False
