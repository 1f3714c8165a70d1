"""The promotion gate: may a challenger take the champion's place?"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field

from training.judged import Judged
from training.promotion.comparison import Comparison, Difference
from training.promotion.gate_file import GateFile
from training.promotion.labels import Labelled, judge_labels
from training.promotion.rule_result import RuleResult
from training.promotion.subgroup_comparison import compare_subgroups


class GateDecision(BaseModel):
    """What the gate decided, on what evidence; ready for JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reason: str = Field(description="one sentence")
    gate_hash: str = Field(description="SHA-256 of the gate file that decided")
    test_images: int
    test_lesions: int
    resamples: int = Field(description="of lesions within their class, for the intervals")
    seed: int
    rules: tuple[RuleResult, ...]


def decide(
    champion: Judged,
    challenger: Judged,
    uploads: Judged | None,
    new_images: int,
    gate: GateFile,
    learned: Collection[Labelled] = frozenset(),
) -> GateDecision:
    """Hold a challenger to every rule of the gate.

    All have to pass, so that more rules make it no likelier that a worse model is promoted; they
    do make it likelier that a good one is refused. The intervals say how far other test lesions
    would move a result; they do not hold what another training of the same recipe would do.

    Args:
        champion, challenger: of the frozen test split, the same images in the same order, each
            calibrated by its own rules.
        uploads: what the champion says of those that the challenger learned from; their labels
            are the uploaders'. None if there are none.
        new_images: labelled uploads that no earlier run learned from, >= 0.
        gate: the rules.
        learned: image id and class of uploads that the champion learned from; see `judge_labels`.

    Returns:
        The same for the same arguments, bit for bit.

    Raises:
        InvalidPredictions: if the two models were judged on different images.
    """
    comparison = Comparison.of(champion, challenger, gate)
    rules = (
        _new_images(new_images, gate),
        _balanced_accuracy(comparison, gate),
        _balanced_accuracy_floor(comparison, gate),
        _melanoma(comparison, gate),
        _calibration_error(comparison, gate),
        _calibration_increase(comparison, gate),
        _subgroups(champion, challenger, gate),
        judge_labels(champion, uploads, learned, gate),
    )
    return GateDecision(
        passed=all(rule.passed for rule in rules),
        reason=_reason(rules),
        gate_hash=gate.hash,
        test_images=len(challenger),
        test_lesions=challenger.count_lesions(),
        resamples=gate.resamples,
        seed=gate.seed,
        rules=rules,
    )


def _reason(rules: tuple[RuleResult, ...]) -> str:
    refusals = [rule for rule in rules if not rule.passed]
    if not refusals:
        return f"All {len(rules)} rules of the gate pass."
    others = ", ".join(rule.name for rule in refusals[1:])
    return refusals[0].sentence + (f" Refused as well by {others}." if others else "")


def _new_images(new_images: int, gate: GateFile) -> RuleResult:
    least = gate.minimum_new_images
    return RuleResult(
        name="new_images",
        passed=new_images >= least,
        value=new_images,
        bound=least,
        sentence=f"New images: {new_images} that no earlier run learned from; at least {least} "
        "are needed.",
    )


def _balanced_accuracy(comparison: Comparison, gate: GateFile) -> RuleResult:
    bound = gate.balanced_accuracy.min_difference
    return _not_worse(comparison, "balanced_accuracy", "Balanced accuracy", bound)


def _melanoma(comparison: Comparison, gate: GateFile) -> RuleResult:
    rule = gate.melanoma_sensitivity
    what = f"Melanoma sensitivity at specificity {rule.specificity:.2f}"
    return _not_worse(comparison, "melanoma_sensitivity", what, rule.min_difference)


def _not_worse(comparison: Comparison, name: str, what: str, bound: float) -> RuleResult:
    found = comparison.get(name)
    if found is None:
        return RuleResult(
            name=name,
            passed=False,
            value=None,
            bound=bound,
            sentence=f"{what}: the test images cannot tell, because they lack a class. Add some.",
        )
    return RuleResult(
        name=name,
        passed=found.low > bound,
        value=found.value,
        low=found.low,
        high=found.high,
        bound=bound,
        sentence=f"{what}: {_against(found)}; the lower end has to be above {bound:+.3f}.",
    )


def _balanced_accuracy_floor(comparison: Comparison, gate: GateFile) -> RuleResult:
    value, bound = comparison.challenger["balanced_accuracy"], gate.balanced_accuracy.min
    return RuleResult(
        name="balanced_accuracy_floor",
        passed=value >= bound,
        value=value,
        bound=bound,
        sentence=f"Balanced accuracy: {value:.3f}; whoever the champion is, at least {bound:.3f} "
        "is needed.",
    )


def _calibration_error(comparison: Comparison, gate: GateFile) -> RuleResult:
    value, bound = comparison.challenger["calibration"], gate.calibration_error.max
    return RuleResult(
        name="calibration_error",
        passed=value <= bound,
        value=value,
        bound=bound,
        sentence=f"Expected calibration error: {value:.3f}; at most {bound:.3f} is allowed.",
    )


def _calibration_increase(comparison: Comparison, gate: GateFile) -> RuleResult:
    found, bound = comparison.require("calibration"), gate.calibration_error.max_increase
    return RuleResult(
        name="calibration_increase",
        passed=found.high < bound,
        value=found.value,
        low=found.low,
        high=found.high,
        bound=bound,
        sentence=f"Expected calibration error: {_against(found)}; the upper end has to be below "
        f"{bound:+.3f}.",
    )


def _subgroups(champion: Judged, challenger: Judged, gate: GateFile) -> RuleResult:
    groups, bound = compare_subgroups(champion, challenger, gate), gate.subgroups.min_difference
    if not groups:
        return RuleResult(
            name="subgroups",
            passed=True,
            value=None,
            bound=bound,
            sentence="Subgroups: not judged, because none has "
            f"{gate.subgroups.minimum_images} test images.",
        )
    worse = [group for group in groups if group.value < bound and group.high < 0]
    worst = min(worse or groups, key=lambda group: group.value)
    return RuleResult(
        name="subgroups",
        passed=not worse,
        value=worst.value,
        low=worst.low,
        high=worst.high,
        bound=bound,
        sentence=f"Subgroups: of {len(groups)}, {worst.name} ({worst.images} images) does worst, "
        f"{worst.value:+.3f} in mean recall (interval for all groups at once {worst.low:+.3f} to "
        f"{worst.high:+.3f}); a loss beyond {bound:+.3f} refuses if it is more than chance, that "
        "is, if the interval is below 0.",
    )


def _against(found: Difference) -> str:
    return (
        f"{found.challenger:.3f} against the champion's {found.champion:.3f}, "
        f"{found.value:+.3f} (95 % interval {found.low:+.3f} to {found.high:+.3f})"
    )
