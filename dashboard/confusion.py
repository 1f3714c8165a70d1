"""The confusion matrix of a batch: what was labelled, and what was predicted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dashboard.lesion_classes import CODES, name_of
from dashboard.wording import count, percent


@dataclass(frozen=True)
class Confusion:
    """Images by true class (rows) and prediction (columns), in the order of `CODES`."""

    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, pairs: Iterable[tuple[str, str]]) -> Confusion:
        """Count pairs of a label and a prediction; others than the seven are passed over."""
        counts = [[0] * len(CODES) for _ in CODES]
        for label, predicted in pairs:
            if label in CODES and predicted in CODES:
                counts[CODES.index(label)][CODES.index(predicted)] += 1
        return cls(tuple(tuple(row) for row in counts))

    @property
    def images(self) -> int:
        """In all."""
        return sum(map(sum, self.counts))

    @property
    def right(self) -> int:
        """On the diagonal."""
        return sum(row[place] for place, row in enumerate(self.counts))

    def recalls(self) -> dict[str, float]:
        """Share that was found, by code of the classes present."""
        return {
            code: row[place] / sum(row)
            for place, (code, row) in enumerate(zip(CODES, self.counts, strict=True))
            if sum(row)
        }

    def sentences(self) -> list[str]:
        """What stands out."""
        return confusion_sentences(self.counts)


def confusion_sentences(counts: Sequence[Sequence[int]]) -> list[str]:
    """What stands out in a matrix: how much is right, what is confused most, missed melanomas.

    Args:
        counts: images by true class (rows) and prediction (columns), in the order of `CODES`.
    """
    matrix = Confusion(tuple(tuple(row) for row in counts))
    if not matrix.images:
        return ["No picture has both a label and a prediction."]
    recalls = matrix.recalls()
    said = [
        f"{count(matrix.right, 'image')} of {matrix.images:,} "
        f"({percent(matrix.right / matrix.images)}) {_were(matrix.right)} given the labelled "
        f"class. The mean over the {count(len(recalls), 'class', 'classes')} present is "
        f"{percent(sum(recalls.values()) / len(recalls))} (balanced accuracy)."
    ]
    wrong = [
        (number, row, column)
        for row, line in enumerate(counts)
        for column, number in enumerate(line)
        if row != column and number
    ]
    if wrong:
        most, row, column = max(wrong, key=lambda each: each[0])
        said.append(
            f"The most frequent confusion: {count(most, 'image')} labelled "
            f"{name_of(CODES[row])} {_were(most)} called {name_of(CODES[column])}."
        )
    melanomas = counts[CODES.index("mel")]
    if total := sum(melanomas):
        missed = total - melanomas[CODES.index("mel")]
        said.append(
            f"{missed} of {count(total, 'melanoma')} {_were(missed)} given another class."
            if missed
            else f"No melanoma of {total} was given another class."
        )
    return said


def _were(number: int) -> str:
    return "was" if number == 1 else "were"
