"""The GPU benchmark: what it measures by, what it shows, and what it says without a GPU."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt
import pytest
import torch
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from benchmarks import gpu
from benchmarks.calling_rate import calling_rate
from benchmarks.gpu_rates import decoding, limits
from benchmarks.gpu_rates.decoding import agreement
from benchmarks.gpu_rates.figure import gpu_figure
from benchmarks.gpu_rates.results import (
    Agreement,
    Decoding,
    GpuResults,
    Rate,
    RatePath,
    rates_table,
    sentences,
    served_table,
)
from benchmarks.wrk import LoadFailed, LoadResult
from cluster.server import LocalServer
from models.package import ModelPackage
from models.preprocessing import decode_image
from serve_app.engines import create_engine
from serve_app.engines.base import Engine, warm_up
from tests.conftest import PROJECT
from tests.serve_app.engines.emulated_cuda import CPU, emulate_cuda
from training.figure_style import png

app = typer.Typer()
app.command()(gpu.main)

MEASURED: dict[RatePath, dict[int, tuple[float, ...]]] = {
    "copy limit": {1: (100.0, 300.0, 200.0), 8: (4000.0,)},
    "compute limit": {1: (150.0,), 8: (5000.0,)},
    "eager": {1: (50.0,), 8: (400.0,)},
    "graphs": {1: (120.0,), 8: (3000.0,)},
}
SERVED = LoadResult(
    concurrency=16,
    requests=1002,
    seconds=2.0,
    p50_s=0.0123,
    p90_s=0.02,
    p99_s=0.0456,
    max_s=0.1,
    failed=2,
)
RESULTS = GpuResults(
    device="a GPU",
    torch="2.9",
    cuda="12.8",
    precision="bf16",
    lanes=2,
    seconds=0.5,
    rates=tuple(
        Rate(path=path, batch=batch, images_per_s=values)
        for path, batches in MEASURED.items()
        for batch, values in batches.items()
    ),
    memory_bytes={"eager": 2**20, "graphs": 3 * 2**20},
    decoding=Decoding(
        batch=32,
        nvjpeg_per_s=(900.0, 1000.0, 1100.0),
        cpu_per_s=(700.0,),
        cores=2,
        agreement=Agreement(
            images=7,
            mean_difference=0.5,
            worst_difference=1.25,
            same_class=0.875,
            logit_difference=0.33,
        ),
    ),
    served=(SERVED,),
)


@pytest.fixture(scope="module")
def engine(champion: ModelPackage) -> Engine:
    engine = create_engine(champion, "openvino", threads=2)
    warm_up(engine)
    return engine


def _shown(*parts: object) -> str:
    console = Console(file=io.StringIO(), width=200)
    for part in parts:
        console.print(part)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_without_a_gpu_it_says_what_it_needs() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, "-m", "benchmarks.gpu"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: This benchmark needs an NVIDIA GPU")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--launches", "graphs,fast"), ("--batches", "1,none"), ("--concurrency", "0")],
)
def test_options_that_mean_nothing_are_refused(option: str, value: str) -> None:
    result = CliRunner().invoke(app, [option, value], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert value.split(",")[-1] in result.output


def test_calls_are_made_at_the_same_time_and_counted() -> None:
    meeting = threading.Barrier(3, timeout=30)
    calls: list[int] = []

    def call(images: int) -> int:
        if images not in calls:
            meeting.wait()  # breaks if they come one after the other
        calls.append(images)
        return images

    rate = calling_rate([partial(call, images) for images in (1, 10, 100)], seconds=0.05)
    assert sorted(set(calls)) == [1, 10, 100]
    assert 0 < rate <= sum(calls) / 0.05


def test_a_call_that_fails_ends_the_measurement() -> None:
    def fail() -> int:
        raise RuntimeError("out of order")

    with pytest.raises(RuntimeError, match="out of order"):
        calling_rate([lambda: 1, fail], seconds=0.01)


def test_paths_take_turns(engine: Engine, lesions: npt.NDArray[np.uint8]) -> None:
    order: list[str] = []

    def noted(name: str) -> int:
        if order[-1:] != [name]:
            order.append(name)
        return 1

    engines = {("graphs", size): gpu.engine_calls(engine, list(lesions[:size])) for size in (1, 4)}
    assert [len(calls) for calls in engines.values()] == [2, 2]
    rates = gpu.alternate(
        {
            ("copy limit", 1): [partial(noted, "copy")],
            ("compute limit", 1): [partial(noted, "compute")],
            **engines,  # type: ignore[dict-item]
        },
        rounds=3,
        seconds=0.02,
    )
    assert order == ["copy", "compute"] * 4  # once to warm up
    assert [(rate.path, rate.batch) for rate in rates] == [
        ("copy limit", 1),
        ("compute limit", 1),
        ("graphs", 1),
        ("graphs", 4),
    ]
    assert all(len(rate.images_per_s) == 3 and min(rate.images_per_s) > 0 for rate in rates)


def test_the_table_holds_graphs_to_the_lower_limit() -> None:
    lines = _shown(rates_table(RESULTS)).splitlines()
    one = next(line for line in lines if line.startswith("│ 1 "))
    eight = next(line for line in lines if line.startswith("│ 8 "))
    assert [cell.strip() for cell in one.split("│")[2:-1]] == ["200", "150", "50", "120", "0.80"]
    assert [cell.strip() for cell in eight.split("│")[2:-1]][-1] == "0.75"


def test_paths_that_were_left_out_have_no_column() -> None:
    eager = RESULTS.model_copy(update={"rates": RESULTS.rates[4:6]})
    text = _shown(rates_table(eager))
    assert "compile" not in text
    assert "copy" not in text
    assert "400" in text


def test_the_rest_is_told_in_words() -> None:
    text = _shown(served_table(RESULTS.served), *sentences(RESULTS))
    shown = ("16", "500", "12.3", "45.6", "a GPU, bf16", "graphs 3 MiB", "nvJPEG 1000", "87.5%")
    assert [part for part in shown if part not in text] == []


@pytest.mark.parametrize("update", [{}, {"served": (), "decoding": None}])
def test_results_are_written_and_read_again(tmp_path: Path, update: dict[str, object]) -> None:
    results = RESULTS.model_copy(update=update)
    gpu.write(results, tmp_path / "new")
    text = (tmp_path / "new" / "gpu.json").read_text()
    assert GpuResults.model_validate_json(text) == results
    with Image.open(tmp_path / "new" / "gpu.png") as picture:
        assert picture.size[0] == 1440
        assert len(picture.getcolors(2**24) or []) > 50


def test_the_figure_draws_every_path() -> None:
    figure = gpu_figure(RESULTS)
    above, below = figure.axes
    labels = [line.get_label() for line in above.lines]
    assert labels == [*MEASURED, "nvJPEG", "decoding on 2 cores"]
    copies = above.lines[0]
    assert list(copies.get_xdata()) == [1, 8]
    assert list(copies.get_ydata()) == [200.0, 4000.0]
    assert list(below.lines[0].get_ydata()) == [500.0]
    png(figure)


def test_the_same_pixels_agree(engine: Engine, lesions: npt.NDArray[np.uint8]) -> None:
    same = agreement(lesions, lesions, engine)
    assert same == Agreement(
        images=7, mean_difference=0, worst_difference=0, same_class=1, logit_difference=0
    )
    brighter = np.minimum(lesions, 250) + np.uint8(5)
    brighter[0] = lesions[0]
    other = agreement(brighter, lesions, engine)
    assert 3 < other.mean_difference < other.worst_difference <= 5
    assert other.logit_difference > 0
    mixed = agreement(np.roll(lesions, 1, axis=0), lesions, engine)
    assert mixed.same_class < 1


class _Running:
    """A `StartedServer` that runs already."""

    url = ""

    def __init__(self, config: Path, folder: Path) -> None:
        pass

    def __enter__(self) -> _Running:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


@pytest.fixture
def running(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Running, "url", server.url)
    monkeypatch.setattr(gpu, "StartedServer", _Running)
    monkeypatch.setattr(gpu, "use_own_token", lambda: None)


def test_a_server_is_loaded_with_each_number_of_connections(
    running: None, jpeg: bytes, tmp_path: Path
) -> None:
    image = tmp_path / "image.jpg"
    image.write_bytes(jpeg)
    found = gpu.serve(gpu.CONFIG, [image], [1, 4], 1, tmp_path, engine="openvino")
    assert [result.concurrency for result in found] == [1, 4]
    assert all(result.requests > 0 and result.failed == 0 for result in found)


def test_a_server_with_another_engine_is_not_measured(running: None, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"engine openvino.*classifier_gpus: 1"):
        gpu.serve(gpu.CONFIG, [], [1], 1, tmp_path)


def test_the_configuration_is_there_and_asks_for_a_gpu() -> None:
    text = (PROJECT / gpu.CONFIG).read_text()
    assert "engine: torch-cuda" in text
    assert "classifier_gpus: 1" in text


class _Decoder:
    """nvJPEG's place, taken by the decoder of the training contract."""

    def decode(self, images: Sequence[bytes]) -> torch.Tensor:
        return torch.from_numpy(np.stack([decode_image(image) for image in images]))


