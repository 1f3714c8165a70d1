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
SERVER = f"""
import sys
print(flush=True)
for line in sys.stdin:
    exec({BURN!r})
    print(flush=True)
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
    with subprocess.Popen(
        [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdout.readline()  # it has started

        def burn() -> LoadResult:
            print(file=server.stdin, flush=True)
            subprocess.run([sys.executable, "-c", BURN], check=True)
            server.stdout.readline()
            return load()

        costs, busiest = _measure(ProcessTree([server.pid]), burn)
        server.communicate("")
    # Half a second to ten requests, in the coarse ticks of the clock of processes.
    assert costs.server_ms == pytest.approx(50, rel=0.2)
    # The generator's process has also to start.
    assert 40 <= costs.generator_ms <= 200
    assert costs.available_ms == 1e3 * costs.cores * 2 / 10
    assert busiest[0][1] == server.pid


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
