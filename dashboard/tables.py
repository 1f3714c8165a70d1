"""Tables and figures as HTML: they read well aloud, and fold into lists on a narrow screen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Figure:
    """One number that a page begins with."""

    name: str
    value: str
    note: str = ""


def figures_html(figures: Sequence[Figure]) -> str:
    """Numbers side by side, as many as fit."""
    return f'<dl class="figures">{"".join(map(_figure, figures))}</dl>'


def _figure(figure: Figure) -> str:
    note = f'<dd class="note">{escape(figure.note)}</dd>' if figure.note else ""
    return (
        f"<div><dt>{escape(figure.name)}</dt>"
        f'<dd class="value">{escape(figure.value)}</dd>{note}</div>'
    )


def table_html(rows: Sequence[Mapping[str, object]], caption: str) -> str:
    """A table whose first column names the row; columns that are empty throughout are left out.

    Args:
        rows: cells by the head of their column, in the order of the first row.
        caption: what the table is, for those who hear it.
    """
    heads = [head for head in (rows[0] if rows else {}) if any(_text(row, head) for row in rows)]
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in heads)
    body = "".join(f"<tr>{_cells(row, heads)}</tr>" for row in rows)
    return (
        f'<table class="rows"><caption class="unseen">{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(row: Mapping[str, object], heads: Sequence[str]) -> str:
    first, *others = heads
    cells = [f'<th scope="row">{escape(_text(row, first))}</th>']
    for head in others:
        text = _text(row, head)
        kind = ' class="empty"' if not text else ""
        cells.append(f'<td data-head="{escape(head)}"{kind}>{escape(text)}</td>')
    return "".join(cells)


def _text(row: Mapping[str, object], head: str) -> str:
    value = row.get(head)
    return "" if value is None else str(value)
