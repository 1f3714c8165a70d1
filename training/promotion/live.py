"""Live checks: how two models compare on the same live images, counted by the replicas."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from training.bootstrap import wilson_interval
from training.promotion.gate_file import GateFile, ObservationRule, ShadowRule
from training.promotion.rule_result import RuleResult


class ShadowStats(BaseModel):
    """Counts of one rollout, of all replicas together.

    The live model answers callers; the shadow scores a share of the same images unheard.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    live_images: int = Field(ge=0, description="that the live model was given, failed ones too")
    live_errors: int = Field(ge=0, description="of these, without an answer")
    shadow_images: int = Field(ge=0, description="that the shadow scored")
    disagreements: int = Field(ge=0, description="of these, with another predicted class")
    live_forward_s: float = Field(ge=0, description="seconds in the live model, all images")
    shadow_forward_s: float = Field(ge=0, description="seconds in the shadow, all images")

    @model_validator(mode="after")
    def _check_parts(self) -> ShadowStats:
        if self.live_errors > self.live_images or self.disagreements > self.shadow_images:
            raise ValueError("there cannot be more errors or disagreements than images")
        return self


def judge_shadow(stats: ShadowStats, gate: GateFile) -> tuple[RuleResult, ...]:
    """May the shadow, a challenger, take the live model's place?

    A share refuses only if all of its 95 % interval is above the bound: a few unlucky images
    are no proof. Images of one lesion are counted as if they were independent, because live
    images say nothing of their lesion; where a caller sends many of one lesion, the interval is
    too narrow.
    """
    rule = gate.shadow
    return _disagreement(stats, rule, "shadow"), _latency(stats, rule)


def judge_observation(stats: ShadowStats, gate: GateFile) -> tuple[RuleResult, ...]:
    """May the model that was just promoted stay? The one it replaced is the shadow now.

    Shares are judged as in `judge_shadow`. Too few images never turn a promotion back.

    To ask again as images come in is to give chance more turns: of simulated windows of 5,000
    images, looked at every 10, those with a disagreement of 15 % passed the bound of 20 % at some
    time in 0.2 % of cases, with 18 % in 5 %, with 20 % in 25 %; those with 25 % always did.
    """
    rule = gate.observation
    errors = _share(
        "observation_errors",
        "Errors",
        "live images had no answer",
        (stats.live_errors, stats.live_images),
        rule.max_error_rate,
        rule,
    )
    return errors, _disagreement(stats, rule, "observation")


def _disagreement(stats: ShadowStats, rule: ShadowRule | ObservationRule, when: str) -> RuleResult:
    return _share(
        f"{when}_disagreement",
        "Disagreement",
        "live images got another class from the other model",
        (stats.disagreements, stats.shadow_images),
        rule.max_disagreement,
        rule,
    )


def _latency(stats: ShadowStats, rule: ShadowRule) -> RuleResult:
    name, what, bound = "shadow_latency", "Latency", rule.max_latency_ratio
    answered = stats.live_images - stats.live_errors
    images = min(answered, stats.shadow_images)
    if images < rule.minimum_images:
        return _not_judged(name, what, _too_few(images, rule), bound, rule.required)
    if stats.live_forward_s == 0:
        return _not_judged(name, what, "no seconds were counted", bound, rule.required)
    shadow_s = stats.shadow_forward_s / stats.shadow_images
    live_s = stats.live_forward_s / answered
    ratio = shadow_s / live_s
    return RuleResult(
        name=name,
        passed=ratio <= bound,
        value=ratio,
        bound=bound,
        sentence=f"{what}: {1000 * shadow_s:.1f} ms per image against the live model's "
        f"{1000 * live_s:.1f} ms, a ratio of {ratio:.2f}; at most {bound:.2f} is allowed.",
    )


def _share(
    name: str,
    what: str,
    happened: str,
    counts: tuple[int, int],
    bound: float,
    rule: ShadowRule | ObservationRule,
) -> RuleResult:
    part, whole = counts
    interval = wilson_interval(part, whole)
    if interval is None or whole < rule.minimum_images:
        required = isinstance(rule, ShadowRule) and rule.required
        return _not_judged(name, what, _too_few(whole, rule), bound, required)
    low, high = interval
    return RuleResult(
        name=name,
        passed=low <= bound,
        value=part / whole,
        low=low,
        high=high,
        bound=bound,
        sentence=f"{what}: {part} of {whole} {happened}, {part / whole:.2%} (95 % interval "
        f"{low:.2%} to {high:.2%}); the lower end must not be above {bound:.2%}.",
    )


def _too_few(images: int, rule: ShadowRule | ObservationRule) -> str:
    return f"only {images} of at least {rule.minimum_images} live images were seen"


def _not_judged(name: str, what: str, because: str, bound: float, required: bool) -> RuleResult:
    consequence = "The gate file requires it." if required else "The gate file does not require it."
    return RuleResult(
        name=name,
        passed=not required,
        value=None,
        bound=bound,
        sentence=f"{what}: not judged, because {because}. {consequence}",
    )
