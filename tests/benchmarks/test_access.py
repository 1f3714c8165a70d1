"""The cost of access: what its table says of two kinds of server."""

from __future__ import annotations

from rich.console import Console

from benchmarks.access import table
from benchmarks.wrk import LoadResult


def loaded(requests: int) -> LoadResult:
    return LoadResult(
        concurrency=64,
        requests=requests,
        seconds=10,
        p50_s=0.1,
        p90_s=0.2,
        p99_s=0.3,
        max_s=0.4,
        failed=0,
    )


def test_ratios_are_of_the_same_round() -> None:
    console = Console(record=True, width=120)
    # The machine is half as fast in the second round, which must not count.
    console.print(
        table([loaded(2000), loaded(1000), loaded(2000)], [loaded(1980), loaded(980), loaded(1900)])
    )
    said = " ".join(console.export_text().split())
    assert "With a key 0.980 of what it is without, in the median of 3 rounds" in said
    assert "(0.950 to 0.990)" in said
    assert "200.0" in said
    assert "190.0" in said
