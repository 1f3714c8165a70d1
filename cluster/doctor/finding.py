"""A finding: what the doctor saw, and how to mend it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "wrong", "not checked"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at, or could not be."""

    verdict: Verdict
    message: str
    mend: str | None = None
    """What to do about it; never None for `warning` and `wrong`."""


def continued(sentence: str) -> str:
    """A sentence as the end of another one."""
    return sentence[0].lower() + sentence[1:]


def ok(message: str) -> Finding:
    """It is as it should be."""
    return Finding("ok", message)


def warning(message: str, mend: str) -> Finding:
    """It works, and will not always, or not as well as it could."""
    return Finding("warning", message, mend)


def wrong(message: str, mend: str) -> Finding:
    """It does not work, or must not stay so."""
    return Finding("wrong", message, mend)


def not_checked(reason: str, mend: str | None = None) -> Finding:
    """Nobody can say: there was no way to look."""
    return Finding("not checked", reason, mend)
