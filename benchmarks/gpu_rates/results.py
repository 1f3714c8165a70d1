"""What the GPU benchmark found: images a second on each path, and what they were measured with."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from benchmarks.wrk import LoadResult

RatePath = Literal["copy limit", "compute limit", "eager", "graphs", "compile"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Frozen):
    """One path with one batch size."""

    path: RatePath
    """`copy limit`: pinned memory to the GPU, and nothing else. `compute limit`: graphs replayed
    without copies. The others are engines, from pixels to answers."""
    batch: int
    images_per_s: tuple[float, ...]
    """One for each round."""

    @property
    def median(self) -> float:
        return statistics.median(self.images_per_s)


class Agreement(_Frozen):
    """How far pixels are from those that the model was trained on, and what that does."""

    images: int
    mean_difference: float
    """Grey levels, of 255, over all values."""
    worst_difference: float
    """The same of the worst image."""
    same_class: float
    """Share of images whose most likely class is the same."""
    logit_difference: float
    """Largest, over all images and classes."""


class Decoding(_Frozen):
    """JPEG to the model's input: on the GPU, and on this machine's cores as serving does it."""

    batch: int
    """JPEGs in one list for nvJPEG."""
    nvjpeg_per_s: tuple[float, ...]
    """One for each round, as below."""
    cpu_per_s: tuple[float, ...]
    cores: int
    agreement: Agreement


class GpuResults(_Frozen):
    """One run of the benchmark."""

    device: str
    torch: str
    cuda: str
    precision: str
    lanes: int
    seconds: float
    """Of one measurement."""
    rates: tuple[Rate, ...]
    memory_bytes: dict[str, int]
    """On the GPU, that an engine of each launch takes beside what torch itself holds."""
    decoding: Decoding | None
    served: tuple[LoadResult, ...]
    """Whole requests through Serve; empty if that was left out."""

    def median(self, path: RatePath, batch: int) -> float | None:
        """Images a second; None if that was not measured."""
        found = [rate.median for rate in self.rates if (rate.path, rate.batch) == (path, batch)]
        return found[0] if found else None


def paths_of(rates: Sequence[Rate]) -> list[RatePath]:
    """The paths that were measured, in the order in which they were."""
    return list(dict.fromkeys(rate.path for rate in rates))


def rates_table(results: GpuResults) -> Table:
    """A row for each batch size, a column for each path, and what of the limits graphs reach."""
    paths = paths_of(results.rates)
    table = Table("images", *paths, "graphs of the limit", title="images/s")
    for batch in dict.fromkeys(rate.batch for rate in results.rates):
        cells = [results.median(path, batch) for path in paths]
        limits = [results.median("copy limit", batch), results.median("compute limit", batch)]
        graphs = results.median("graphs", batch)
        known = [limit for limit in limits if limit is not None]
        share = "" if graphs is None or not known else f"{graphs / min(known):.2f}"
        table.add_row(str(batch), *("" if c is None else f"{c:.0f}" for c in cells), share)
    return table


def served_table(served: Sequence[LoadResult]) -> Table:
    """A row for each number of connections."""
    table = Table("connections", "requests/s", "p50 ms", "p99 ms", "failed", title="Through Serve")
    for result in served:
        times = (f"{1e3 * seconds:.1f}" for seconds in (result.p50_s, result.p99_s))
        table.add_row(str(result.concurrency), f"{result.rate:.0f}", *times, str(result.failed))
    return table


def sentences(results: GpuResults) -> list[str]:
    """What stands under the tables."""
    lines = [
        f"{results.device}, {results.precision}, torch {results.torch}, CUDA {results.cuda}; "
        f"{results.lanes} lanes.",
        "GPU memory of an engine: "
        + ", ".join(f"{name} {b / 2**20:.0f} MiB" for name, b in results.memory_bytes.items())
        + ".",
    ]
    if results.decoding is not None:
        decoding, agreement = results.decoding, results.decoding.agreement
        lines.append(
            f"JPEGs decoded and scaled: nvJPEG {statistics.median(decoding.nvjpeg_per_s):.0f} "
            f"images/s by {decoding.batch}, {decoding.cores} cores "
            f"{statistics.median(decoding.cpu_per_s):.0f}. nvJPEG's pixels are "
            f"{agreement.mean_difference:.2f} grey levels off in the mean and "
            f"{agreement.worst_difference:.2f} in the worst of {agreement.images} images; "
            f"{agreement.same_class:.1%} keep their class, logits move by "
            f"{agreement.logit_difference:.2f} at most."
        )
    return lines
