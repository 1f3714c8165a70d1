"""What a request costs: CPU time of real processes over a load, and its table."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.process_tree import ProcessTree
from benchmarks.stages import StageCosts, _measure, costs_table, profile
from benchmarks.wrk import LoadFailed, LoadResult

BURN = """
import time
until = time.process_time() + 0.5
while time.process_time() < until:
    pass
"""


def load(requests: int = 10, concurrency: int = 1) -> LoadResult:
    return LoadResult(
        concurrency=concurrency,
        requests=requests,
        seconds=2,
        p50_s=0.01,
        p90_s=0.02,
        p99_s=0.03,
        max_s=0.04,
        failed=0,
    )


def test_cpu_time_is_divided_by_the_requests() -> None:
    """The server is this process; the generator, which it does not count, a child."""

    def burn() -> LoadResult:
        subprocess.run([sys.executable, "-c", BURN], check=True)
        exec(BURN, {})
        return load()

    used = os.times()
    costs, busiest = _measure(ProcessTree([os.getpid()]), burn)
    spent = os.times()
    own_ms = 1e3 * (spent.user + spent.system - used.user - used.system) / 10
    child_ms = (
        1e3
        * (spent.children_user + spent.children_system - used.children_user - used.children_system)
        / 10
    )
    # The clock of processes ticks every 10 ms, and its readers round a few ticks apart.
    assert costs.server_ms == pytest.approx(own_ms, rel=0.2)
    assert costs.generator_ms == pytest.approx(child_ms, rel=0.2)
    assert costs.available_ms == 1e3 * costs.cores * 2 / 10
    assert busiest[0][1] == os.getpid()


def test_a_load_without_answers() -> None:
    with pytest.raises(LoadFailed, match="answered no request"):
        _measure(ProcessTree([os.getpid()]), lambda: load(requests=0))


def test_the_table() -> None:
    measured = [
        StageCosts(
            load=load(concurrency=concurrency),
            cpu_ms={"raylet": 0.001, "classifier": classifier_ms, "ingress": 0.5},
            generator_ms=0.25,
            cores=2,
        )
        for concurrency, classifier_ms in ((1, 2.0), (64, 1.5))
    ]
    table = costs_table(measured, markdown=True)
    cells = [list(column.cells) for column in table.columns]
    rows = {str(name): values for name, *values in zip(*cells, strict=True)}
    assert list(rows)[:4] == ["ingress", "classifier", "everything else", "the server"]
    assert rows["classifier"] == ["2.00", "1.50"]
    assert rows["the server"] == ["2.50", "2.00"]
    assert rows["the machine had"] == ["400.00", "400.00"]
    text = io.StringIO()
    Console(file=text, width=120).print(table)
    assert "| ingress" in text.getvalue()


def test_a_process_that_cannot_be_profiled(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="py-spy cannot read process"):
        profile(2**22 + 1, tmp_path / "nobody.svg", seconds=1)
