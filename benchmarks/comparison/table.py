"""The tables of a comparison, for the terminal and as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.comparison.results import Comparison
from benchmarks.peers.entry import ENTRIES, NAMES, entries
from benchmarks.peers.settings import SETTINGS

Rows = list[list[str]]


def summary(comparison: Comparison) -> tuple[list[str], Rows]:
    """Heads and rows: a server each."""
    concurrencies = comparison.conditions.concurrencies
    least, most = min(concurrencies), max(concurrencies)
    heads = [
        "server",
        *(f"req/s at {concurrency}" for concurrency in concurrencies),
        "best of the limit",
        f"p50 ms at {least}",
        f"p99 ms at {most}",
        "failed",
        "start s",
    ]
    rows = []
    for label in comparison.labels:
        rates = [comparison.closed(label, c, lambda r: r.rate) for c in concurrencies]
        best = comparison.best_rate(label)
        rows.append(
            [
                label,
                *(_number(rate) for rate in rates),
                _number(None if best is None else best / comparison.bare_limit, 2),
                _milliseconds(comparison.closed(label, least, lambda r: r.p50_s)),
                _milliseconds(comparison.closed(label, most, lambda r: r.p99_s)),
                "" if best is None else str(comparison.failed(label)),
                _number(comparison.start_s(label), 1),
            ]
        )
    return heads, rows


def closed_loop(comparison: Comparison) -> tuple[list[str], Rows]:
    """Heads and rows: a server at a number of connections each."""
    heads = ["server", "connections", "req/s", "of the limit", "p50 ms", "p90 ms", "p99 ms"]
    rows = []
    for label in comparison.labels:
        for concurrency in comparison.conditions.concurrencies:
            rate = comparison.closed(label, concurrency, lambda r: r.rate)
            if rate is None:
                continue
            rows.append(
                [
                    label,
                    str(concurrency),
                    _number(rate),
                    _number(rate / comparison.bare_limit, 2),
                    _milliseconds(comparison.closed(label, concurrency, lambda r: r.p50_s)),
                    _milliseconds(comparison.closed(label, concurrency, lambda r: r.p90_s)),
                    _milliseconds(comparison.closed(label, concurrency, lambda r: r.p99_s)),
                ]
            )
    return heads, rows


def open_loop(comparison: Comparison) -> tuple[list[str], Rows]:
    """Heads and rows: a server at an offered rate each."""
    heads = ["server", "offered req/s", "of the limit", "goodput req/s", "p50 ms", "p99 ms"]
    heads += ["rejected", "expired", "failed"]
    rows = []
    for label in comparison.labels:
        for share in comparison.conditions.rates:
            offered = comparison.open(label, share, lambda r: r.rate_offered)
            if offered is None:
                continue
            rows.append(
                [
                    label,
                    _number(offered),
                    _number(share, 2),
                    _number(comparison.open(label, share, lambda r: r.goodput)),
                    _milliseconds(comparison.open(label, share, lambda r: r.p50_s)),
                    _milliseconds(comparison.open(label, share, lambda r: r.p99_s)),
                    _number(comparison.open(label, share, lambda r: r.rejected)),
                    _number(comparison.open(label, share, lambda r: r.expired)),
                    _number(comparison.open(label, share, lambda r: r.failed)),
                ]
            )
    return heads, rows


def remarks(comparison: Comparison) -> list[str]:
    """Sentences that belong beside the tables."""
    given = comparison.conditions
    limits = ", ".join(f"{each.bare_limit:.0f}" for each in comparison.rounds)
    return [
        f"{given.images} images of {given.mean_bytes / 1000:.0f} kB on average; {given.cores} "
        f"cores ({given.device}), which the load generator shares; OpenVINO in "
        f"{given.precision}.",
        f"Medians over {len(comparison.rounds)} round(s) of {given.seconds} s a measurement; the "
        "servers take turns.",
        f"Bare limit (decode and forward, one process a core, no server): "
        f"{comparison.bare_limit:.0f} images/s (by round: {limits}).",
        *_beside_peers(comparison),
        *(
            f"{label} was not measured, or not to the end: {problem}"
            for label in comparison.labels
            if (problem := comparison.problem(label)) is not None
        ),
    ]


def _beside_peers(comparison: Comparison) -> Iterator[str]:
    """Each of our servers at its best, beside the best peers at theirs."""
    ours = [entry.label for entry in ENTRIES if entry.ours]
    groups = {
        "with the same engine": [e.label for e in entries(NAMES, ["openvino"]) if not e.ours],
        "out of the box": [entry.label for entry in entries(NAMES, ["torch-eager"])],
    }
    for label in ours:
        if label not in comparison.labels or (own := comparison.best_rate(label)) is None:
            continue
        for how, peers in groups.items():
            rates = {peer: comparison.best_rate(peer) or 0.0 for peer in peers}
            best = max(rates, key=lambda peer: rates[peer])
            if rates[best] > 0:
                yield (
                    f"{label} at its best: {own:.0f} requests/s, {own / rates[best]:.2f} times the "
                    f"best peer {how} ({best}, {rates[best]:.0f})."
                )


def rich_table(heads: Sequence[str], rows: Rows) -> Table:
    """For the terminal."""
    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    return table


def markdown(comparison: Comparison) -> str:
    """The whole report."""
    parts = ["# Comparison", *remarks(comparison), _markdown(*summary(comparison))]
    parts += ["## Closed loop", _markdown(*closed_loop(comparison))]
    if comparison.conditions.rates:
        parts += [
            "## Open loop",
            "Requests fall due by the clock; goodput counts answers of 200 as they come.",
            _markdown(*open_loop(comparison)),
        ]
    parts += [
        "## Settings",
        "All else is left as it comes; `cores` stands for their number.",
        _markdown(
            ["peer", "setting", "value", "why"],
            [
                [peer, f"{setting.of}: {setting.name}", str(setting.value), setting.why]
                for peer, settings in SETTINGS.items()
                for setting in settings
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _markdown(heads: Sequence[str], rows: Rows) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _number(value: float | None, digits: int = 0) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else _number(1e3 * seconds, 1)
