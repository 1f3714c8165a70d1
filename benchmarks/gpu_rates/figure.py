"""The picture of the GPU benchmark: images a second by batch size, beside the limits."""

from __future__ import annotations

import statistics

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.gpu_rates.results import GpuResults, RatePath, paths_of
from training.figure_style import BLUE, GREY, INK, ORANGE, new_figure, plain

_STYLES: dict[RatePath, tuple[str, str]] = {
    "copy limit": (GREY, ":"),
    "compute limit": (GREY, "--"),
    "eager": (INK, "-"),
    "graphs": (BLUE, "-"),
    "compile": (ORANGE, "-"),
}


def gpu_figure(results: GpuResults) -> Figure:
    """Rates on the device, and below them whole requests, if there were any."""
    best = max(
        (rate for rate in results.rates if not rate.path.endswith("limit")),
        key=lambda rate: rate.median,
    )
    title = (
        f"{best.median:,.0f} images/s with {best.path}, {best.batch} at once, on {results.device}"
    )
    figure = new_figure(8.4 if results.served else 4.6, title)
    if not results.served:
        _draw_rates(figure.subplots(), results)
        return figure
    above, below = figure.subplots(2, 1)
    _draw_rates(above, results)
    connections = [result.concurrency for result in results.served]
    below.plot(connections, [r.rate for r in results.served], color=BLUE, marker="o")
    below.set_xlabel("connections")
    below.set_ylabel("requests/s through Serve")
    below.set_ylim(bottom=0)
    _powers(below, connections)
    return figure


def _draw_rates(axes: Axes, results: GpuResults) -> None:
    for path in paths_of(results.rates):
        colour, dashes = _STYLES[path]
        rates = [rate for rate in results.rates if rate.path == path]
        axes.plot(
            [rate.batch for rate in rates],
            [rate.median for rate in rates],
            color=colour,
            linestyle=dashes,
            marker="" if path.endswith("limit") else "o",
            label=path,
        )
    if results.decoding is not None:
        for name, values, dashes in (
            ("nvJPEG", results.decoding.nvjpeg_per_s, "-."),
            (f"decoding on {results.decoding.cores} cores", results.decoding.cpu_per_s, ":"),
        ):
            height = statistics.median(values)
            axes.axhline(height, color=ORANGE, linewidth=1, linestyle=dashes, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("images in a batch")
    axes.set_ylabel("images/s (log)")
    _powers(axes, list(dict.fromkeys(rate.batch for rate in results.rates)))
    axes.legend(frameon=False, fontsize=9)


def _powers(axes: Axes, values: list[int]) -> None:
    """An axis that doubles, with a mark at each value."""
    plain(axes)
    axes.set_xscale("log", base=2)
    axes.set_xticks(values, [str(value) for value in values])
    axes.xaxis.set_minor_formatter(NullFormatter())
