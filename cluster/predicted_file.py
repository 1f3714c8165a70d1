"""A predicted file: what the model says of a picture, or why it says nothing, in every form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dermserve_client.classes import CODES
from dermserve_client.predictions import Prediction

COLUMNS = (
    *("file", "predicted_class", "class_name", "confidence", "risk_level", "malignant_score"),
    *("calls_for_action", "prediction_set", "abstain", "model_version", "error_code", "error"),
    *(f"p_{code}" for code in CODES),
)
"""Of a table with a row for each file; probabilities are in [0, 1]."""

HEADS = ("file", "diagnosis", "probability", "malignant", "note")

_DIGITS = 6
_ABSTAINS = {
    "out_of_distribution": "abstains: unlike what the model knows",
    "too_uncertain": "abstains: too uncertain",
}


@dataclass(frozen=True)
class PredictedFile:
    """One file's result; either a prediction or an error."""

    file: str
    prediction: Prediction | None = None
    error_code: str | None = None
    error: str | None = None
    """A sentence that says what to do."""

    @property
    def failed(self) -> bool:
        """Whether there is no prediction."""
        return self.prediction is None

    def shown(self) -> list[str]:
        """Cells by `HEADS`."""
        found = self.prediction
        if found is None:
            return [self.file, "-", "", "", self.error or ""]
        return [
            self.file,
            f"{found.class_name} ({found.predicted_class})",
            f"{found.confidence:.1%}",
            f"{found.malignant_score:.3f}",
            _note(found),
        ]

    def cells(self) -> dict[str, object]:
        """Cells by `COLUMNS`; what is missing is left empty."""
        found = self.prediction
        if found is None:
            return {"file": self.file, "error_code": self.error_code, "error": self.error}
        return {
            "file": self.file,
            "predicted_class": found.predicted_class,
            "class_name": found.class_name,
            "confidence": round(found.confidence, _DIGITS),
            "risk_level": found.diagnosis.risk_level,
            "malignant_score": round(found.malignant_score, _DIGITS),
            "calls_for_action": found.operating_point.exceeded,
            "prediction_set": " ".join(found.prediction_set),
            "abstain": found.abstain.reason or "",
            "model_version": found.model_version,
            **{f"p_{code}": round(found.probabilities[code], _DIGITS) for code in CODES},
        }

    def document(self) -> dict[str, Any]:
        """The whole prediction, as the server answers it."""
        if self.prediction is None:
            return {"file": self.file, "error": {"code": self.error_code, "message": self.error}}
        return {"file": self.file, "prediction": self.prediction.model_dump(mode="json")}


def _note(found: Prediction) -> str:
    if found.abstain.abstain:
        return _ABSTAINS.get(found.abstain.reason or "", "abstains")
    others = [code for code in found.prediction_set if code != found.predicted_class]
    notes = ["closer look"] if found.operating_point.exceeded else []
    if others:
        notes.append(f"or {', '.join(others)}")
    return "; ".join(notes)
