"""One step of a load report: what a number of users was answered, and how fast."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, ValidationError

from benchmarks.wrk import LoadFailed

REQUESTS_FILE = "requests.csv"
MARKS_FILE = "marks.json"

REFUSED = " refused"
"""Ends the route of a request that a full server turned away: 503 with `Retry-After`."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Request(_Frozen):
    """One line of `requests.csv`."""

    begun_s: float
    """Unix time."""
    route: str
    response_s: NonNegativeFloat
    images: int
    problem: str
    """Empty for the right answer."""

    @property
    def ended_s(self) -> float:
        return self.begun_s + self.response_s

    @property
    def refused(self) -> bool:
        return self.route.endswith(REFUSED)


class Marks(_Frozen):
    """The part of a step in which all its users were there, and what Locust itself took."""

    spawned_s: float
    """Unix time at which the last user came."""
    stopping_s: float
    """Unix time at which the users were told to finish."""
    generator_cpu_s: NonNegativeFloat
    """Processor time of Locust between the two."""
    generator_lag_p99_s: NonNegativeFloat
    """How late Locust came to what it had to do; it adds that much to response times."""


class Latencies(_Frozen):
    """Response times of the requests that began while all users were there, refused ones aside."""

    mean_s: float
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float
    requests: int
    """Over which they are taken."""


class Traffic(_Frozen):
    """What came of some requests."""

    requests: int
    """Over the whole step, refused and failed ones included; so are the next two."""
    refused: int
    """Answered 503 with `Retry-After`."""
    failed: int
    """Answered wrongly, with another error, or not at all."""
    requests_per_s: float
    """Right answers that came while all users were there."""
    images_per_s: float
    """Images in those answers."""
    latencies: Latencies | None
    """None if there was no request to take them over."""


class Step(_Frozen):
    """One number of users."""

    users: int
    window_s: float
    """How long all users were there."""
    total: Traffic
    routes: dict[str, Traffic]
    problems: dict[str, int]
    """How often each came, by route and problem."""
    generator_cores: float
    """Processor time of Locust as a share of one core."""
    generator_lag_p99_s: float


def read_step(folder: Path, users: int) -> Step:
    """The step that Locust left in a folder.

    Raises:
        LoadFailed: if the record is incomplete.
    """
    try:
        marks = Marks.model_validate_json((folder / MARKS_FILE).read_bytes())
        with (folder / REQUESTS_FILE).open(newline="", encoding="utf-8") as file:
            requests = [Request.model_validate(row) for row in csv.DictReader(file)]
    except (OSError, ValidationError) as error:
        raise LoadFailed(
            f"The record of {users} users in {folder} cannot be read ({error}). Were all of them "
            "there before the time was over? Raise --run-time or --spawn-rate."
        ) from error
    return step_of(requests, marks, users)


def step_of(requests: Sequence[Request], marks: Marks, users: int) -> Step:
    """Sum a step up.

    Args:
        requests: all that were sent.
        marks: when all users were there.
        users: how many.

    Raises:
        LoadFailed: if no request was answered while all users were there.
    """
    window_s = marks.stopping_s - marks.spawned_s
    routes = sorted({_plain(request) for request in requests})
    total = _traffic(requests, marks)
    if total.latencies is None or window_s <= 0:
        raise LoadFailed(f"{users} users were not answered once. Raise --run-time.")
    problems = Counter(f"{_plain(r)}: {r.problem}" for r in requests if r.problem)
    return Step(
        users=users,
        window_s=window_s,
        total=total,
        routes={
            route: _traffic([r for r in requests if _plain(r) == route], marks) for route in routes
        },
        problems=dict(problems.most_common()),
        generator_cores=marks.generator_cpu_s / window_s,
        generator_lag_p99_s=marks.generator_lag_p99_s,
    )


def _plain(request: Request) -> str:
    return request.route.removesuffix(REFUSED)


def _traffic(requests: Sequence[Request], marks: Marks) -> Traffic:
    window_s = marks.stopping_s - marks.spawned_s
    # Begun then, whenever answered: the slowest answers come after the end.
    times = [
        request.response_s
        for request in requests
        if marks.spawned_s <= request.begun_s < marks.stopping_s and not request.refused
    ]
    # Answered then, whenever begun: what the server got done in that time.
    right = [
        request
        for request in requests
        if marks.spawned_s <= request.ended_s < marks.stopping_s and not request.problem
    ]
    return Traffic(
        requests=len(requests),
        refused=sum(request.refused for request in requests),
        failed=sum(bool(request.problem) and not request.refused for request in requests),
        requests_per_s=len(right) / window_s,
        images_per_s=sum(request.images for request in right) / window_s,
        latencies=_latencies(times) if times else None,
    )


def _latencies(times: Sequence[float]) -> Latencies:
    # Each percentile is one that was measured, not a mean of two.
    p50, p95, p99 = np.quantile(times, [0.5, 0.95, 0.99], method="inverted_cdf")
    return Latencies(
        mean_s=float(np.mean(times)),
        p50_s=float(p50),
        p95_s=float(p95),
        p99_s=float(p99),
        max_s=max(times),
        requests=len(times),
    )
