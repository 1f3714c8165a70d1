"""Steps of offered load: windows of each rate until they agree, and what they came to."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.open_loop.load import OpenLoopResult

STAGES = ("queue", "preprocessing", "forward")
"""Of the server's own times; together they are its `total`."""

WINDOWS = 3
"""That have to agree before a step ends, as in Triton's perf_analyzer."""
TOLERANCE = 0.1
"""Of their mean, within which they agree."""

Measure = Callable[[float, int], OpenLoopResult]
"""Offers a rate in requests a second; the number tells one window from another."""


class Step(BaseModel):
    """One offered rate. Its numbers are medians of the last windows, its counts their sums."""

    model_config = ConfigDict(frozen=True)

    rate: float
    """Offered, in requests a second."""
    windows: tuple[OpenLoopResult, ...]
    stable: bool
    """False if the windows never agreed."""

    @property
    def last(self) -> tuple[OpenLoopResult, ...]:
        """The windows that count."""
        return self.windows[-WINDOWS:]

    def median(self, value: Callable[[OpenLoopResult], float]) -> float:
        """Of a number; NaN if no window has it."""
        values = [v for v in map(value, self.last) if not math.isnan(v)]
        return statistics.median(values) if values else math.nan

    def stage_s(self, stage: str) -> float:
        """Mean seconds that an ok answer spent in a stage; NaN if the server does not say."""

        def mean_s(window: OpenLoopResult) -> float:
            return window.timings[stage].mean_s if stage in window.timings else math.nan

        return self.median(mean_s)

    def total(self, count: Callable[[OpenLoopResult], int]) -> int:
        return sum(map(count, self.last))


class Steps(BaseModel):
    """A whole run of the stepper."""

    model_config = ConfigDict(frozen=True)

    url: str
    capacity: float | None
    """Requests a second in a closed loop; None if it was not measured."""
    steps: tuple[Step, ...]


def agree(windows: Sequence[OpenLoopResult], tolerance: float = TOLERANCE) -> bool:
    """Whether goodput and median latency of every window are near their means."""

    def near(values: list[float]) -> bool:
        known = [value for value in values if not math.isnan(value)]
        if not known:
            return True  # nothing was answered, again and again
        mean = statistics.mean(known)
        return len(known) == len(values) and all(
            abs(value - mean) <= tolerance * mean for value in known
        )

    return near([w.goodput for w in windows]) and near([w.p50_s for w in windows])


def run_step(measure: Measure, rate: float, *, most_windows: int) -> Step:
    """Offer one rate until the last windows agree, or as often as allowed."""
    windows: list[OpenLoopResult] = []
    while True:
        windows.append(measure(rate, len(windows)))
        stable = len(windows) >= WINDOWS and agree(windows[-WINDOWS:])
        if stable or len(windows) >= most_windows:
            return Step(rate=rate, windows=tuple(windows), stable=stable)


def steps_table(report: Steps) -> Table:
    """A row for each step."""
    table = Table(
        *("offered/s", "of capacity", "goodput/s", "p50 ms", "p90 ms", "p99 ms"),
        *(f"{stage} ms" for stage in STAGES),
        *("rejected", "expired", "failed", "windows"),
    )
    for step in report.steps:
        table.add_row(
            f"{step.rate:.0f}",
            "" if report.capacity is None else f"{step.rate / report.capacity:.2f}",
            f"{step.median(lambda w: w.goodput):.0f}",
            _ms(step.median(lambda w: w.p50_s)),
            _ms(step.median(lambda w: w.p90_s)),
            _ms(step.median(lambda w: w.p99_s)),
            *(_ms(step.stage_s(stage)) for stage in STAGES),
            str(step.total(lambda w: w.rejected)),
            str(step.total(lambda w: w.expired)),
            str(step.total(lambda w: w.failed)),
            f"{len(step.windows)}{'' if step.stable else ', not stable'}",
        )
    return table


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1e3 * seconds:.1f}"
