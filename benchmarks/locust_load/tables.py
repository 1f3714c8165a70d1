"""The tables of a load report, as text cells: for the terminal, the page and LOAD_TESTING.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from benchmarks.locust_load.results import LoadResults
from benchmarks.locust_load.seed import SEED, SeedStep
from benchmarks.locust_load.step import Step, Traffic
from benchmarks.wrk import LoadFailed

BEGIN = "<!-- begin: written by `python -m benchmarks.load_report --write`; do not edit -->"
END = "<!-- end of what `python -m benchmarks.load_report --write` writes -->"

UNKNOWN = "\N{EN DASH}"

_TIMES = ("mean ms", "p50 ms", "p95 ms", "p99 ms")


class Cells(BaseModel):
    """A table."""

    model_config = ConfigDict(frozen=True)

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def users_table(results: LoadResults) -> Cells:
    """A row for each number of users, and the seed's below it where there is one."""
    rows = []
    for step in results.steps:
        rows.append(_our_row(step))
        if step.users in SEED:
            rows.append(_seed_row(SEED[step.users]))
    columns = ("users", "", "requests/s", "images/s", *_TIMES, "requests", "refused", "failed")
    return Cells(columns=columns, rows=tuple(rows))


def routes_table(results: LoadResults) -> Cells:
    """A row for each number of users and route."""
    rows = []
    for step in results.steps:
        for index, (route, traffic) in enumerate(step.routes.items()):
            rows.append((str(step.users) if index == 0 else "", route, *_cells(traffic)))
    columns = ("users", "route", "requests/s", "images/s", *_TIMES, "requests", "refused", "failed")
    return Cells(columns=columns, rows=tuple(rows))


def verdict(step: Step) -> str:
    """A step in one sentence without a full stop."""
    return f"{step.users} users: {outcome(step)}"


def outcome(step: Step) -> str:
    """What came of a step's requests."""
    total = step.total
    bad = [
        f"{n:,} {what}" for n, what in ((total.refused, "refused"), (total.failed, "failed")) if n
    ]
    losses = " and ".join(bad) if bad else "none refused or failed"
    p99_s = total.latencies.p99_s if total.latencies else None
    return (
        f"{total.requests_per_s:,.0f} requests/s, p99 {_ms(p99_s)} ms, "
        f"{losses} of {total.requests:,}"
    )


def circumstances(results: LoadResults) -> str:
    """What was measured with what, in a paragraph."""
    server, generator = results.server, results.generator
    where = "on the same cores" if generator.same_machine else "on another machine"
    whose = "synthetic" if generator.synthetic else "the user's"
    cpu = [step.generator_cores for step in results.steps]
    lag_s = max(step.generator_lag_p99_s for step in results.steps)
    path = ", ".join(f"{name} {value}" for name, value in server.data_path.items())
    return (
        f"Measured on {results.created:%Y-%m-%d} with DermServe {server.version}, model "
        f"{server.model_version}, engine {server.engine} ({server.precision}), {path}. "
        f"Locust {generator.locust} {where} ({generator.cores} of {generator.processor}) kept "
        f"{min(cpu):.2f} to {max(cpu):.2f} of one busy and was {_ms(lag_s)} ms late at worst "
        f"(p99). "
        f"Images: {generator.images} ({whose}), {generator.mean_image_bytes / 1000:.0f} kB on "
        f"average. {generator.spawn_rate:g} new users a second, then all of them for "
        f"{generator.run_time_s} s."
    )


def markdown(results: LoadResults) -> str:
    """The results as Markdown."""
    problems = [
        f"- {step.users} users: {count:,} x {problem}"
        for step in results.steps
        for problem, count in step.problems.items()
    ]
    parts = [
        circumstances(results),
        _markdown_table(users_table(results)),
        "By route:",
        _markdown_table(routes_table(results)),
        *(["What was refused or failed:", "\n".join(problems)] if problems else []),
    ]
    return "\n\n".join(parts)


def check_markers(path: Path) -> None:
    """Raise `LoadFailed` if results cannot be written into a file."""
    _around_markers(path)


def write_markdown(path: Path, results: LoadResults) -> None:
    """Put the results between the two markers of a Markdown file, in place of what is there.

    Raises:
        LoadFailed: if the file or one of its markers is missing.
    """
    before, after = _around_markers(path)
    text = f"{before}{BEGIN}\n\n{markdown(results)}\n\n{END}{after}"
    path.write_text(text, encoding="utf-8")


def _around_markers(path: Path) -> tuple[str, str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {error.strerror}.") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise LoadFailed(f"{path} lacks the lines between which results go: {BEGIN} and {END}")
    return before, after


def _our_row(step: Step) -> tuple[str, ...]:
    return (str(step.users), "DermServe", *_cells(step.total))


def _seed_row(seed: SeedStep) -> tuple[str, ...]:
    failed = UNKNOWN if seed.failed is None else f"{100 * seed.failed:.3g} %"
    times = (_ms(seed.mean_s), UNKNOWN, UNKNOWN, _ms(seed.p99_s))
    return ("", "seed", f"{seed.requests_per_s:.1f}", UNKNOWN, *times, UNKNOWN, UNKNOWN, failed)


def _cells(traffic: Traffic) -> tuple[str, ...]:
    times = traffic.latencies
    measured = (times.mean_s, times.p50_s, times.p95_s, times.p99_s) if times else (None,) * 4
    return (
        f"{traffic.requests_per_s:.1f}",
        f"{traffic.images_per_s:.1f}",
        *(_ms(seconds) for seconds in measured),
        f"{traffic.requests:,}",
        _share(traffic.refused, traffic.requests),
        _share(traffic.failed, traffic.requests),
    )


def _share(count: int, requests: int) -> str:
    return f"{count:,} ({100 * count / requests:.2g} %)" if count else "0"


def _ms(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{1e3 * seconds:,.0f}"


def _markdown_table(cells: Cells) -> str:
    lines: list[Sequence[str]] = [cells.columns, ["---"] * len(cells.columns), *cells.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
