"""Overload: each demand is judged by what was measured, and a run against a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from benchmarks import overload
from benchmarks.memory_recorder import MemoryRecorder, MemorySample
from benchmarks.open_loop.load import OpenLoopResult, Stream
from benchmarks.open_loop.tally import Tally
from benchmarks.overload_figure import overload_figure
from benchmarks.overload_report import (
    BESIDE_BULK,
    OVERLOADED,
    OverloadReport,
    Phase,
    growth,
    judge,
    phases_table,
)
from benchmarks.process_tree import ProcessTree
from benchmarks.wrk import LoadFailed, LoadResult
from tests.benchmarks.small_server import small_server

app = typer.Typer()
app.command()(overload.main)

CAPACITY = 100.0
PHASE_S = 20
MIB = 2**20

GOOD: dict[str, Any] = {
    "overloaded": {"ok": 95, "latency_s": 1.0, "refused": 305},
    "interactive alone": {"ok": 30, "latency_s": 0.01},
    "interactive": {"ok": 30, "latency_s": 0.02},
    "bulk": {"ok": 60, "latency_s": 1.5, "refused": 140},
}


def outcome(
    stream: Stream,
    *,
    ok: int,
    latency_s: float = 0.02,
    refused: int = 0,
    refusal_s: float = 0.002,
    retry_after: bool = True,
    broken: int = 0,
) -> OpenLoopResult:
    """What became of one second of requests."""
    tally = Tally(stream, begin_s=0, end_s=1)
    for _ in range(ok):
        tally.answered(0.0, min(latency_s, 0.99), 200, False, b"{}")
    for _ in range(refused):
        tally.answered(0.0, refusal_s, 503, retry_after, b"{}")
    for _ in range(broken):
        tally.failed(0.0, "connection")
    return tally.result(generator_cpu_s=0.5).model_copy(update={"p99_s": latency_s})


def report(sizes: list[int] | None = None, **changes: dict[str, Any]) -> OverloadReport:
    """Of a server that meets every demand, but for the changes."""
    phases = []
    for number, (name, streams) in enumerate(overload.plan(CAPACITY, 4)):
        results = []
        for stream in streams:
            key = str(stream.priority) if name == BESIDE_BULK else name
            results.append(
                outcome(stream, **{**GOOD.get(key, {"ok": 100}), **changes.get(key, {})})
            )
        began_s = float(number * PHASE_S)
        phases.append(
            Phase(name=name, began_s=began_s, ended_s=began_s + PHASE_S, results=tuple(results))
        )
    samples = sizes or [1000 * MIB] * (4 * PHASE_S)
    return OverloadReport(
        url="http://localhost",
        capacity=CAPACITY,
        cores=2,
        p99_limit_s=2.0,
        phases=tuple(phases),
        memory=tuple(
            MemorySample(at_s=float(second), pss_bytes=size) for second, size in enumerate(samples)
        ),
        memory_peak={},
    )


def unmet(judged: OverloadReport) -> list[str]:
    return [verdict.demand for verdict in judge(judged) if not verdict.met]


def test_a_server_that_meets_every_demand() -> None:
    verdicts = judge(report())
    assert len(verdicts) == 8
    assert unmet(report()) == []


@pytest.mark.parametrize(
    ("changes", "demand"),
    [
        ({OVERLOADED: {"ok": 89}}, "goodput at 4.0 times the capacity"),
        ({OVERLOADED: {"latency_s": 2.5}}, "p99 of what is accepted"),
        ({OVERLOADED: {"retry_after": False}}, "every 503 says"),
        ({OVERLOADED: {"refusal_s": 0.5}}, "refused at once"),
        ({OVERLOADED: {"broken": 1}}, "nothing but 200"),
        ({"interactive": {"ok": 20}}, "interactive goodput beside bulk"),
        ({"bulk": {"latency_s": 0.01}}, "bulk gives way"),
    ],
)
def test_each_demand_can_fail_alone(changes: dict[str, Any], demand: str) -> None:
    (only,) = unmet(report(**changes))
    assert only.startswith(demand)


def test_memory_that_grows_while_overloaded() -> None:
    second = range(4 * PHASE_S)
    grows = [(1000 + 10 * min(max(s - PHASE_S, 0), PHASE_S)) * MIB for s in second]
    (only,) = unmet(report(sizes=grows))
    assert only.startswith("memory grows")
    # What fills up when it begins is no growth.
    fills = [(1000 if s < PHASE_S + 3 else 1300) * MIB for s in second]
    assert unmet(report(sizes=fills)) == []


@given(size=st.integers(1, 10**12), count=st.integers(4, 50), factor=st.integers(2, 9))
def test_growth(size: int, count: int, factor: int) -> None:
    flat = [MemorySample(at_s=float(s), pss_bytes=size) for s in range(count)]
    assert growth(flat) == 1
    last = len(flat) // 4
    risen = flat[:-last] + [
        each.model_copy(update={"pss_bytes": factor * each.pss_bytes}) for each in flat[-last:]
    ]
    assert growth(risen) == factor
    assert growth(flat[:3]) != growth(flat[:3])  # NaN: too few to say


def test_the_figure_and_the_table() -> None:
    figure = overload_figure(report())
    assert figure.get_suptitle() == "95 answers a second under overload, 100 at capacity"
    assert phases_table(report()).row_count == 5


def test_a_run_against_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jpeg: bytes
) -> None:
    """One that takes everything but bulk, with a capacity that needs no wrk to find out."""
    monkeypatch.setattr(overload, "run_wrk", _closed_loop)
    (tmp_path / "lesion.jpg").write_bytes(jpeg)
    with small_server() as url:
        command = ["--url", url, "--images", str(tmp_path), "--output", str(tmp_path)]
        command += ["--seconds", "1", "--warmup-s", "0", "--times", "3"]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 1, result.output  # bulk never gives way, it is refused
    written = OverloadReport.model_validate_json((tmp_path / "overload.json").read_text())
    assert [[each.ok for each in phase.results] for phase in written.phases] == [
        [40],
        [120],
        [12],
        [12, 0],
    ]
    assert written.phase(BESIDE_BULK).results[1].rejected == 80
    assert written.memory
    assert written.memory_peak
    assert "NOT met  bulk gives way" in result.output
    assert "met      every 503 says when to come back (Retry-After): 0 without, of 80" in (
        result.output
    )
    assert (tmp_path / "overload.png").read_bytes().startswith(b"\x89PNG")


def _closed_loop(url: str, files: list[Path], *, concurrency: int, seconds: int) -> LoadResult:
    return LoadResult(
        concurrency=concurrency,
        requests=40 * seconds,
        seconds=seconds,
        p50_s=0.01,
        p90_s=0.01,
        p99_s=0.01,
        max_s=0.01,
        failed=0,
    )


def test_memory_of_processes_that_have_ended() -> None:
    with (
        pytest.raises(LoadFailed, match="have ended"),
        MemoryRecorder(ProcessTree([2**22 + 1]), period_s=0.01),
    ):
        pass
