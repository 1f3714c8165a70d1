"""An uploaded file: the server's verdict on it, or why it has none, in every form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

COLUMNS = ("file", "label", "lesion_id", "verdict", "id", "duplicate_of", "reason")
HEADS = ("file", "label", "verdict", "in words")

UNKNOWN = "unknown"
"""The verdict on a file that was sent and not answered for: it may have been stored."""
NOT_SENT = "not_sent"

_WORDS = {
    "accepted": "Stored with its label; the next retraining learns from it.",
    "needs_label": "Stored; it waits in the review queue for a label.",
    "test_image": "Models are judged by this lesion, so that none may learn from it.",
    UNKNOWN: "No answer came, so it may have been stored. To send it again does no harm.",
    NOT_SENT: "It was not sent.",
}


@dataclass(frozen=True)
class UploadedFile:
    """One file's result."""

    file: str
    verdict: str
    """The server's, or `rejected` for a file that cannot be read, `unknown` or `not_sent`."""
    label: str | None = None
    lesion_id: str | None = None
    id: str | None = None
    duplicate_of: str | None = None
    reason: str | None = None

    @property
    def failed(self) -> bool:
        """Whether it has to be looked at: it was refused, or nobody knows."""
        return self.verdict in ("rejected", UNKNOWN, NOT_SENT)

    def shown(self) -> list[str]:
        """Cells by `HEADS`."""
        words = self.reason or _WORDS.get(self.verdict, "")
        if self.verdict == "duplicate" and not self.reason:
            words = f"The same picture is there already ({self.duplicate_of})."
        return [self.file, self.label or "", self.verdict, words]

    def cells(self) -> dict[str, object]:
        """Cells by `COLUMNS`."""
        return {column: getattr(self, column) for column in COLUMNS}

    def document(self) -> dict[str, Any]:
        """All of it."""
        return self.cells()
