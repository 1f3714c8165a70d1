"""A comparison: what servers did in turn with the same images, round after round."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from datetime import datetime

from pydantic import BaseModel, ConfigDict

from benchmarks.open_loop.load import OpenLoopResult
from benchmarks.wrk import LoadResult


class Turn(BaseModel):
    """One server in one round."""

    model_config = ConfigDict(frozen=True)

    label: str
    """Of the entry."""
    start_s: float | None = None
    """From its start to its first right answer."""
    closed: tuple[LoadResult, ...] = ()
    open: tuple[OpenLoopResult, ...] = ()
    problem: str | None = None
    """Why it was not measured, or not to the end."""


class Round(BaseModel):
    """Every server once."""

    model_config = ConfigDict(frozen=True)

    bare_limit: float
    """Images a second without a server, measured in this round."""
    turns: tuple[Turn, ...]


class Conditions(BaseModel):
    """What holds for every server."""

    model_config = ConfigDict(frozen=True)

    measured_at: datetime
    device: str
    precision: str
    cores: int
    images: int
    mean_bytes: float
    seconds: int
    """Length of one measurement."""
    concurrencies: tuple[int, ...]
    rates: tuple[float, ...]
    """Shares of the first round's bare limit that the open loop offers."""


class Comparison(BaseModel):
    """Conditions and rounds; what is asked of it are medians over the rounds."""

    model_config = ConfigDict(frozen=True)

    conditions: Conditions
    labels: tuple[str, ...]
    """Of the entries, in the order of tables."""
    rounds: tuple[Round, ...]

    @property
    def bare_limit(self) -> float:
        """Images a second."""
        return statistics.median(each.bare_limit for each in self.rounds)

    def problem(self, label: str) -> str | None:
        """The first reason why a server was not measured."""
        return next((turn.problem for turn in self._turns(label) if turn.problem), None)

    def start_s(self, label: str) -> float | None:
        """Until the first right answer."""
        return _median(turn.start_s for turn in self._turns(label) if turn.start_s is not None)

    def closed(
        self, label: str, concurrency: int, value: Callable[[LoadResult], float]
    ) -> float | None:
        """A value of the closed loop; None if there is none."""
        return _median(
            value(result)
            for turn in self._turns(label)
            for result in turn.closed
            if result.concurrency == concurrency
        )

    def open(
        self, label: str, share: float, value: Callable[[OpenLoopResult], float]
    ) -> float | None:
        """A value of the open loop at a share of the bare limit; None if there is none."""
        place = self.conditions.rates.index(share)
        return _median(
            value(turn.open[place]) for turn in self._turns(label) if place < len(turn.open)
        )

    def best_rate(self, label: str) -> float | None:
        """The highest of its rates."""
        rates = [
            rate
            for concurrency in self.conditions.concurrencies
            if (rate := self.closed(label, concurrency, lambda r: r.rate)) is not None
        ]
        return max(rates, default=None)

    def failed(self, label: str) -> int:
        """Requests of the closed loop without a good answer, in all rounds."""
        return sum(result.failed for turn in self._turns(label) for result in turn.closed)

    def _turns(self, label: str) -> list[Turn]:
        return [turn for each in self.rounds for turn in each.turns if turn.label == label]


def _median(values: Iterable[float]) -> float | None:
    found = [value for value in values if not math.isnan(value)]
    return statistics.median(found) if found else None
