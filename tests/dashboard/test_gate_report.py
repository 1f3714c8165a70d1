"""The gate report, made of decisions that the gate itself would make."""

from __future__ import annotations

import re
from typing import Any

from dashboard.gate_report import RULE_NAMES, decision_sentence, rule_rows, side_by_side
from tests.conftest import PROJECT
from training.promotion.gate import GateDecision
from training.promotion.rule_result import RuleResult


def _decision(*rules: RuleResult) -> dict[str, Any]:
    decision = GateDecision(
        passed=all(rule.passed for rule in rules),
        reason="All rules of the gate pass.",
        gate_hash="0" * 64,
        test_images=2009,
        test_lesions=1495,
        resamples=2000,
        seed=0,
        rules=rules,
    )
    return decision.model_dump(mode="json")


def test_rules_with_their_verdict_in_words() -> None:
    rows = rule_rows(
        _decision(
            RuleResult(name="labels", passed=True, value=0.1, bound=0.2, sentence="Labels: fine."),
            RuleResult(name="subgroups", passed=False, value=-0.1, bound=0, sentence="One worse."),
            RuleResult(name="new_rule", passed=True, value=None, bound=0, sentence="Too few."),
        )
    )
    assert [(row["Rule"], row["Verdict"]) for row in rows] == [
        ("Believable labels", "✓\u00a0passed"),
        ("Worst subgroup, difference", "✗\u00a0refused"),
        ("New rule", "✓\u00a0passed, not judged"),
    ]
    assert rows[1]["In words"] == "One worse."


def test_every_rule_of_the_gate_has_a_name() -> None:
    folder = PROJECT / "training" / "promotion"
    text = "".join((folder / name).read_text("utf-8") for name in ("gate.py", "labels.py"))
    found = re.findall(r'(?:name=|_not_worse\(comparison, )"(\w+)"', text)
    assert set(found) == set(RULE_NAMES)


def test_what_was_decided() -> None:
    said = decision_sentence(_decision())
    assert said.startswith("The challenger passed the gate.")
    assert "2,009 test images of 1,495 lesions" in said
    refused = _decision(
        RuleResult(name="labels", passed=False, value=1, bound=0, sentence="Labels: doubtful.")
    )
    assert decision_sentence(refused).startswith("The challenger was refused at the gate.")


def test_champion_and_challenger_side_by_side() -> None:
    champion = {
        "balanced_accuracy": {"value": 0.75, "low": 0.71, "high": 0.80},
        "brier_score": {"value": 0.24, "low": None, "high": None},
        "accuracy": {"value": 0.8, "low": None, "high": None},
    }
    challenger = {
        "balanced_accuracy": {"value": 0.76, "low": 0.72, "high": 0.81},
        "brier_score": {"value": 0.26, "low": None, "high": None},
        "accuracy": {"value": 0.8, "low": None, "high": None},
    }
    rows = side_by_side(champion, challenger, ("2", "3"))
    assert rows[0] == {
        "Measure": "Balanced accuracy",
        "Champion 2": "0.750 (0.710 to 0.800)",
        "Challenger 3": "0.760 (0.720 to 0.810)",
        "Change": "+0.010 (better)",
    }
    assert [row["Change"] for row in rows[1:]] == ["+0.000 (unchanged)", "+0.020 (worse)"]
