"""The picture of an overload: answers and memory over time."""

from __future__ import annotations

from matplotlib.figure import Figure

from benchmarks.overload_report import AT_CAPACITY, OVERLOADED, OverloadReport
from benchmarks.process_tree import MIB
from training.figure_style import BLUE, GREY, ORANGE, PALE, new_figure, plain

_COLOURS = {"interactive": BLUE, "bulk": ORANGE}


def overload_figure(report: OverloadReport) -> Figure:
    """Answers of 200 in every second of every phase, and the memory of all processes below."""
    before, during = (report.phase(name).interactive.goodput for name in (AT_CAPACITY, OVERLOADED))
    figure = new_figure(
        6.5,
        f"{during:.0f} answers a second under overload, {before:.0f} at capacity",
    )
    top, bottom = figure.subplots(2, 1, sharex=True)
    for axes in (top, bottom):
        plain(axes)
        for phase in report.phases[::2]:
            axes.axvspan(phase.began_s, phase.ended_s, color=PALE, alpha=0.5, linewidth=0)
    labelled, highest = set(), 0
    for phase in report.phases:
        for result in phase.results:
            kind = result.priority or "interactive"
            # The last second is not a whole one.
            counts = result.ok_each_second[:-1]
            times = [phase.began_s + second + 0.5 for second in range(len(counts))]
            highest = max(highest, *counts, 1)
            label = None if kind in labelled else kind
            labelled.add(kind)
            top.plot(times, counts, color=_COLOURS[kind], label=label)
    top.set_ylabel("answers of 200 a second")
    top.set_ylim(0, 1.3 * highest)  # above the curves each phase has room for its name
    top.axhline(report.capacity, color=GREY, linewidth=1, linestyle=":", label="capacity")
    for phase in report.phases:
        offered = " + ".join(f"{result.rate_offered:.0f}" for result in phase.results)
        top.text(
            (phase.began_s + phase.ended_s) / 2,
            0.98,
            f"{phase.name}\n{offered}/s",
            transform=top.get_xaxis_transform(),
            ha="center",
            va="top",
            fontsize=9,
            color=GREY,
        )
    top.legend(frameon=False, fontsize=9, loc="lower left")
    bottom.plot(
        [sample.at_s for sample in report.memory],
        [sample.pss_bytes / MIB for sample in report.memory],
        color=BLUE,
    )
    bottom.set_ylim(bottom=0)
    bottom.set_ylabel("memory of all processes, MiB")
    bottom.set_xlabel("seconds")
    return figure
