"""The report of an examination, as a table for people or JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table
from rich.text import Text

from cluster.doctor.examination import Examined
from cluster.doctor.finding import Finding, Verdict

_STYLES: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "wrong": ("wrong", "bold red"),
    "not checked": ("-", "dim"),
}


def counts(examined: Sequence[Examined]) -> dict[Verdict, int]:
    """Number of findings of each verdict, the gravest first."""
    found = Counter(finding.verdict for each in examined for finding in each.findings)
    order: tuple[Verdict, ...] = ("wrong", "warning", "not checked", "ok")
    return {verdict: found[verdict] for verdict in order}


def table(examined: Sequence[Examined]) -> Table:
    """A row for each finding, with the way to mend it below."""
    result = Table("subject", "", "finding", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for each in examined:
        for index, finding in enumerate(each.findings):
            word, style = _STYLES[finding.verdict]
            title = Text(each.title if index == 0 else "", style="bold")
            result.add_row(title, Text(word, style=style), _cell(finding))
    return result


def summary(examined: Sequence[Examined]) -> Text:
    """One line: how many of each verdict."""
    parts = [
        Text(
            f"{count} {verdict}{'s' if verdict == 'warning' and count != 1 else ''}",
            style=_STYLES[verdict][1],
        )
        for verdict, count in counts(examined).items()
        if count
    ]
    return Text(", ").join(parts) + Text(".")


def document(examined: Sequence[Examined]) -> dict[str, Any]:
    """The same as JSON has it: `findings` and `counts`."""
    return {
        "findings": [
            {"subject": each.title, **asdict(finding)}
            for each in examined
            for finding in each.findings
        ],
        "counts": counts(examined),
    }


def _cell(finding: Finding) -> Text:
    # As text, not markup: paths and messages may hold brackets.
    quiet = "dim" if finding.verdict == "not checked" else ""
    cell = Text(finding.message, style=quiet)
    if finding.mend is not None:
        cell.append(f"\n{finding.mend}", style="cyan")
    return cell
