"""What became of the requests of one stream, counted as their answers come."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import orjson

from benchmarks.open_loop.load import OpenLoopResult, StageTime, Stream


class Tally:
    """Counts of one stream. Times are seconds since the run began.

    Args:
        stream: whose requests these are.
        begin_s: end of the warm-up; requests due before are not counted.
        end_s: when the last request is due.
    """

    def __init__(self, stream: Stream, begin_s: float, end_s: float) -> None:
        self._stream = stream
        self._begin_s = begin_s
        self._end_s = end_s
        self._sent = 0
        self._statuses: Counter[int] = Counter()
        self._failures: Counter[str] = Counter()
        self._retry_after_missing = 0
        self._ok_within = 0
        self._ok_each_second: Counter[int] = Counter()
        self._latencies: list[float] = []
        self._rejections: list[float] = []
        self._lags: list[float] = []
        self._timings: dict[str, list[float]] = defaultdict(list)

    def sent(self, due_s: float, at_s: float) -> None:
        """A request is being written."""
        if due_s >= self._begin_s:
            self._lags.append(at_s - due_s)

    def answered(
        self, due_s: float, at_s: float, status: int, retry_after: bool, body: bytes
    ) -> None:
        """A request has its answer."""
        if status == 200:
            self._ok_each_second[int(at_s)] += 1
            self._ok_within += self._begin_s <= at_s < self._end_s
        if due_s < self._begin_s:
            return
        self._sent += 1
        self._statuses[status] += 1
        if status == 200:
            self._latencies.append(at_s - due_s)
            self._note_timings(body)
        elif status in (429, 503):
            self._rejections.append(at_s - due_s)
            self._retry_after_missing += status == 503 and not retry_after
        elif status != 504:
            self._failures[str(status)] += 1

    def failed(self, due_s: float, reason: str) -> None:
        """A request gets no answer."""
        if due_s >= self._begin_s:
            self._sent += 1
            self._failures[reason] += 1

    def result(self, generator_cpu_s: float) -> OpenLoopResult:
        """The counts, when every request has its fate."""
        each_second = self._ok_each_second
        p50, p90, p99 = _percentiles(self._latencies, 50, 90, 99)
        rejected_p50, rejected_p99 = _percentiles(self._rejections, 50, 99)
        return OpenLoopResult(
            rate_offered=self._stream.rate,
            priority=self._stream.priority,
            sent=self._sent,
            ok=self._statuses[200],
            rejected=self._statuses[503] + self._statuses[429],
            expired=self._statuses[504],
            failed=self._failures.total(),
            failures=dict(self._failures),
            retry_after_missing=self._retry_after_missing,
            seconds=self._end_s - self._begin_s,
            ok_within=self._ok_within,
            ok_each_second=tuple(each_second[s] for s in range(max(each_second, default=-1) + 1)),
            p50_s=p50,
            p90_s=p90,
            p99_s=p99,
            max_s=max(self._latencies, default=math.nan),
            rejected_p50_s=rejected_p50,
            rejected_p99_s=rejected_p99,
            timings={stage: _stage_time(times) for stage, times in self._timings.items()},
            send_lag_p99_s=_percentiles(self._lags, 99)[0],
            generator_cpu_s=generator_cpu_s,
        )

    def _note_timings(self, body: bytes) -> None:
        """Take the `timings` of an answer; other servers need not have them."""
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError:
            return
        timings = document.get("timings") if isinstance(document, dict) else None
        if isinstance(timings, dict):
            for stage, seconds in timings.items():
                if isinstance(seconds, (int, float)):
                    self._timings[stage].append(seconds)


def _percentiles(values: list[float], *ranks: float) -> list[float]:
    if not values:
        return [math.nan] * len(ranks)
    found: list[float] = np.percentile(values, ranks).tolist()
    return found


def _stage_time(values: list[float]) -> StageTime:
    p50, p99 = _percentiles(values, 50, 99)
    return StageTime(mean_s=float(np.mean(values)), p50_s=p50, p99_s=p99)
