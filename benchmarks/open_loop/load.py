"""An open-loop load: requests fall due by the clock, whether or not the last were answered."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter

from benchmarks.wrk import LoadFailed

Priority = Literal["interactive", "bulk"]

Seconds = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""NaN where nothing was measured; JSON has null for it."""


class Stream(BaseModel):
    """Requests of one kind."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rate: float = Field(gt=0, allow_inf_nan=False)
    """Requests a second that fall due, on average."""
    priority: Priority | None = None
    """Sent as the query parameter `priority`; None sends none."""
    path: str | None = None
    """Path and query instead of those of the URL."""


class StageTime(BaseModel):
    """What the server says that its answers spent in one stage."""

    model_config = ConfigDict(frozen=True)

    mean_s: float
    p50_s: float
    p99_s: float


class OpenLoopResult(BaseModel):
    """What became of one stream; sent = ok + rejected + expired + failed.

    Latencies count from the moment a request was due, not from when the generator got to send
    it: a server that stalls makes the requests late that fell due meanwhile.
    """

    model_config = ConfigDict(frozen=True)

    rate_offered: float
    priority: Priority | None
    sent: int
    """Requests that fell due while it was measured."""
    ok: int
    """Answered 200, at whatever time."""
    rejected: int
    """Answered 503 or 429."""
    expired: int
    """Answered 504."""
    failed: int
    """Anything else: other answers, broken connections, no answer in time, not sent at all."""
    failures: dict[str, int]
    """What the failed ones were, such as `500`, `timeout`, `connection`, `garbage`, `unsent`."""
    retry_after_missing: int
    """Answers of 503 without a `Retry-After` header."""
    seconds: float
    ok_within: int
    """Answers of 200 that came in these seconds, also to requests of the warm-up."""
    ok_each_second: tuple[int, ...]
    """The same by second, from the first of the warm-up to the last answer."""
    p50_s: Seconds
    """Of the ok ones, like the next three."""
    p90_s: Seconds
    p99_s: Seconds
    max_s: Seconds
    rejected_p50_s: Seconds
    """Until a rejected request had its answer, like the next."""
    rejected_p99_s: Seconds
    timings: dict[str, StageTime]
    """By stage (`queue`, `preprocessing`, `forward`, `total`), where ok answers name them."""
    send_lag_p99_s: Seconds
    """How late the generator itself was; the latencies include it."""
    generator_cpu_s: float
    """CPU time of the generator, for all streams of the run."""

    @property
    def goodput(self) -> float:
        """Answers of 200 a second, counted as they come.

        What an overloaded server still answers after the last request is not in it.
        """
        return self.ok_within / self.seconds


class Plan(BaseModel):
    """What the generator's process is told."""

    model_config = ConfigDict(frozen=True)

    url: str
    files: tuple[Path, ...]
    streams: tuple[Stream, ...]
    seconds: float = Field(gt=0, allow_inf_nan=False)
    warmup_s: float = Field(ge=0, allow_inf_nan=False)
    connections: int = Field(ge=1)
    max_connections: int = Field(ge=1)
    timeout_s: float = Field(gt=0, allow_inf_nan=False)
    seed: int = Field(ge=0)
    headers: dict[str, str] = Field(default_factory=dict)


RESULTS = TypeAdapter(list[OpenLoopResult])


def run_open_loop(
    url: str,
    files: Sequence[Path],
    *,
    rate: float,
    seconds: float,
    connections: int = 256,
    max_connections: int = 4096,
    timeout_s: float = 10.0,
    warmup_s: float = 0.0,
    seed: int = 0,
    priority: Priority | None = None,
    headers: Mapping[str, str] | None = None,
) -> OpenLoopResult:
    """Post images at a rate, in Poisson arrivals; see `run_streams`."""
    (result,) = run_streams(
        url,
        files,
        [Stream(rate=rate, priority=priority)],
        seconds=seconds,
        connections=connections,
        max_connections=max_connections,
        timeout_s=timeout_s,
        warmup_s=warmup_s,
        seed=seed,
        headers=headers,
    )
    return result


def run_streams(
    url: str,
    files: Sequence[Path],
    streams: Sequence[Stream],
    *,
    seconds: float,
    connections: int = 256,
    max_connections: int = 4096,
    timeout_s: float = 10.0,
    warmup_s: float = 0.0,
    seed: int = 0,
    headers: Mapping[str, str] | None = None,
) -> list[OpenLoopResult]:
    """Post images in several streams at once, from a process of its own.

    Args:
        url: of the route, such as http://127.0.0.1:8000/predict.
        files: JPEG images, sent in turn as raw bodies; read before the clock starts.
        streams: at least one.
        seconds: for which requests fall due and are counted; their answers are waited for.
        connections: opened before the clock starts and kept alive.
        max_connections: to which more are opened when all are busy; a request that is due when
            that many are busy counts as failed, namely `unsent`.
        timeout_s: after which an unanswered request counts as failed.
        warmup_s: for which requests fall due before, which are not counted.
        seed: of the arrival times; runs of the same seed and rates offer the same load.
        headers: of each request, besides its Content-Type.

    Returns:
        A result for each stream, in their order.

    Raises:
        LoadFailed: if the server cannot be reached.
    """
    plan = Plan(
        url=url,
        files=tuple(path.resolve() for path in files),
        streams=tuple(streams),
        seconds=seconds,
        warmup_s=warmup_s,
        connections=connections,
        max_connections=max(connections, max_connections),
        timeout_s=timeout_s,
        seed=seed,
        headers=dict(headers or {}),
    )
    command = [sys.executable, "-m", "benchmarks.open_loop.sender"]
    limit_s = warmup_s + seconds + timeout_s + 60
    try:
        output = subprocess.run(
            command,
            input=plan.model_dump_json(),
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadFailed(
            f"The load generator did not end within {limit_s:.0f} s. The machine may be too busy; "
            "lower the rate."
        ) from error
    if output.returncode != 0:
        reason = output.stderr.strip() or f"exit status {output.returncode}"
        raise LoadFailed(f"The load generator failed: {reason}")
    return RESULTS.validate_json(output.stdout)
