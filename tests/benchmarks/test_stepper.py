"""The stepper: when a step is stable, and a run against a real server."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from typer.testing import CliRunner

from benchmarks import stepper
from benchmarks.number_list import numbers, whole_numbers
from benchmarks.open_loop.load import OpenLoopResult, Stream
from benchmarks.open_loop.tally import Tally
from benchmarks.stepper_figure import steps_figure
from benchmarks.steps import TOLERANCE, WINDOWS, Step, Steps, agree, run_step, steps_table
from tests.benchmarks.small_server import small_server

app = typer.Typer()
app.command()(stepper.main)


def window(goodput: int, latency_s: float = 0.01, *, refused: int = 0) -> OpenLoopResult:
    """One second in which so many answers came."""
    tally = Tally(Stream(rate=goodput + refused or 1), begin_s=0, end_s=1)
    for _ in range(goodput):
        tally.answered(0.0, latency_s, 200, False, b'{"timings": {"queue": 0.001}}')
    for _ in range(refused):
        tally.answered(0.0, 0.001, 503, True, b"{}")
    return tally.result(generator_cpu_s=0.0)


def scripted(windows: list[OpenLoopResult]) -> Callable[[float, int], OpenLoopResult]:
    return lambda rate, number: windows[number]


def test_a_step_ends_when_three_windows_agree() -> None:
    windows = [window(50), window(100), window(104), window(97), window(500)]
    step = run_step(scripted(windows), 100, most_windows=5)
    assert step.stable
    assert step.windows == tuple(windows[:4])
    assert step.median(lambda w: w.goodput) == 100


def test_latencies_have_to_agree_too() -> None:
    windows = [window(100, 0.01), window(100, 0.02), window(100, 0.03)]
    assert not run_step(scripted(windows), 100, most_windows=3).stable


def test_a_step_that_is_never_stable_says_so() -> None:
    windows = [window(goodput, refused=10) for goodput in (10, 20, 40, 80, 160)]
    step = run_step(scripted(windows), 100, most_windows=4)
    assert not step.stable
    assert len(step.windows) == 4
    assert step.total(lambda w: w.rejected) == 10 * WINDOWS


def test_a_server_that_answers_nothing_is_stable_in_that() -> None:
    step = run_step(scripted([window(0, refused=10)] * 3), 10, most_windows=8)
    assert (step.stable, len(step.windows)) == (True, 3)
    assert step.median(lambda w: w.goodput) == 0
    assert math.isnan(step.median(lambda w: w.p50_s))
    assert math.isnan(step.stage_s("queue"))


@given(st.lists(st.integers(0, 300), min_size=3, max_size=3), st.randoms())
def test_agreement_is_nearness_to_the_mean(counts: list[int], random: Any) -> None:
    windows = [window(count) for count in counts]
    mean = sum(counts) / 3
    # Within a hair of the tolerance, rounding decides.
    distance = max(abs(count - mean) for count in counts)
    if not math.isclose(distance, TOLERANCE * mean, rel_tol=1e-9):
        answered = all(counts) or not any(counts)
        assert agree(windows) == (distance <= TOLERANCE * mean and answered)
    shuffled = random.sample(windows, 3)
    assert agree(windows) == agree(shuffled)


def test_a_report_survives_json() -> None:
    steps = (
        Step(rate=10, windows=(window(10),) * 3, stable=True),
        Step(rate=50, windows=(window(0, refused=50),) * 3, stable=True),
    )
    report = Steps(url="http://localhost", capacity=None, steps=steps)
    text = report.model_dump_json()
    assert "NaN" not in text
    assert repr(Steps.model_validate_json(text)) == repr(report)
    assert steps_table(report).row_count == 2


def test_the_figure_says_where_the_most_was_answered() -> None:
    steps = tuple(
        Step(rate=rate, windows=(window(goodput),) * 3, stable=True)
        for rate, goodput in ((50, 50), (100, 90), (200, 80))
    )
    figure = steps_figure(Steps(url="", capacity=95.0, steps=steps))
    assert isinstance(figure, Figure)
    assert "90 answers a second, when 100 requests" in figure.get_suptitle()
    answered = {line.get_label(): line for line in figure.axes[0].get_lines()}["answered"]
    assert list(answered.get_ydata()) == [50, 90, 80]


def test_a_run_against_a_server(tmp_path: Path) -> None:
    with small_server() as url:
        command = ["--url", url, "--rates", "60", "--window-s", "1", "--warmup-s", "0"]
        command += ["--most-windows", "3", "--output", str(tmp_path / "new")]
        result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report = Steps.model_validate_json((tmp_path / "new" / "steps.json").read_text())
    (step,) = report.steps
    assert (step.rate, len(step.windows)) == (60, 3)
    assert all(each.ok == 60 for each in step.windows)
    assert step.stage_s("preprocessing") == 0.001
    assert (tmp_path / "new" / "steps.png").read_bytes().startswith(b"\x89PNG")
    assert "1.0" in result.output  # ms of preprocessing


@pytest.mark.parametrize("text", ["", "1,", "a", "1;2", "0", "-1", "inf", "nan"])
def test_what_is_no_list_of_numbers_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="no list of positive numbers"):
        numbers(text)


def test_lists_of_numbers() -> None:
    assert numbers("0.5, 1,2") == [0.5, 1.0, 2.0]
    assert whole_numbers("1,16,64") == [1, 16, 64]
    with pytest.raises(typer.BadParameter, match="no list of whole numbers"):
        whole_numbers("1.5")
