"""The report of a soak: the memory of each process over time, what grew, and what was answered."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from benchmarks.faults.outcome import failures
from benchmarks.faults.tally import Tally
from benchmarks.faults.traffic import TrafficReport
from benchmarks.memory_trend import Trend, trend_of
from benchmarks.process_tree import MIB, ordered

COLUMNS = ("process", "pid", "lived, min", "at the warm-up's end, MiB", "at the end, MiB",
           "MiB an hour", "95 % interval", "verdict")  # fmt: skip


class ProcessMemory(BaseModel):
    """One process and its own memory (USS)."""

    model_config = ConfigDict(frozen=True)

    role: str
    pid: int
    at_s: tuple[float, ...]
    """Since the soak began."""
    uss_bytes: tuple[int, ...]

    def after(self, warm_up_s: float) -> ProcessMemory:
        """Without the samples of the warm-up."""
        kept = [i for i, at_s in enumerate(self.at_s) if at_s >= warm_up_s]
        return self.model_copy(
            update={
                "at_s": tuple(self.at_s[i] for i in kept),
                "uss_bytes": tuple(self.uss_bytes[i] for i in kept),
            }
        )

    @property
    def trend(self) -> Trend | None:
        """None if it did not live long enough."""
        return trend_of(self.at_s, self.uss_bytes)


class SoakReport(BaseModel):
    """A whole soak."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    warm_up_s: float
    traffic: TrafficReport
    pages: dict[str, Tally]
    """Of everything else that was asked for, by path."""
    processes: tuple[ProcessMemory, ...]

    @property
    def measured(self) -> list[ProcessMemory]:
        """The processes after the warm-up, in the order that a request meets them."""
        rank = {role: place for place, role in enumerate(ordered(p.role for p in self.processes))}
        kept = [process.after(self.warm_up_s) for process in self.processes]
        return sorted((p for p in kept if p.at_s), key=lambda p: (rank[p.role], p.pid))

    @property
    def growing(self) -> list[ProcessMemory]:
        """Those that surely grow."""
        return [p for p in self.measured if p.trend is not None and p.trend.grows]

    @property
    def failed(self) -> int:
        """Requests of all kinds without a good answer."""
        traffic = self.traffic
        kinds = (traffic.plain, traffic.patient, traffic.uploads, *self.pages.values())
        return sum(each.failed for each in kinds)

    @property
    def verdict(self) -> str:
        """One sentence on memory, and one on answers."""
        unsure = sum(
            p.trend is None or not (p.trend.grows or p.trend.steady) for p in self.measured
        )
        growing = ", ".join(sorted({p.role for p in self.growing})) or "No process"
        memory = f"{growing} {'grow' if len(self.growing) > 1 else 'grows'}"
        if unsure:
            memory += f"; of {unsure} it is too early to say"
        traffic, pages = self.traffic, self.pages.values()
        return (
            f"{memory}. Of {traffic.plain.sent} predictions {traffic.plain.failed} failed, of "
            f"{traffic.patient.sent} with retries {traffic.patient.failed}, of "
            f"{traffic.uploads.sent} uploads {traffic.uploads.failed}, of "
            f"{sum(each.sent for each in pages)} other requests "
            f"{sum(each.failed for each in pages)}; of {traffic.acknowledged} acknowledged "
            f"uploads {traffic.uploads_lost} were lost."
        )


def rows(report: SoakReport) -> list[tuple[str, ...]]:
    """A row for each process, under `COLUMNS`."""
    return [_row(process) for process in report.measured]


def markdown(report: SoakReport) -> str:
    """The report as Markdown."""
    table: Sequence[Sequence[str]] = [COLUMNS, ("---",) * len(COLUMNS), *rows(report)]
    lines = "".join(f"| {' | '.join(cells)} |\n" for cells in table)
    return (
        f"{report.seconds / 60:.1f} minutes, the first {report.warm_up_s / 60:.1f} as warm-up. "
        f"{report.verdict}\n\n{lines}\nPredictions sent once: {report.traffic.plain.sent}, failed "
        f"{failures(report.traffic.plain)}; with retries: {report.traffic.patient.sent}, failed "
        f"{failures(report.traffic.patient)}; uploads: {report.traffic.uploads.sent}, failed "
        f"{failures(report.traffic.uploads)}.\n\n| path | sent | failed |\n| --- | --- | --- |\n"
        + "".join(f"| {p} | {t.sent} | {failures(t)} |\n" for p, t in report.pages.items())
    )


def _row(process: ProcessMemory) -> tuple[str, ...]:
    trend = process.trend
    first, last = process.uss_bytes[0] / MIB, process.uss_bytes[-1] / MIB
    lived_min = (process.at_s[-1] - process.at_s[0]) / 60
    head = (process.role, str(process.pid), f"{lived_min:.1f}", f"{first:.1f}", f"{last:.1f}")
    if trend is None:
        return (*head, "", "", "too short")
    word = "grows" if trend.grows else "steady" if trend.steady else "too early to say"
    interval = f"{trend.low / MIB:+.1f} to {trend.high / MIB:+.1f}"
    return (*head, f"{trend.slope / MIB:+.1f}", interval, word)
