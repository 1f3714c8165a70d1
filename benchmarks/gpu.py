"""A GPU: images a second for every way to launch a batch, beside its limits and through Serve."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import httpx
import torch
import typer
from rich.progress import track

from benchmarks.answer import answer_of
from benchmarks.calling_rate import calling_rate
from benchmarks.command import run
from benchmarks.gpu_rates.decoding import compare_decoders
from benchmarks.gpu_rates.figure import gpu_figure
from benchmarks.gpu_rates.limits import compute_limits, copy_limits
from benchmarks.gpu_rates.results import (
    GpuResults,
    Rate,
    RatePath,
    rates_table,
    sentences,
    served_table,
)
from benchmarks.images import image_files
from benchmarks.number_list import whole_numbers
from benchmarks.screen import screen
from benchmarks.started_server import StartedServer, use_own_token
from benchmarks.wrk import LoadFailed, LoadResult, run_wrk
from models.errors import InvalidConfiguration
from models.package import ModelPackage
from models.preprocessing import decode_image
from models.registry_process import resolve
from serve_app.engines.base import Engine, Images, warm_up
from serve_app.engines.torch_cuda import Launch, TorchCudaEngine, cuda_device
from training.figure_style import png

Call = Callable[[], int]

CONFIG = Path("configs/gpu.yaml")

_WARM_UP_S = 0.2
_NVJPEG_BATCH = 32


def main(
    images: Annotated[
        Path | None, typer.Option(help="Folder of .jpg files; synthetic ones if not given.")
    ] = None,
    batches: Annotated[str, typer.Option(help="Batch sizes, with commas.")] = "1,2,4,8,16,32,64",
    launches: Annotated[
        str,
        typer.Option(help="Of eager, graphs and compile, with commas; to compile takes minutes."),
    ] = "eager,graphs",
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of one measurement.")] = 0.5,
    rounds: Annotated[int, typer.Option(min=1, help="Alternating; medians are shown.")] = 5,
    serving: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Also load a server of its own.")
    ] = True,
    config: Annotated[Path, typer.Option(help="Serve configuration of that server.")] = CONFIG,
    concurrency: Annotated[str, typer.Option(help="Connections, with commas.")] = "1,16,64,256",
    load_seconds: Annotated[int, typer.Option(help="Length of one load on the server.")] = 8,
    output: Annotated[Path | None, typer.Option(help="Folder for gpu.json and gpu.png.")] = None,
) -> None:
    """Measure the GPU that this process sees, and a server that runs on it.

    An engine is called by as many threads as it has lanes, with images in ordinary memory. The
    copy limit is the same bytes from pinned memory and nothing else, the compute limit the same
    graphs without copies.

    Example: python -m benchmarks.gpu --images ~/HAM10000/samples --output gpu
    """
    sizes, ways = whole_numbers(batches), _launches(launches)
    connections = whole_numbers(concurrency)
    require_gpu()
    console = screen()
    with tempfile.TemporaryDirectory() as scratch:
        files = image_files(images, Path(scratch))
        served: list[LoadResult] = []
        if serving:  # first, while nothing else is on the GPU
            with console.status("Loading the server"):
                served = serve(config, files, connections, load_seconds, Path(scratch))
        jpegs = [path.read_bytes() for path in files]
        results = measure(jpegs, sizes, ways, rounds, seconds, served)
    console.print(rates_table(results))
    if served:
        console.print(served_table(served))
    for line in sentences(results):
        console.print(line)
    if output is not None:
        write(results, output)
        console.print(f"Written to {output}")


def require_gpu() -> None:
    """Raise `InvalidConfiguration` with what is missing, if there is no GPU."""
    if not torch.cuda.is_available():
        raise InvalidConfiguration(
            "This benchmark needs an NVIDIA GPU, its driver and a build of torch with CUDA, and "
            "torch sees no GPU here: run it on a machine with one."
        )


def measure(
    jpegs: Sequence[bytes],
    sizes: Sequence[int],
    ways: Sequence[Launch],
    rounds: int,
    seconds: float,
    served: Sequence[LoadResult],
) -> GpuResults:
    """Everything but the server, on the champion's weights."""
    device = cuda_device()
    package = ModelPackage.load(resolve("champion"))
    pixels = [decode_image(jpeg) for jpeg in jpegs]
    engines: dict[Launch, Engine] = {}
    memory: dict[str, int] = {}
    for way in track(ways, "Preparing"):
        before = _reserved_bytes()
        engines[way] = TorchCudaEngine(package, max(sizes), way)
        warm_up(engines[way])
        memory[way] = _reserved_bytes() - before
    first = next(iter(engines.values()))
    dtype = torch.bfloat16 if first.info.precision == "bf16" else torch.float32
    calls: dict[tuple[RatePath, int], Sequence[Call]] = {}
    for size in sizes:
        batch = [pixels[index % len(pixels)] for index in range(size)]
        calls["copy limit", size] = copy_limits(device, size)
        calls["compute limit", size] = compute_limits(package, device, size, dtype)
        for way, engine in engines.items():
            calls[way, size] = engine_calls(engine, batch)
    rates = alternate(calls, rounds, seconds)
    decoding = compare_decoders(jpegs, first, batch=_NVJPEG_BATCH, rounds=rounds, seconds=seconds)
    return GpuResults(
        device=first.info.device,
        torch=torch.__version__,
        cuda=torch.version.cuda or "",
        precision=first.info.precision,
        lanes=first.info.lanes,
        seconds=seconds,
        rates=tuple(rates),
        memory_bytes=memory,
        decoding=decoding,
        served=tuple(served),
    )


