"""The figure of a soak: the memory of each process over time, with its trend."""

from __future__ import annotations

from math import ceil

import numpy as np
from matplotlib.figure import Figure

from benchmarks.process_tree import MIB
from benchmarks.soak_report import ProcessMemory, SoakReport
from training.figure_style import BLUE, INK, ORANGE, PALE, new_figure, plain

_COLUMNS = 4
_TITLE_SIZE = 8.5


def soak_figure(report: SoakReport) -> Figure:
    """A small panel for each process, all from the process's least to most."""
    processes = report.measured
    count = ceil(len(processes) / _COLUMNS)
    figure = new_figure(1.3 * count + 0.8, report.verdict.rstrip("."))
    panels = figure.subplots(count, _COLUMNS, squeeze=False, sharex=True).ravel()
    for panel, process in zip(panels, processes, strict=False):
        plain(panel)
        panel.axvspan(0, report.warm_up_s / 60, color=PALE, linewidth=0)
        whole = _whole(report, process)
        panel.plot(np.asarray(whole.at_s) / 60, np.asarray(whole.uss_bytes) / MIB, c=BLUE, lw=0.9)
        if (trend := process.trend) is not None:
            times = np.asarray([process.at_s[0], process.at_s[-1]])
            middle = float(np.median(process.uss_bytes))
            line = middle + trend.slope * (times - float(np.median(process.at_s))) / 3600
            panel.plot(times / 60, line / MIB, c=ORANGE, lw=1.2)
        # Noise of some pages is not to look like a leak.
        low, high = panel.get_ylim()
        middle = (low + high) / 2
        panel.set_ylim(min(low, middle - 5), max(high, middle + 5))
        panel.set_title(
            f"{process.role} {process.pid}", fontsize=_TITLE_SIZE, color=INK, loc="left"
        )
        panel.tick_params(labelsize=7)
    for panel in panels[len(processes) :]:
        panel.set_visible(False)
    figure.supxlabel("minutes", fontsize=9, color=INK)
    figure.supylabel("own memory (USS), MiB", fontsize=9, color=INK)
    return figure


def _whole(report: SoakReport, process: ProcessMemory) -> ProcessMemory:
    return next(
        each
        for each in report.processes
        if each.pid == process.pid and each.at_s[-1] == process.at_s[-1]
    )
