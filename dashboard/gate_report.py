"""The gate report: what a challenger was held to, rule by rule, beside the champion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.wording import count, interval
from dermserve_client.versions import ModelSummary

RULE_NAMES: dict[str, str] = {
    "new_images": "New images",
    "balanced_accuracy": "Balanced accuracy, difference",
    "balanced_accuracy_floor": "Balanced accuracy, floor",
    "melanoma_sensitivity": "Melanoma sensitivity, difference",
    "calibration_error": "Calibration error",
    "calibration_increase": "Calibration error, increase",
    "subgroups": "Worst subgroup, difference",
    "labels": "Believable labels",
}

MEASURES: tuple[tuple[str, str, bool], ...] = (
    ("balanced_accuracy", "Balanced accuracy", True),
    ("macro_auc", "Macro AUC", True),
    ("accuracy", "Accuracy", True),
    ("expected_calibration_error", "Expected calibration error", False),
    ("brier_score", "Brier score", False),
)
"""Key, name, and whether more is better."""

_NO_CHANGE = 5e-4
"""Less does not show in three digits."""


def rule_rows(decision: Mapping[str, Any]) -> list[dict[str, str]]:
    """The rules of a decision, as a table."""
    return [
        {
            "Rule": RULE_NAMES.get(rule["name"], rule["name"].replace("_", " ").capitalize()),
            "Verdict": _verdict(rule),
            "In words": rule["sentence"],
        }
        for rule in decision.get("rules", [])
    ]


def _verdict(rule: Mapping[str, Any]) -> str:
    if rule["value"] is None:
        return "✓\u00a0passed, not judged" if rule["passed"] else "✗\u00a0not judged"
    return "✓\u00a0passed" if rule["passed"] else "✗\u00a0refused"


def decision_sentence(decision: Mapping[str, Any]) -> str:
    """What was decided, and on how much evidence."""
    verdict = "passed" if decision["passed"] else "was refused at"
    return (
        f"The challenger {verdict} the gate. {decision['reason']} Judged on "
        f"{count(decision['test_images'], 'test image')} of "
        f"{count(decision['test_lesions'], 'lesion')}; intervals of 95\u00a0% from "
        f"{decision['resamples']:,} resamples."
    )


def side_by_side(
    champion: Mapping[str, Any], challenger: Mapping[str, Any], names: tuple[str, str]
) -> list[dict[str, str]]:
    """Measures of two evaluations with their intervals.

    Args:
        champion: `evaluation` of the one that serves, or served.
        challenger: of the other.
        names: of the two versions.
    """
    rows = []
    for key, name, more in MEASURES:
        old, new = champion.get(key), challenger.get(key)
        if old is None or new is None:
            continue
        change = new["value"] - old["value"]
        better = "better" if (change > 0) == more else "worse"
        if abs(change) < _NO_CHANGE:
            better = "unchanged"
        rows.append(
            {
                "Measure": name,
                f"Champion {names[0]}": interval(old["value"], old.get("low"), old.get("high")),
                f"Challenger {names[1]}": interval(new["value"], new.get("low"), new.get("high")),
                "Change": f"{change:+.3f} ({better})",
            }
        )
    return rows


def version_label(model: ModelSummary) -> str:
    """A version as lists name it."""
    said = [f"Version {model.version}"]
    if model.champion:
        said.append("serves")
    elif model.verdict == "refused":
        said.append("refused by the gate")
    return ", ".join(said)
