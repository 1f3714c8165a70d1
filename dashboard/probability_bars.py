"""Probability bars: a table whose cells are bars, so that it is read as well as seen."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from html import escape

from dashboard.lesion_classes import CLASSES, name_of, risk_text
from dashboard.wording import percent

_RISK = {each.code: each.risk for each in CLASSES}


def probability_bars(
    probabilities: Mapping[str, float],
    predicted: str | None = None,
    prediction_set: Collection[str] | None = None,
) -> str:
    """HTML of all classes, the most probable first.

    Args:
        probabilities: calibrated, by class code.
        predicted: code of the predicted class, which is marked in words; None if none is.
        prediction_set: codes that cannot be ruled out, whose bars are filled; None fills all.
    """
    ordered = sorted(probabilities, key=lambda code: (-probabilities[code], code))
    rows = "".join(
        _row(
            code,
            probabilities[code],
            code == predicted,
            prediction_set is None or code in prediction_set,
        )
        for code in ordered
    )
    legend = (
        "" if prediction_set is None else " Filled bars cannot be ruled out; outlined ones can."
    )
    return (
        '<table class="bars"><caption>Calibrated probability of each class, the most probable '
        f"first.{legend}</caption>"
        '<thead class="unseen"><tr><th scope="col">Class</th><th scope="col">Probability</th>'
        f"</tr></thead><tbody>{rows}</tbody></table>"
    )


def _row(code: str, probability: float, predicted: bool, kept: bool) -> str:
    notes = [risk_text(_RISK[code])] if code in _RISK else []
    if predicted:
        notes.insert(0, "Predicted")
    if not kept:
        notes.append("ruled out")
    kinds = f"bar {'kept' if kept else 'out'}"
    return (
        f'<tr{" class=predicted" if predicted else ""}><th scope="row">{escape(name_of(code))}'
        f'<span class="notes">{escape(", ".join(notes))}</span></th>'
        f'<td><span class="{kinds}" style="width:{100 * probability:.2f}%"></span>'
        f'<span class="figure">{escape(percent(probability))}</span></td></tr>'
    )