def test_the_whole_command_runs_where_cuda_is_emulated(
    jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulate_cuda(monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("synchronize", "empty_cache", "memory_reserved"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    monkeypatch.setattr(gpu, "cuda_device", lambda: CPU)
    monkeypatch.setattr(decoding, "NvjpegDecoder", _Decoder)
    monkeypatch.setattr(limits, "BURST", 1)
    (tmp_path / "image.jpg").write_bytes(jpeg)
    result = CliRunner().invoke(
        app,
        [
            *("--images", str(tmp_path), "--batches", "1,2", "--launches", "eager,graphs"),
            *("--rounds", "2", "--seconds", "0.1", "--no-serve", "--output", str(tmp_path / "out")),
        ],
        catch_exceptions=False,
    )
    assert result.exit_code == 0, result.output
    assert "graphs of the limit" in result.output
    found = GpuResults.model_validate_json((tmp_path / "out" / "gpu.json").read_text())
    assert [(rate.path, rate.batch) for rate in found.rates] == [
        (path, batch)
        for batch in (1, 2)
        for path in ("copy limit", "compute limit", "eager", "graphs")
    ]
    assert all(len(rate.images_per_s) == 2 and min(rate.images_per_s) > 0 for rate in found.rates)
    assert (found.device, found.precision, found.served) == ("emulated", "f32", ())
    assert found.memory_bytes == {"eager": 0, "graphs": 0}
    assert found.decoding is not None
    assert found.decoding.agreement.mean_difference == 0
    assert found.decoding.agreement.same_class == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_everything_is_measured(jpeg: bytes, tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(jpeg)
    result = CliRunner().invoke(
        app,
        [
            *("--images", str(tmp_path), "--batches", "1,4", "--seconds", "0.1"),
            *("--rounds", "2", "--no-serve", "--output", str(tmp_path / "out")),
        ],
    )
    assert result.exit_code == 0, result.output
    found = GpuResults.model_validate_json((tmp_path / "out" / "gpu.json").read_text())
    assert {(rate.path, rate.batch) for rate in found.rates} == {
        (path, batch)
        for path in ("copy limit", "compute limit", "eager", "graphs", "compile")
        for batch in (1, 4)
    }
    assert all(min(rate.images_per_s) > 0 for rate in found.rates)
    assert found.decoding is not None
    assert found.decoding.agreement.mean_difference < 3
    assert found.memory_bytes["graphs"] > 0
