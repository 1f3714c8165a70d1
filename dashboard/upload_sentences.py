"""What became of uploads, in sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from dashboard.lesion_classes import name_of
from dashboard.wording import count, listing
from dermserve_client import Missing, UploadResult
from dermserve_client.uploads import LabelSource

SOURCES: dict[LabelSource, str] = {
    "histopathology": "Histopathology",
    "follow_up": "Follow-up",
    "consensus": "Consensus of experts",
    "expert": "One expert",
    "user": "My own judgement",
}
"""How a label was established, the most reliable first."""


def source_name(source: str | None) -> str:
    """How a label was established, in words."""
    return next((name for code, name in SOURCES.items() if code == source), "Unknown")


VERDICTS: dict[str, str] = {
    "accepted": "✓ accepted",
    "needs_label": "? waits for a label",
    "duplicate": "= there already",
    "test_image": "✗ a test image",
    "rejected": "✗ rejected",
}


def verdict_sentence(result: UploadResult) -> str:
    """What became of one file."""
    if result.verdict == "accepted":
        return "Stored with its label; the next retraining learns from it."
    if result.verdict == "needs_label":
        return "Stored; it waits in the review queue for a label."
    if result.reason:
        return result.reason
    if result.verdict == "duplicate":
        return f"The same picture is there already ({result.duplicate_of})."
    if result.verdict == "test_image":
        return "Models are judged by this lesion, so that none may learn from it."
    return f"It was not stored ({result.verdict})."


def verdict_rows(
    names: Sequence[str], labels: Sequence[str | None], results: Sequence[UploadResult]
) -> list[dict[str, str]]:
    """A table of files and their verdicts."""
    return [
        {
            "File": name,
            "Label": "" if label is None else name_of(label),
            "Verdict": VERDICTS.get(result.verdict, result.verdict),
            "In words": verdict_sentence(result),
        }
        for name, label, result in zip(names, labels, results, strict=True)
    ]


def upload_finding(results: Sequence[UploadResult]) -> str:
    """What became of all files."""
    counted = Counter(result.verdict for result in results)
    words = {
        "accepted": "stored with a label",
        "needs_label": "stored without one",
        "duplicate": "there already",
        "test_image": "kept for testing",
        "rejected": "rejected",
    }
    said = [f"{counted[name]} {text}" for name, text in words.items() if counted[name]]
    return f"Of {count(len(results), 'file')}: {listing(said)}." if said else "Nothing was sent."


def missing_sentence(missing: Missing) -> str:
    """How far it is to the next retraining."""
    have = f"{count(missing.new_images, 'new labelled image')} of {missing.threshold}"
    short = {code: number for code, number in missing.missing_by_class.items() if number}
    if missing.missing:
        return f"{have}: {missing.missing} more, and the server retrains by itself."
    if short:
        return f"{have}, but still missing: {_by_class(short)}."
    if missing.quiet_until is not None:
        return f"{have}: enough. Retraining begins when no label has changed for a moment."
    return f"{have}: enough. The next retraining begins at once."


def _by_class(short: Mapping[str, int]) -> str:
    return listing([f"{number} {name_of(code)}" for code, number in short.items()])
