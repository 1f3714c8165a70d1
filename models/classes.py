"""The seven HAM10000 diagnoses, in the order of every probability vector."""

from __future__ import annotations

CLASSES: tuple[str, ...] = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
"""Class codes of HAM10000, alphabetical; index i names column i of every logit matrix."""

MALIGNANT: tuple[str, ...] = ("mel", "bcc", "akiec")
"""Classes whose probabilities add up to `malignant_score`; akiec is counted as pre-malignant."""

MALIGNANT_COLUMNS: tuple[int, ...] = tuple(CLASSES.index(code) for code in MALIGNANT)
