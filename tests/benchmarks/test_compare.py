"""The comparison: medians, tables and plot, and servers that are measured or say why not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from benchmarks.compare import compare
from benchmarks.comparison.plot import plot
from benchmarks.comparison.results import Comparison, Conditions, Round, Turn
from benchmarks.comparison.round import Plan, measure
from benchmarks.comparison.table import markdown, open_loop, summary
from benchmarks.open_loop.load import OpenLoopResult
from benchmarks.peers.entry import NAMES, Entry, entries
from benchmarks.peers.reference import Device, Reference
from benchmarks.peers.task import PeerTask
from benchmarks.wrk import LoadResult
from data.synthetic import synthetic_jpeg

app = typer.Typer()
app.command()(compare)

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def load(concurrency: int, requests: int, p50_s: float = 0.01, failed: int = 0) -> LoadResult:
    return LoadResult(
        concurrency=concurrency,
        requests=requests,
        seconds=2,
        p50_s=p50_s,
        p90_s=2 * p50_s,
        p99_s=3 * p50_s,
        max_s=4 * p50_s,
        failed=failed,
    )


def offered(rate: float, ok_within: int) -> OpenLoopResult:
    # What a run measures besides is not asked for here.
    values: dict[str, object] = dict.fromkeys(OpenLoopResult.model_fields, 0.0)
    values |= {"priority": None, "failures": {}, "timings": {}, "ok_each_second": ()}
    values |= {"sent": 1000, "ok": 900, "rejected": 60, "expired": 30, "failed": 10}
    values |= {"rate_offered": rate, "seconds": 2, "ok_within": ok_within}
    values |= {"rejected_p99_s": float("nan"), "p50_s": 0.02, "p90_s": 0.03, "p99_s": 0.04}
    return OpenLoopResult.model_validate(values)


@pytest.fixture
def comparison() -> Comparison:
    """Two rounds: ours, a peer with both engines, and one that fails in the second round."""
    rounds = []
    for number in (0, 1):
        failed = Turn(label="mosec", problem="It ended at its start: no | such file")
        turns = (
            Turn(
                label="dermserve",
                start_s=10,
                closed=(load(1, 200), load(64, 900 + 20 * number)),
                open=(offered(250, 480),),
            ),
            Turn(
                label="fastapi",
                start_s=4,
                closed=(load(1, 300), load(64, 600, failed=number)),
                open=(offered(250, 400),),
            ),
            Turn(label="mosec", start_s=3, closed=(load(1, 150),)) if number == 0 else failed,
            Turn(label="fastapi, torch eager", start_s=5, closed=(load(1, 100), load(64, 240))),
        )
        rounds.append(Round(bare_limit=500 - 100 * number, turns=turns))
    return Comparison(
        conditions=Conditions(
            measured_at=datetime(2026, 1, 1, tzinfo=timezone.utc),
            device="a processor",
            precision="bf16",
            cores=2,
            images=70,
            mean_bytes=270_000,
            seconds=2,
            concurrencies=(1, 64),
            rates=(0.5,),
        ),
        labels=("dermserve", "fastapi", "mosec", "fastapi, torch eager"),
        rounds=tuple(rounds),
    )


def test_values_are_medians_over_the_rounds(comparison: Comparison) -> None:
    assert comparison.bare_limit == 450
    assert comparison.closed("dermserve", 64, lambda r: r.rate) == 455
    assert comparison.best_rate("dermserve") == 455
    assert comparison.open("dermserve", 0.5, lambda r: r.goodput) == 240
    assert comparison.failed("fastapi") == 1
    assert comparison.start_s("mosec") == 3
    assert comparison.closed("mosec", 64, lambda r: r.rate) is None
    assert comparison.open("fastapi, torch eager", 0.5, lambda r: r.goodput) is None
    # What no answer had is no number, and does not become the median.
    assert comparison.open("fastapi", 0.5, lambda r: r.rejected_p99_s) is None
    assert comparison.problem("fastapi") is None


def test_the_tables_have_a_row_for_each_server(comparison: Comparison) -> None:
    heads, rows = summary(comparison)
    cells = {row[0]: dict(zip(heads, row, strict=True)) for row in rows}
    assert list(cells) == list(comparison.labels)
    ours = cells["dermserve"]
    assert (ours["req/s at 1"], ours["req/s at 64"], ours["best of the limit"]) == (
        "100",
        "455",
        "1.01",
    )
    assert (ours["p50 ms at 1"], ours["p99 ms at 64"], ours["start s"]) == ("10.0", "30.0", "10.0")
    assert cells["mosec"]["req/s at 64"] == ""
    heads, rows = open_loop(comparison)
    assert [row[0] for row in rows] == ["dermserve", "fastapi"]
    assert dict(zip(heads, rows[0], strict=True))["goodput req/s"] == "240"


def test_the_report_says_what_ours_is_worth_and_what_failed(comparison: Comparison) -> None:
    report = markdown(comparison)
    assert "dermserve at its best: 455 requests/s, 1.52 times the best peer with the same" in report
    assert "3.79 times the best peer out of the box (fastapi, torch eager, 120)" in report
    assert "mosec was not measured, or not to the end: It ended at its start: no | such" in report
    assert "| mosec | append_worker: num | cores |" in report
    for line in report.splitlines():
        if line.startswith("| dermserve |"):
            assert line.count(" | ") in (5, 6, 7, 8)


def test_the_results_come_back_from_json(comparison: Comparison) -> None:
    again = Comparison.model_validate_json(comparison.model_dump_json())
    assert again.best_rate("dermserve") == comparison.best_rate("dermserve")
    assert again.open("dermserve", 0.5, lambda r: r.p50_s) == 0.02


def test_the_plot_is_drawn_whatever_was_measured(comparison: Comparison, tmp_path: Path) -> None:
    nothing = comparison.model_copy(update={"labels": ("mosec",)})
    for number, each in enumerate((comparison, nothing)):
        path = tmp_path / f"{number}.png"
        plot(each, path)
        with Image.open(path) as image:
            image.load()
            colours = image.convert("RGB").getcolors(maxcolors=image.width * image.height)
        assert colours is not None
        assert len(colours) > 10


def plan_of(folder: Path, expected: Sequence[float]) -> Plan:
    (folder / "logs").mkdir()
    image = folder / "nv.jpg"
    image.write_bytes(synthetic_jpeg("nv", 1))
    return Plan(
        files=[image],
        reference=Reference(
            (image.read_bytes(),), {"openvino": [list(expected)]}, Device("a processor", "f32")
        ),
        python=Path(sys.executable),
        cores=1,
        concurrencies=[1],
        shares=(),
        seconds=1,
        folder=folder,
        logs=folder / "logs",
    )


def scripted(script: str) -> Entry:
    """A server that is a Python script; it is told its port."""

    def command(python: Path, task: PeerTask, spare_port: int) -> list[str]:
        return [str(python), "-c", script, str(task.port)]

    return Entry("scripted", command, "/")


ANSWERS = """
import http.server, json, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        codes = "akiec bcc bkl df mel nv vasc".split()
        body = json.dumps({"probabilities": dict.fromkeys(codes, 1 / 7)}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    steps: list[str] = []
    turn = measure(
        scripted("raise SystemExit('no such model')"), plan_of(tmp_path, [1 / 7] * 7), steps.append
    )
    assert turn.problem == "It ended at its start: no such model"
    assert (turn.start_s, turn.closed) == (None, ())
    assert steps == ["starts"]


def test_a_server_that_answers_wrongly_is_not_timed(tmp_path: Path) -> None:
    turn = measure(scripted(ANSWERS), plan_of(tmp_path, [1, 0, 0, 0, 0, 0, 0]), lambda step: None)
    assert turn.problem is not None
    assert turn.problem.startswith("Its probabilities are wrong: [0.143, ")
    assert turn.closed == ()


@needs_wrk
def test_a_server_that_answers_rightly_is_timed(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [1 / 7] * 7)
    steps: list[str] = []
    turn = measure(scripted(ANSWERS), plan, steps.append)
    assert turn.problem is None
    assert turn.start_s is not None
    (result,) = turn.closed
    assert result.requests > 0
    assert len(steps) == plan.steps(scripted(ANSWERS))


def test_the_defaults_take_about_25_minutes(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, [])
    every = entries(NAMES, ["openvino", "torch-eager"])
    default = Plan(**{**vars(plan), "concurrencies": [1, 16, 64, 256], "shares": (0.5, 1.5)})
    assert plan.estimate_s(every) < default.estimate_s(every)
    assert 3 * Plan(**{**vars(default), "seconds": 3}).estimate_s(every) < 27 * 60


@needs_wrk
def test_a_peer_is_compared_from_start_to_report(tmp_path: Path) -> None:
    # FastAPI is installed with us, so that our own interpreter can be the peers'.
    before = dict(os.environ)
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(3):
        (images / f"{seed}.jpg").write_bytes(synthetic_jpeg("nv", seed))
    output = tmp_path / "report"
    result = CliRunner().invoke(
        app,
        [
            *("--peers", "fastapi", "--engine", "openvino", "--concurrency", "2"),
            *("--rates", "0.1", "--seconds", "1", "--rounds", "1", "--images", str(images)),
            *("--peers-python", sys.executable, "--output", str(output)),
        ],
        env={"COLUMNS": "200"},
    )
    assert result.exit_code == 0, result.output
    assert "Servers: 1. Rounds: 1. Minutes: about 1." in result.output
    measured = Comparison.model_validate(json.loads((output / "results.json").read_text()))
    assert measured.problem("fastapi") is None
    assert (measured.best_rate("fastapi") or 0) > 0
    assert (measured.open("fastapi", 0.1, lambda r: r.ok) or 0) > 0
    assert measured.failed("fastapi") == 0
    assert (output / "plot.png").stat().st_size > 10_000
    assert "| fastapi |" in (output / "report.md").read_text()
    assert dict(os.environ) == before


def test_ours_cannot_be_asked_for_torch_eager() -> None:
    result = CliRunner().invoke(app, ["--peers", "dermserve", "--engine", "torch-eager"])
    assert "ours has no such form" in str(result.exception)