def engine_calls(engine: Engine, batch: Images) -> list[Call]:
    """A call with the batch for each lane."""
    return [partial(_forward, engine, batch)] * engine.info.lanes


def alternate(
    calls: dict[tuple[RatePath, int], Sequence[Call]], rounds: int, seconds: float
) -> list[Rate]:
    """Measure all in turn, round after round, so that what slows the machine slows all alike."""
    measured: dict[tuple[RatePath, int], list[float]] = {key: [] for key in calls}
    for each in track(calls.values(), "Warming up"):
        calling_rate(each, min(_WARM_UP_S, seconds))
    for _ in track(range(rounds), "Measuring"):
        for key, each in calls.items():
            measured[key].append(calling_rate(each, seconds))
    return [
        Rate(path=path, batch=batch, images_per_s=tuple(values))
        for (path, batch), values in measured.items()
    ]


def serve(
    config: Path,
    files: Sequence[Path],
    connections: Sequence[int],
    seconds: int,
    folder: Path,
    engine: str = "torch-cuda",
) -> list[LoadResult]:
    """Start a server and load it with each number of connections.

    Raises:
        LoadFailed: if it does not start, or runs another engine.
    """
    use_own_token()
    with StartedServer(config, folder) as server:
        running = answer_of(httpx.get(f"{server.url}/health/ready", timeout=30))["engine"]["name"]
        if running != engine:
            raise LoadFailed(
                f"{config} runs the engine {running}. Set `engine: {engine}` and "
                "`classifier_gpus: 1` in its args."
            )
        predict = f"{server.url}/predict"
        run_wrk(predict, files, concurrency=16, seconds=3)  # warm-up
        return [
            run_wrk(predict, files, concurrency=count, seconds=seconds) for count in connections
        ]


def write(results: GpuResults, folder: Path) -> None:
    """Write `gpu.json` and `gpu.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "gpu.json").write_text(results.model_dump_json(indent=2) + "\n")
    (folder / "gpu.png").write_bytes(png(gpu_figure(results)))


def _launches(text: str) -> list[Launch]:
    known: dict[str, Launch] = {way: way for way in get_args(Launch)}
    try:
        return list(dict.fromkeys(known[part.strip()] for part in text.split(",")))
    except KeyError as error:
        raise typer.BadParameter(f"{error} is none of {', '.join(known)}") from error


def _forward(engine: Engine, batch: Images) -> int:
    engine.forward(batch)
    return len(batch)


def _reserved_bytes() -> int:
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_reserved())


if __name__ == "__main__":
    run(main)
