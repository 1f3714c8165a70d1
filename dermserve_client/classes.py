"""The classes: codes of the seven diagnoses, in the order of the model's outputs."""

from __future__ import annotations

CODES: tuple[str, ...] = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
