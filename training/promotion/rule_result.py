"""The result of one rule of the gate: what was found, what it was held to, and a sentence."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class RuleResult(BaseModel):
    """One rule, ready for JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="stable, for machines, such as `balanced_accuracy`")
    passed: bool
    value: FiniteFloat | None = Field(description="what was found; None if it was not judged")
    low: FiniteFloat | None = Field(
        default=None,
        description="lower end of the 95 % interval; None, like `high`, where there is none",
    )
    high: FiniteFloat | None = None
    bound: FiniteFloat = Field(description="of the gate file, what the rule was held to")
    sentence: str = Field(description="all of this for people")

    @property
    def judged(self) -> bool:
        """False where there was too little to judge by; `passed` then follows the gate file."""
        return self.value is not None
