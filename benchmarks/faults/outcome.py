"""An outcome: what a fault cost, and its row in the table of them."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from benchmarks.faults.tally import Tally
from benchmarks.faults.traffic import TrafficReport

HEADINGS = (
    "fault",
    "sent once",
    "failed",
    "with retries",
    "failed",
    "failing for, s",
    "longest gap, s",
    "whole again after, s",
    "uploads acknowledged",
    "lost",
    "what else",
)


class Outcome(BaseModel):
    """One fault and what came of it."""

    model_config = ConfigDict(frozen=True)

    scenario: str
    fault: str
    """What was done, in a few words."""
    traffic: TrafficReport
    whole_after_s: float | None
    """From the fault until what was broken works again; None if that says nothing here."""
    note: str = ""


def row(outcome: Outcome) -> tuple[str, ...]:
    """The cells under `HEADINGS`."""
    traffic = outcome.traffic
    failing = [
        each.failed_until_s
        for each in (traffic.plain, traffic.patient)
        if each.failed_until_s is not None
    ]
    return (
        outcome.fault,
        str(traffic.plain.sent),
        failures(traffic.plain),
        str(traffic.patient.sent),
        failures(traffic.patient),
        f"{max(failing, default=0):.1f}",
        f"{traffic.plain.longest_gap_s:.1f}",
        "" if outcome.whole_after_s is None else f"{outcome.whole_after_s:.1f}",
        str(traffic.acknowledged),
        str(traffic.uploads_lost),
        outcome.note,
    )


def failures(tally: Tally) -> str:
    """How many failed, and with what."""
    kinds = ", ".join(f"{count} x {name}" for name, count in tally.failures.items())
    return f"{tally.failed} ({kinds})" if kinds else "0"


def markdown(outcomes: Sequence[Outcome]) -> str:
    """The table as Markdown."""
    lines = [HEADINGS, ("---",) * len(HEADINGS), *(row(outcome) for outcome in outcomes)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
