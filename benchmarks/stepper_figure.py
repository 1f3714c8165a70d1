"""The picture of a stepper's run: goodput and latency against the offered rate."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.steps import STAGES, Steps
from training.figure_style import BLUE, GREY, INK, ORANGE, PALE, new_figure, plain

_SHADES = (PALE, ORANGE, BLUE)


def steps_figure(report: Steps) -> Figure:
    """Goodput, latency percentiles, and where the server says that the time goes."""
    steps = sorted(report.steps, key=lambda step: step.rate)
    best = max(steps, key=lambda step: step.median(lambda w: w.goodput))
    goodput = best.median(lambda w: w.goodput)
    offered = [step.rate for step in steps]
    figure = new_figure(
        9.0, f"At most {goodput:.0f} answers a second, when {best.rate:.0f} requests are offered"
    )
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    for axes in (top, middle, bottom):
        plain(axes)
        if report.capacity is not None:
            axes.axvline(report.capacity, color=GREY, linewidth=1, linestyle=":")
    top.plot([0, offered[-1]], [0, offered[-1]], color=GREY, linewidth=1, label="offered")
    answered = [step.median(lambda w: w.goodput) for step in steps]
    top.plot(offered, answered, color=BLUE, marker="o", label="answered")
    refused = [
        step.median(lambda w: (w.rejected + w.expired + w.failed) / w.seconds) for step in steps
    ]
    top.plot(offered, refused, color=ORANGE, marker="o", label="refused, expired or failed")
    top.set_ylabel("requests/s")
    for name, value, colour in (
        ("p50", [step.median(lambda w: w.p50_s) for step in steps], BLUE),
        ("p90", [step.median(lambda w: w.p90_s) for step in steps], INK),
        ("p99", [step.median(lambda w: w.p99_s) for step in steps], ORANGE),
    ):
        middle.plot(offered, [1e3 * s for s in value], color=colour, marker="o", label=name)
    middle.set_yscale("log")
    middle.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    middle.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    middle.yaxis.set_minor_formatter(NullFormatter())
    middle.set_ylabel("latency of answers, ms")
    means = [[1e3 * step.stage_s(stage) for step in steps] for stage in STAGES]
    bottom.stackplot(offered, means, labels=STAGES, colors=_SHADES)
    bottom.set_ylabel("mean in the server, ms")
    bottom.set_xlabel("offered requests/s" + (" (dotted: capacity)" if report.capacity else ""))
    for axes in (top, middle, bottom):
        axes.set_xlim(left=0)
        axes.legend(frameon=False, fontsize=9, loc="upper left")
    return figure
