"""The plot of a comparison: rates by connections, latencies, and what overload does."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # no display is needed
from matplotlib import pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from benchmarks.comparison.results import Comparison

_EAGER = ", torch eager"


def plot(comparison: Comparison, path: Path) -> None:
    """Write a PNG."""
    measured = [label for label in comparison.labels if comparison.best_rate(label) is not None]
    same = [label for label in measured if not label.endswith(_EAGER)]
    eager = [label for label in measured if label.endswith(_EAGER)]
    figure, axes = plt.subplots(2, 2, figsize=(14, 10), layout="constrained")
    names = list(dict.fromkeys(label.removesuffix(_EAGER) for label in comparison.labels))
    colours = {name: f"C{place % 10}" for place, name in enumerate(names)}
    _rates(axes[0][0], comparison, same, colours, "The same engine in every server (OpenVINO)")
    _rates(axes[0][1], comparison, eager, colours, "Out of the box (torch eager)")
    _latencies(axes[1][0], comparison, same, colours)
    _goodput(axes[1][1], comparison, same, colours)
    handles: list[Artist] = [Patch(color=colours[name], label=name) for name in names]
    handles.append(Line2D([], [], color="black", linestyle="--", label="bare limit"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(
        f"{comparison.conditions.cores} cores, {comparison.conditions.images} images of "
        f"{comparison.conditions.mean_bytes / 1000:.0f} kB; medians over "
        f"{len(comparison.rounds)} round(s)"
    )
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _rates(
    axes: Axes, comparison: Comparison, labels: list[str], colours: dict[str, str], title: str
) -> None:
    axes.set_title(title)
    if not labels:
        _nothing(axes)
        return
    concurrencies = comparison.conditions.concurrencies
    width = 0.85 / len(labels)
    for place, label in enumerate(labels):
        rates = [comparison.closed(label, c, lambda r: r.rate) or 0.0 for c in concurrencies]
        axes.bar(
            [at + (place - (len(labels) - 1) / 2) * width for at in range(len(concurrencies))],
            rates,
            width,
            color=colours[label.removesuffix(_EAGER)],
        )
    axes.axhline(comparison.bare_limit, color="black", linestyle="--")
    axes.set_xticks(range(len(concurrencies)), [str(c) for c in concurrencies])
    axes.set_xlabel("connections (closed loop)")
    axes.set_ylabel("requests/s")


def _latencies(
    axes: Axes, comparison: Comparison, labels: list[str], colours: dict[str, str]
) -> None:
    least = min(comparison.conditions.concurrencies)
    axes.set_title(f"Latency at {least} connection{'s' if least > 1 else ''}")
    if not labels:
        _nothing(axes)
        return
    middle = [1e3 * (comparison.closed(label, least, lambda r: r.p50_s) or 0) for label in labels]
    tail = [1e3 * (comparison.closed(label, least, lambda r: r.p99_s) or 0) for label in labels]
    places = range(len(labels))
    axes.barh(places, middle, 0.6, color=[colours[label] for label in labels])
    axes.plot(tail, places, "|", color="black", markersize=18)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlim(0)
    axes.set_xlabel("ms (bar: p50, line: p99)")


def _goodput(
    axes: Axes, comparison: Comparison, labels: list[str], colours: dict[str, str]
) -> None:
    axes.set_title("Goodput by offered rate (open loop)")
    shares = comparison.conditions.rates
    drawn = False
    for label in labels:
        points = [
            (offered, goodput)
            for share in shares
            if (offered := comparison.open(label, share, lambda r: r.rate_offered)) is not None
            and (goodput := comparison.open(label, share, lambda r: r.goodput)) is not None
        ]
        if points:
            axes.plot(*zip(*points, strict=True), "o-", color=colours[label])
            drawn = True
    if not drawn:
        _nothing(axes)
        return
    axes.axline((0, 0), slope=1, color="grey", linestyle=":")
    axes.axhline(comparison.bare_limit, color="black", linestyle="--")
    axes.set_xlim(0, 1.05 * max(shares) * comparison.rounds[0].bare_limit)
    axes.set_ylim(0, 1.15 * comparison.bare_limit)
    axes.set_xlabel("requests/s offered (dotted: all answered)")
    axes.set_ylabel("answers of 200 per s")


def _nothing(axes: Axes) -> None:
    axes.text(0.5, 0.5, "not measured", ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()
