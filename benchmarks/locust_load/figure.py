"""The figure of a load report: requests/s, response times and failures against users."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.locust_load.results import LoadResults
from benchmarks.locust_load.seed import SEED
from benchmarks.locust_load.step import Step
from benchmarks.locust_load.tables import verdict
from training.figure_style import BLUE, GREY, INK, ORANGE, new_figure, plain

_PERCENTILES = {"p99": "-", "p95": "--", "p50": ":"}


def draw_load(results: LoadResults) -> Figure:
    """Three panels over the same users; the seed's points where there are any."""
    steps = results.steps
    figure = new_figure(9.4, verdict(steps[-1]))
    rates, times, failures = figure.subplots(3, 1, sharex=True, height_ratios=[1, 1.25, 1])
    users = [step.users for step in steps]
    seed = {count: each for count, each in SEED.items() if count <= users[-1]}

    _line(rates, users, [step.total.requests_per_s for step in steps], "DermServe", "-")
    _seed(rates, {n: each.requests_per_s for n, each in seed.items()}, "seed", "o-")
    rates.set_ylabel("right answers a second")
    rates.set_ylim(bottom=0)

    for name, style in _PERCENTILES.items():
        _line(times, users, _times(steps, f"{name}_s"), f"DermServe {name}", style)
    _seed(times, {n: each.p99_s for n, each in seed.items()}, "seed p99", "o")
    _seed(times, {n: each.mean_s for n, each in seed.items()}, "seed mean", "D")
    times.set_yscale("log")
    times.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{1e3 * value:,.0f}"))
    times.set_ylabel("response time, ms (log)")

    bad = [step.total for step in steps]
    _line(failures, users, [100 * t.failed / t.requests for t in bad], "DermServe failed", "-")
    _line(failures, users, [100 * t.refused / t.requests for t in bad], "DermServe refused", "--")
    _seed(
        failures,
        {n: None if each.failed is None else 100 * each.failed for n, each in seed.items()},
        "seed failed",
        "o-",
    )
    failures.set_ylabel("% of requests")
    failures.set_ylim(bottom=0, top=max(1.0, 1.1 * failures.get_ylim()[1]))
    failures.set_xlabel("users")
    failures.set_xticks(users)
    for axes in (rates, times, failures):
        plain(axes)
        axes.set_axisbelow(True)
        axes.grid(axis="y", color=GREY, alpha=0.2, lw=0.7)
        axes.legend(
            frameon=False,
            handlelength=3.4,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            labelcolor=INK,
            fontsize=9.5,
        )
    figure.align_ylabels()
    return figure


def _times(steps: Sequence[Step], name: str) -> list[float]:
    return [getattr(step.total.latencies, name) for step in steps]


def _line(
    axes: Axes, users: Sequence[int], values: Sequence[float], label: str, style: str
) -> None:
    axes.plot(users, values, style, marker="o", ms=5, c=BLUE, lw=1.9, label=label, clip_on=False)


def _seed(axes: Axes, values: dict[int, float | None], label: str, style: str) -> None:
    known = {users: value for users, value in values.items() if value is not None}
    if known:
        axes.plot(
            list(known),
            list(known.values()),
            style,
            ms=5,
            c=ORANGE,
            lw=1.9,
            label=label,
            clip_on=False,
        )
