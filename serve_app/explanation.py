"""What an explanation is asked for and answered with: the messages to the explainer and back."""

from __future__ import annotations

from dataclasses import dataclass

from models.classes import CLASSES
from models.errors import UnknownClass


@dataclass(frozen=True, slots=True)
class ExplanationRequest:
    """One image, and what is to be explained of it."""

    image: bytes
    """Encoded, as for a prediction."""
    explained_class: str | None
    """A code of `CLASSES`; None stands for the predicted class."""


@dataclass(frozen=True, slots=True)
class ExplainedImage:
    """The overlay, with what it is an overlay of."""

    png: bytes
    model_version: str
    predicted_class: str
    explained_class: str


def check_class(code: str | None) -> None:
    """Raise `UnknownClass` unless the code is a class or None."""
    if code is not None and code not in CLASSES:
        raise UnknownClass(f"There is no class {code!r:.30}. Use one of {', '.join(CLASSES)}.")
