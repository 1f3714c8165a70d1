"""Line charts: what changes over time, over epochs, or against what was stated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import altair as alt

from dashboard.charts import chart_data, styled
from dashboard.lesion_classes import ACCENT, INK, MUTED, PALE


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> Any:
    """Share of right answers against stated probability; on the line, both agree."""
    rows = [
        {
            "confidence": each["confidence"],
            "right": each["correct"] / each["images"],
            "images": each["images"],
        }
        for each in bins
        if each["images"] and each["confidence"] is not None
    ]
    axis = alt.Axis(format=".0%", tickCount=5)
    line = (
        alt.Chart(chart_data([{"x": 0, "y": 0}, {"x": 1, "y": 1}]))
        .mark_line(color=MUTED, strokeDash=[5, 4], strokeWidth=1.5)
        .encode(x="x:Q", y="y:Q")
    )
    base = alt.Chart(chart_data(rows)).encode(
        x=alt.X(
            "confidence:Q",
            title="stated probability",
            scale=alt.Scale(domain=[0, 1]),
            axis=axis,
        ),
        y=alt.Y("right:Q", title="share right", scale=alt.Scale(domain=[0, 1]), axis=axis),
    )
    points = base.mark_circle(color=ACCENT, opacity=1).encode(
        size=alt.Size("images:Q", title="images", scale=alt.Scale(range=[30, 500])),
        tooltip=[
            alt.Tooltip("confidence:Q", format=".1%", title="stated"),
            alt.Tooltip("right:Q", format=".1%"),
            alt.Tooltip("images:Q", format=",d"),
        ],
    )
    return styled(line + base.mark_line(color=ACCENT) + points, 320)


def training_curve(history: Sequence[Mapping[str, Any]], key: str, title: str) -> Any:
    """One measure after each epoch.

    Args:
        history: records of the epochs.
        key: of the measure.
        title: its name.
    """
    chart = (
        alt.Chart(chart_data([each for each in history if each.get(key) is not None]))
        .mark_line(color=ACCENT, point=alt.OverlayMarkDef(color=ACCENT))
        .encode(
            x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y(f"{key}:Q", title=title, scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("epoch:Q"), alt.Tooltip(f"{key}:Q", format=".3f")],
        )
    )
    return styled(chart, 200)


def versions_line(versions: Sequence[tuple[str, float]], champion: str) -> Any:
    """Balanced accuracy of each version on the frozen test images; the champion is marked."""
    rows = [
        {"version": name, "score": score, "place": place, "serves": name == champion}
        for place, (name, score) in enumerate(versions)
    ]
    base = alt.Chart(chart_data(rows)).encode(
        x=alt.X(
            "version:N",
            sort=[name for name, _ in versions],
            title="version",
            axis=alt.Axis(labelAngle=0),
        ),
        y=alt.Y(
            "score:Q",
            title="balanced accuracy",
            scale=alt.Scale(zero=False, padding=20),
            axis=alt.Axis(format=".3f"),
        ),
    )
    points = base.mark_point(filled=True, size=130, color=ACCENT).encode(
        shape=alt.condition("datum.serves", alt.value("diamond"), alt.value("circle")),
        tooltip=[alt.Tooltip("version:N"), alt.Tooltip("score:Q", format=".4f")],
    )
    numbers = base.mark_text(dy=-14, color=INK).encode(text=alt.Text("score:Q", format=".3f"))
    return styled(base.mark_line(color=PALE) + points + numbers, 240)


def rate_line(rates: Sequence[tuple[datetime, float]]) -> Any:
    """Requests per second over the last minutes."""
    rows = [{"time": moment.isoformat(), "rate": rate} for moment, rate in rates]
    # Of a server that nobody asks, the highest rate is none.
    highest = max(1.0, *(rate for _, rate in rates)) if rates else 1.0
    chart = (
        alt.Chart(chart_data(rows))
        .mark_area(color=PALE, line={"color": ACCENT}, interpolate="monotone")
        .encode(
            x=alt.X("time:T", title=None, axis=alt.Axis(format="%H:%M:%S", tickCount=4)),
            y=alt.Y(
                "rate:Q",
                title="requests/s",
                scale=alt.Scale(domain=[0, highest], nice=True),
                axis=alt.Axis(tickCount=4, format="~f"),
            ),
            tooltip=[
                alt.Tooltip("time:T", format="%H:%M:%S"),
                alt.Tooltip("rate:Q", format=".1f"),
            ],
        )
    )
    return styled(chart, 190)


def run_curve(points: Sequence[tuple[int, float]], what: str) -> Any:
    """One measure of a run over its epochs or iterations."""
    rows = [{"step": step, "value": value} for step, value in points]
    chart = (
        alt.Chart(chart_data(rows))
        .mark_line(color=ACCENT, point=alt.OverlayMarkDef(color=ACCENT))
        .encode(
            x=alt.X("step:Q", title="epoch or iteration", axis=alt.Axis(tickMinStep=1, format="d")),
            y=alt.Y("value:Q", title=what, scale=alt.Scale(zero=False)),
            tooltip=[alt.Tooltip("step:Q"), alt.Tooltip("value:Q", format=".4f")],
        )
    )
    return styled(chart, 190)
