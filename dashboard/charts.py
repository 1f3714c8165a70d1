"""Charts: each says in its title or in its description what it shows, and reads without hue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from dashboard.lesion_classes import (
    ACCENT,
    CODES,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PALE,
    SEQUENCE,
    SHORT_NAMES,
    name_of,
)

HEIGHT = 260
_TICKS = alt.Axis(values=[0, 10, 100, 1000, 10_000], format=",d", grid=True)
_BAR = 14
"""Pixels of a bar among others of its class."""
FONT = "Source Sans, Source Sans Pro, sans-serif"
_ORDER = [SHORT_NAMES[code] for code in CODES]


def styled(chart: Any, height: int | alt.Step = HEIGHT) -> Any:
    """A chart in the style of all; Altair's own types differ by what it is made of."""
    return (
        chart.properties(height=height)
        .configure(font=FONT, background="transparent")
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=MUTED,
            gridColor=LINE,
            domainColor=LINE,
            tickColor=LINE,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelLimit=190,
        )
        .configure_legend(
            labelColor=INK, titleColor=MUTED, orient="top", labelFontSize=12, symbolSize=90
        )
    )


def chart_data(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a chart carries them."""
    return alt.InlineData(values=[dict(row) for row in rows])


def class_bars(by_split: Mapping[str, Mapping[str, int]]) -> Any:
    """Images by class, a bar for each split or source, with their numbers.

    Args:
        by_split: images by class code, by what they are for.
    """
    rows = [
        {"class": name_of(code), "split": split, "images": by_class.get(code, 0)}
        for split, by_class in by_split.items()
        for code in CODES
    ]
    total = {code: sum(each.get(code, 0) for each in by_split.values()) for code in CODES}
    order = [name_of(code) for code in sorted(CODES, key=lambda code: -total[code])]
    splits = list(by_split)
    base = alt.Chart(chart_data(rows)).encode(
        y=alt.Y("class:N", sort=order, title=None, axis=_class_axis()),
        yOffset=alt.YOffset("split:N", sort=splits),
        x=alt.X("images:Q", title="images", scale=alt.Scale(type="symlog"), axis=_TICKS),
    )
    bars = base.mark_bar().encode(
        color=alt.Color(
            "split:N",
            sort=splits,
            title=None,
            legend=alt.Legend(columns=2),
            scale=alt.Scale(domain=splits, range=[ACCENT, "#4A90B0", PALE, ORANGE][: len(splits)]),
        ),
        tooltip=[
            alt.Tooltip("class:N"),
            alt.Tooltip("split:N"),
            alt.Tooltip("images:Q", format=",d"),
        ],
    )
    numbers = base.mark_text(align="left", dx=4, dy=_BAR / 2, fontSize=11, color=INK).encode(
        text=alt.Text("images:Q", format=",d")
    )
    return styled(bars + numbers, alt.Step(_BAR, **{"for": "offset"}))


def share_bars(by_source: Mapping[str, Mapping[str, float]]) -> Any:
    """Shares by class, a bar for each source, with their numbers.

    Args:
        by_source: shares in 0..1 by class code, by what has them; four sources at most.
    """
    rows = [
        {"class": name_of(code), "source": source, "share": shares.get(code, 0.0)}
        for source, shares in by_source.items()
        for code in CODES
    ]
    sources = list(by_source)
    base = alt.Chart(chart_data(rows)).encode(
        y=alt.Y("class:N", sort=[name_of(c) for c in CODES], title=None, axis=_class_axis()),
        yOffset=alt.YOffset("source:N", sort=sources),
        x=alt.X("share:Q", title="share of images", axis=alt.Axis(format="%")),
    )
    bars = base.mark_bar().encode(
        color=alt.Color(
            "source:N",
            sort=sources,
            title=None,
            legend=alt.Legend(columns=1),
            scale=alt.Scale(domain=sources, range=[PALE, ACCENT, ORANGE, INK][: len(sources)]),
        ),
        tooltip=[
            alt.Tooltip("class:N"),
            alt.Tooltip("source:N"),
            alt.Tooltip("share:Q", format=".1%"),
        ],
    )
    numbers = base.mark_text(align="left", dx=4, dy=_BAR / 2, fontSize=11, color=INK).encode(
        text=alt.Text("share:Q", format=".1%")
    )
    return styled(bars + numbers, alt.Step(_BAR, **{"for": "offset"}))


def size_bars(sizes: Sequence[tuple[int, int, int]], shown: int = 12) -> Any:
    """The most frequent sizes of stored images.

    Args:
        sizes: width and height in pixels, and how many images have them.
        shown: bars at most.
    """
    rows = [{"size": f"{w} x {h}", "images": n} for w, h, n in sizes[:shown]]
    return bars(rows, "size", "images", "size in pixels")


def bars(rows: Sequence[Mapping[str, Any]], label: str, value: str, title: str) -> Any:
    """Plain bars with their numbers, in the order of the rows."""
    base = alt.Chart(chart_data(rows)).encode(
        y=alt.Y(f"{label}:N", sort=None, title=title),
        x=alt.X(f"{value}:Q", title=value, axis=alt.Axis(format=",d", tickMinStep=1)),
        tooltip=[alt.Tooltip(f"{label}:N"), alt.Tooltip(f"{value}:Q", format=",d")],
    )
    numbers = base.mark_text(align="left", dx=4, color=INK).encode(
        text=alt.Text(f"{value}:Q", format=",d")
    )
    return styled(base.mark_bar(color=ACCENT) + numbers, alt.Step(26))


def performance_heatmap(by_class: Mapping[str, Mapping[str, float | None]]) -> Any:
    """Recall, precision and AUC of each class; every cell has its number."""
    names = {"recall": "Recall", "precision": "Precision", "auc": "AUC"}
    rows = [
        {"class": name_of(code), "measure": name, "value": by_class[code].get(key)}
        for code in CODES
        if code in by_class
        for key, name in names.items()
        if by_class[code].get(key) is not None
    ]
    return _heatmap(
        rows,
        x=alt.X("measure:N", sort=list(names.values()), title=None, axis=_top_axis()),
        y=alt.Y("class:N", sort=[name_of(c) for c in CODES], title=None, axis=_class_axis()),
        value="value",
        number_format=".2f",
        domain=(0.0, 1.0),
        height=alt.Step(36),
    )


def confusion_heatmap(counts: Sequence[Sequence[int]]) -> Any:
    """A confusion matrix: rows are labels, columns predictions, shade the share of the row."""
    rows = [
        {
            "label": name_of(label),
            "prediction": SHORT_NAMES[predicted],
            "images": number,
            "share": number / sum(line),
        }
        for label, line in zip(CODES, counts, strict=True)
        if sum(line)
        for predicted, number in zip(CODES, line, strict=True)
    ]
    return _heatmap(
        rows,
        x=alt.X(
            "prediction:N", sort=_ORDER, title="predicted", axis=_top_axis(angle=-65, titled=True)
        ),
        y=alt.Y(
            "label:N", sort=[name_of(code) for code in CODES], title="labelled", axis=_class_axis()
        ),
        value="share",
        number="images",
        number_format=",d",
        domain=(0.0, 1.0),
        height=alt.Step(38),
    )


def _top_axis(angle: int = 0, titled: bool = False) -> alt.Axis:
    return alt.Axis(
        orient="top",
        labelAngle=angle,
        labelOverlap=False,
        domain=False,
        ticks=False,
        titlePadding=8 if titled else 0,
    )


def _class_axis() -> alt.Axis:
    """Full names, the longest on two lines."""
    lines = "split(replace(datum.label, ' / ', ' /|'), '|')"
    return alt.Axis(labelLimit=230, labelExpr=lines, domain=False, ticks=False)


def _heatmap(
    rows: Sequence[Mapping[str, Any]],
    *,
    x: alt.X,
    y: alt.Y,
    value: str,
    number_format: str,
    domain: tuple[float, float],
    height: alt.Step,
    number: str | None = None,
) -> Any:
    shown = number or value
    base = alt.Chart(chart_data(rows)).encode(x=x, y=y)
    cells = base.mark_rect(stroke="white", strokeWidth=2, cornerRadius=3).encode(
        color=alt.Color(
            f"{value}:Q", scale=alt.Scale(domain=domain, range=list(SEQUENCE)), legend=None
        ),
        tooltip=[alt.Tooltip(f"{shown}:Q", format=number_format)],
    )
    dark = f"datum.{value} > {domain[0] + 0.55 * (domain[1] - domain[0])}"
    text = base.mark_text(fontSize=13).encode(
        text=alt.Text(f"{shown}:Q", format=number_format),
        color=alt.condition(dark, alt.value("white"), alt.value(INK)),
    )
    return styled(cells + text, height)
