"""What overload did to a server: phases of load, its memory, and whether the demands are met."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.memory_recorder import MemorySample
from benchmarks.open_loop.load import OpenLoopResult
from benchmarks.process_tree import MIB, RoleMemory

LEAST_GOODPUT = 0.9
"""Of the goodput at capacity that remains under overload, and of that without bulk beside it."""
MOST_GROWTH = 1.05
"""Of memory while the overload lasts."""
AT_ONCE_S = 0.1
"""Until a refusal comes, in the median."""

AT_CAPACITY, OVERLOADED = "at capacity", "overloaded"
ALONE, BESIDE_BULK = "interactive alone", "beside bulk"


class Phase(BaseModel):
    """One load for some seconds, of one or two streams; the interactive one comes first."""

    model_config = ConfigDict(frozen=True)

    name: str
    began_s: float
    """Since the recording of the memory began."""
    ended_s: float
    results: tuple[OpenLoopResult, ...]

    @property
    def interactive(self) -> OpenLoopResult:
        return self.results[0]


class Verdict(BaseModel):
    """Whether one demand is met."""

    model_config = ConfigDict(frozen=True)

    demand: str
    measured: str
    met: bool


class OverloadReport(BaseModel):
    """A whole run."""

    model_config = ConfigDict(frozen=True)

    url: str
    capacity: float
    """Requests a second in a closed loop."""
    cores: int
    p99_limit_s: float
    phases: tuple[Phase, ...]
    memory: tuple[MemorySample, ...]
    memory_peak: dict[str, RoleMemory]
    """By role, when all together were largest."""
    verdicts: tuple[Verdict, ...] = ()

    def phase(self, name: str) -> Phase:
        return next(phase for phase in self.phases if phase.name == name)


def judge(report: OverloadReport) -> tuple[Verdict, ...]:
    """The demands on overload, one by one."""
    capacity, overloaded = report.phase(AT_CAPACITY), report.phase(OVERLOADED)
    alone, beside = report.phase(ALONE), report.phase(BESIDE_BULK)
    results = [result for phase in report.phases for result in phase.results]
    bulk = beside.results[1]
    times = overloaded.interactive.rate_offered / capacity.interactive.rate_offered
    kept = _ratio(overloaded.interactive.goodput, capacity.interactive.goodput)
    left = _ratio(_per_core(overloaded, report.cores), _per_core(capacity, report.cores))
    p99_s = overloaded.interactive.p99_s
    grown = growth(s for s in report.memory if overloaded.began_s <= s.at_s <= overloaded.ended_s)
    refused = sum(result.rejected for result in results)
    missing = sum(result.retry_after_missing for result in results)
    failed = sum(result.failed for result in results)
    undisturbed = _ratio(beside.interactive.goodput, alone.interactive.goodput)
    return (
        Verdict(
            demand=f"goodput at {times:.1f} times the capacity >= {LEAST_GOODPUT} of that at it",
            measured=f"{kept:.2f} ({left:.2f} per core that the load generator left)",
            met=kept >= LEAST_GOODPUT,
        ),
        Verdict(
            demand=f"p99 of what is accepted then <= {report.p99_limit_s:.2f} s",
            measured=f"{p99_s:.2f} s",
            met=p99_s <= report.p99_limit_s,
        ),
        Verdict(
            demand=f"memory grows by {MOST_GROWTH - 1:.0%} at most while it lasts",
            measured=f"{grown - 1:+.1%}",
            met=grown <= MOST_GROWTH,
        ),
        Verdict(
            demand="every 503 says when to come back (Retry-After)",
            measured=f"{missing} without, of {refused} refused",
            met=missing == 0 and refused > 0,
        ),
        Verdict(
            demand=f"refused at once: the median refusal takes {1e3 * AT_ONCE_S:.0f} ms at most",
            measured=f"{1e3 * overloaded.interactive.rejected_p50_s:.0f} ms",
            met=overloaded.interactive.rejected_p50_s <= AT_ONCE_S,
        ),
        Verdict(
            demand="nothing but 200, 503, 429 and 504, no connection lost",
            measured=f"{failed} failed{_listed(results)}",
            met=failed == 0,
        ),
        Verdict(
            demand=f"interactive goodput beside bulk >= {LEAST_GOODPUT} of that alone",
            measured=f"{undisturbed:.2f}; p99 {1e3 * beside.interactive.p99_s:.0f} ms beside, "
            f"{1e3 * alone.interactive.p99_s:.0f} ms alone",
            met=undisturbed >= LEAST_GOODPUT,
        ),
        Verdict(
            demand="bulk gives way: p99 of interactive < p50 of bulk",
            measured=f"{1e3 * beside.interactive.p99_s:.0f} ms < {1e3 * bulk.p50_s:.0f} ms",
            met=beside.interactive.p99_s < bulk.p50_s,
        ),
    )


def growth(samples: Iterable[MemorySample]) -> float:
    """Memory in the last quarter of some samples, as a multiple of that in the second.

    The first quarter is left out: queues that have a bound fill up in it.

    Returns:
        NaN if there are fewer than four samples.
    """
    sizes = [sample.pss_bytes for sample in samples]
    quarter = len(sizes) // 4
    if quarter == 0:
        return math.nan
    early = statistics.median(sizes[quarter : 2 * quarter])
    return statistics.median(sizes[-quarter:]) / early


def phases_table(report: OverloadReport) -> Table:
    """A row for each stream of each phase."""
    table = Table(
        *("", "offered/s", "goodput/s", "p50 ms", "p99 ms", "refused", "p50 ms of refusals"),
        *("504", "failed", "generator cores", "peak MiB"),
    )
    for phase in report.phases:
        sizes = [s.pss_bytes for s in report.memory if phase.began_s <= s.at_s <= phase.ended_s]
        for index, each in enumerate(phase.results):
            table.add_row(
                phase.name if index == 0 else f"  {each.priority}",
                *(f"{each.rate_offered:.0f}", f"{each.goodput:.0f}"),
                *(_ms(each.p50_s), _ms(each.p99_s)),
                *(str(each.rejected), _ms(each.rejected_p50_s)),
                *(str(each.expired), str(each.failed)),
                f"{each.generator_cpu_s / _lasted_s(phase):.2f}" if index == 0 else "",
                f"{max(sizes) / MIB:.0f}" if sizes and index == 0 else "",
            )
    return table


def _lasted_s(phase: Phase) -> float:
    return phase.ended_s - phase.began_s


def _per_core(phase: Phase, cores: int) -> float:
    """Goodput by the cores that the load generator left to the server."""
    return phase.interactive.goodput / (
        cores - phase.interactive.generator_cpu_s / _lasted_s(phase)
    )


def _ratio(value: float, whole: float) -> float:
    return value / whole if whole else math.nan


def _listed(results: Sequence[OpenLoopResult]) -> str:
    """What the failed requests were, in brackets."""
    kinds = sorted({kind for result in results for kind in result.failures})
    counts = {kind: sum(result.failures.get(kind, 0) for result in results) for kind in kinds}
    listed = ", ".join(f"{count} x {kind}" for kind, count in counts.items())
    return f" ({listed})" if listed else ""


def _ms(seconds: float) -> str:
    return "-" if math.isnan(seconds) else f"{1e3 * seconds:.0f}"
