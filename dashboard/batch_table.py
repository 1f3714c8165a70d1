"""The table of a batch: a row for each picture, what is shown of it and what is exported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from dashboard.confusion import Confusion
from dashboard.lesion_classes import CODES, name_of, risk_text
from dashboard.wording import count, listing, percent
from dermserve_client.csv_text import csv_bytes
from dermserve_client.predictions import Prediction

CSV_COLUMNS = (
    *("file", "predicted_class", "class_name", "confidence", "risk_level", "malignant_score"),
    *("calls_for_action", "prediction_set", "abstain", "label", "model_version", "error"),
    *(f"p_{code}" for code in CODES),
)


@dataclass(frozen=True)
class BatchRow:
    """What became of one picture."""

    file: str
    prediction: Prediction | None
    error: str | None
    """A sentence; None if there is a prediction."""
    label: str | None = None
    """Code of the class that it is known to show."""
    picture: str | None = None
    """A thumbnail as a URL."""

    def shown(self) -> dict[str, object]:
        """Cells of the table on the page, shares in percent."""
        found = self.prediction
        return {
            "Picture": self.picture,
            "File": self.file,
            "Diagnosis": None if found is None else found.class_name,
            "Risk": None if found is None else risk_text(found.diagnosis.risk_level),
            "Probability": None if found is None else 100 * found.confidence,
            "Closer look": None
            if found is None
            else ("yes" if found.operating_point.exceeded else "no"),
            "Note": self.error or (_note(found) if found is not None else ""),
            "Malignant score": None if found is None else 100 * found.malignant_score,
            "Label": None if self.label is None else name_of(self.label),
        }

    def exported(self) -> dict[str, object]:
        """Cells of the CSV file, by `CSV_COLUMNS`."""
        found = self.prediction
        if found is None:
            return {"file": self.file, "label": self.label, "error": self.error}
        return {
            "file": self.file,
            "predicted_class": found.predicted_class,
            "class_name": found.class_name,
            "confidence": round(found.confidence, 6),
            "risk_level": found.diagnosis.risk_level,
            "malignant_score": round(found.malignant_score, 6),
            "calls_for_action": found.operating_point.exceeded,
            "prediction_set": " ".join(found.prediction_set),
            "abstain": found.abstain.reason or "",
            "label": self.label,
            "model_version": found.model_version,
            **{f"p_{code}": round(found.probabilities[code], 6) for code in CODES},
        }


KINDS: dict[str, Callable[[BatchRow], bool]] = {
    "All files": lambda row: True,
    "Closer look": lambda row: (
        row.prediction is not None and row.prediction.operating_point.exceeded
    ),
    "Abstained": lambda row: row.prediction is not None and row.prediction.abstain.abstain,
    "Failed": lambda row: row.prediction is None,
}
"""Which rows a reader may want to see alone."""


def _note(prediction: Prediction) -> str:
    if prediction.abstain.reason == "out_of_distribution":
        return "Abstains: unlike what the model knows"
    if prediction.abstain.abstain:
        return "Abstains: too uncertain"
    others = [code for code in prediction.prediction_set if code != prediction.predicted_class]
    return f"Or {listing([name_of(code) for code in others], 'or')}" if others else ""


def batch_csv(rows: Iterable[BatchRow]) -> bytes:
    """All rows as a file that spreadsheets open safely."""
    return csv_bytes(CSV_COLUMNS, (row.exported() for row in rows))


def batch_sentences(rows: Sequence[BatchRow]) -> list[str]:
    """What stands out in a batch."""
    found = [row.prediction for row in rows if row.prediction is not None]
    failed = len(rows) - len(found)
    said = []
    if found:
        (code, most), *_ = Counter(each.predicted_class for each in found).most_common(1)
        flagged = sum(each.operating_point.exceeded for each in found)
        abstained = sum(each.abstain.abstain for each in found)
        said.append(
            f"{count(len(found), 'picture')} classified; the most frequent class is "
            f"{name_of(code)} ({most}, {percent(most / len(found))})."
        )
        said.append(
            f"{count(flagged, 'picture')} {'calls' if flagged == 1 else 'call'} for a closer look "
            f"by the malignant score; the model abstains on {abstained}."
        )
    if failed:
        said.append(
            f"{count(failed, 'file')} could not be classified; the column Note says why and what "
            "to do."
        )
    return said


def batch_confusion(rows: Iterable[BatchRow]) -> Confusion:
    """Of the rows that have both a label and a prediction."""
    return Confusion.of(
        (row.label, row.prediction.predicted_class)
        for row in rows
        if row.label is not None and row.prediction is not None
    )
