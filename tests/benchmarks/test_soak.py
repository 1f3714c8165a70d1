"""A soak's report: what grows is told from what only moves."""

from __future__ import annotations

import io
import time

import numpy as np
import pytest
from PIL import Image

from benchmarks.faults.tally import Tally
from benchmarks.faults.traffic import TrafficReport
from benchmarks.memory_trend import LEAST_BLOCKS, trend_of
from benchmarks.pages_round import Round
from benchmarks.process_tree import MIB
from benchmarks.soak_figure import soak_figure
from benchmarks.soak_report import COLUMNS, ProcessMemory, SoakReport, markdown, rows
from tests.benchmarks.breakable_server import breakable_server
from training.figure_style import png

TIMES = np.arange(0, 1800, 5.0)
GOOD = Tally(sent=10, failures={}, longest_gap_s=0.1, failed_until_s=None)
TRAFFIC = TrafficReport(
    plain=GOOD, patient=GOOD, attempts=10, uploads=GOOD, acknowledged=3, found=3
)
BAD = Tally(sent=10, failures={"500 internal": 2}, longest_gap_s=1, failed_until_s=1)


def _sizes(mib_per_h: float, noise_mib: float = 0.5, step_mib: float = 0.0) -> list[int]:
    rng = np.random.default_rng(1)
    size = 100 + mib_per_h * TIMES / 3600 + rng.normal(0, noise_mib, len(TIMES))
    size[len(TIMES) // 10 :] += step_mib
    return [int(each) for each in size * MIB]


@pytest.mark.parametrize(
    ("mib_per_h", "grows", "steady"),
    [(0, False, True), (-20, False, True), (20, True, False), (2, False, False)],
)
def test_a_trend_is_told_from_noise(mib_per_h: float, grows: bool, steady: bool) -> None:
    trend = trend_of(TIMES.tolist(), _sizes(mib_per_h))
    assert trend is not None
    assert trend.low <= mib_per_h * MIB <= trend.high
    assert (trend.grows, trend.steady) == (grows, steady)


def test_a_single_step_is_no_trend() -> None:
    trend = trend_of(TIMES.tolist(), _sizes(0, noise_mib=0.1, step_mib=30))
    assert trend is not None
    assert not trend.grows


def test_few_samples_say_nothing() -> None:
    few = LEAST_BLOCKS - 1
    assert trend_of(TIMES[:few].tolist(), _sizes(50)[:few]) is None


def _process(role: str, pid: int, mib_per_h: float, samples: slice) -> ProcessMemory:
    return ProcessMemory(
        role=role,
        pid=pid,
        at_s=tuple(TIMES[samples]),
        uss_bytes=tuple(_sizes(mib_per_h)[samples]),
    )


def test_the_report_names_what_grows_and_leaves_out_the_warm_up() -> None:
    report = SoakReport(
        seconds=1800,
        warm_up_s=300,
        traffic=TRAFFIC,
        pages={"/health": GOOD},
        processes=(
            _process("raylet", 7, 0, slice(None)),
            _process("classifier", 9, 40, slice(None)),
            _process("ingress", 8, 0, slice(None)),
            _process("ingress", 5, 90, slice(0, 20)),  # ended in the warm-up
            _process("explainer", 6, 90, slice(355, 360)),
        ),
    )
    assert [(each.role, each.pid) for each in report.measured] == [
        ("ingress", 8),
        ("classifier", 9),
        ("explainer", 6),
        ("raylet", 7),
    ]
    assert all(each.at_s[0] >= 300 for each in report.measured)
    assert [each.pid for each in report.growing] == [9]
    assert report.verdict.startswith("classifier grows; of 1 it is too early to say. Of 10 ")
    assert [row[-1] for row in rows(report)] == ["steady", "grows", "too short", "steady"]
    assert all(len(row) == len(COLUMNS) for row in rows(report))
    assert "| classifier | 9 |" in markdown(report)
    picture = Image.open(io.BytesIO(png(soak_figure(report))))
    assert picture.width > 1000


@pytest.mark.parametrize("kind", ["plain", "patient", "uploads", "pages"])
def test_no_failure_goes_unnoticed(kind: str) -> None:
    traffic = TRAFFIC.model_copy(update={} if kind == "pages" else {kind: BAD})
    pages = {"/health": GOOD, "/metrics": BAD if kind == "pages" else GOOD}
    report = SoakReport(seconds=60, warm_up_s=15, traffic=traffic, pages=pages, processes=())
    assert report.failed == 2
    said = {
        "plain": "Of 10 predictions 2 failed",
        "patient": "of 10 with retries 2,",
        "uploads": "of 10 uploads 2,",
        "pages": "of 20 other requests 2;",
    }
    assert [each for each, words in said.items() if words in report.verdict] == [kind]
    assert ("| /metrics | 10 | 2 (2 x 500 internal) |" in markdown(report)) == (kind == "pages")


def test_a_page_that_fails_is_counted_and_hides_no_other() -> None:
    with breakable_server() as server:
        server.broken.add("/metrics")
        server.deaf.add("/uploads")
        with Round(server.url, period_s=0.01) as pages:
            deadline = time.monotonic() + 30
            while not pages.tallies()["/predict/batch"].sent and time.monotonic() < deadline:
                time.sleep(0.01)
    tallies = pages.tallies()
    assert all(each.sent for each in tallies.values())
    assert {path for path, each in tallies.items() if each.failed} == {"/metrics", "/uploads"}
    assert set(tallies["/metrics"].failures) == {"500 without a code"}
    assert set(tallies["/uploads"].failures) == {"RemoteProtocolError"}
