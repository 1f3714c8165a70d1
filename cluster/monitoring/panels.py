"""The panels of the dashboards: five kinds, each with a sentence that says what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import ThresholdsConfig
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    GridPos,
    Panel,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
"""The data source that the reader chose at the top of the dashboard."""

GOOD, WARNING, BAD = "green", "orange", "red"

Steps = tuple[tuple[float, str], ...]
"""From which value on which colour, ascending; below the first, the first colour's opposite."""


@dataclass(frozen=True)
class Query:
    """One question to Prometheus."""

    expr: str
    """PromQL."""
    legend: str = "__auto"
    """Name of each series; `{{label}}` stands for a label's value."""


def graph(
    title: str,
    shows: str,
    *queries: Query,
    unit: str = "short",
    stacked: bool = False,
    limit: float | None = None,
    width: int = 8,
    least: float | None = 0,
) -> Panel:
    """Values over time.

    Args:
        title: of the panel.
        shows: what it shows, for its reader.
        queries: whose series are drawn.
        unit: Grafana's name of it.
        stacked: whether the values are parts of a whole.
        limit: value at which something is wrong, drawn as a line.
        width: of the dashboard's 24 columns.
        least: value at which the axis begins; None lets the values decide.
    """
    panel = (
        timeseries.Panel()
        .unit(unit)
        .line_width(1)
        .fill_opacity(30 if stacked else 0)
        .show_points(VisibilityMode.NEVER)
        .stacking(
            common.StackingConfig()
            .group("A")
            .mode(StackingMode.NORMAL if stacked else StackingMode.NONE)
        )
        .legend(
            common.VizLegendOptions()
            .show_legend(len(queries) > 1 or queries[0].legend != "")
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
    )
    if least is not None:
        panel.min(least)
    if limit is not None:
        panel.thresholds(_thresholds(((limit, BAD),), "transparent"))
        panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        )
    return _finished(panel, title, shows, queries, width, 8)


def number(
    title: str,
    shows: str,
    query: Query,
    *,
    unit: str = "short",
    steps: Steps = (),
    below: str = GOOD,
    texts: Mapping[str, str] | None = None,
    named: bool = False,
    width: int = 4,
) -> Panel:
    """The value of this moment, in large digits.

    Args:
        title, shows, unit, width: as for `graph`.
        query: whose values are shown.
        steps: from which value on which colour.
        below: colour under the first of them.
        texts: what stands for a value instead of its digits.
        named: whether the name of the series is shown, and not its value.
    """
    panel = (
        stat.Panel()
        .unit(unit)
        .graph_mode(BigValueGraphMode.NONE)
        .color_mode(BigValueColorMode.VALUE)
        .text_mode(BigValueTextMode.NAME if named else BigValueTextMode.AUTO)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps, below if steps else "text"))
        .no_value("-")
    )
    if texts:
        panel.mappings([_texts(texts)])
    return _finished(panel, title, shows, (query,), width, 4)


def states(
    title: str,
    shows: str,
    query: Query,
    *,
    texts: Mapping[str, str],
    steps: Steps,
    below: str,
    width: int = 8,
) -> Panel:
    """Which state each of several things was in, over time; arguments as for `number`."""
    panel = (
        statetimeline.Panel()
        .mappings([_texts(texts)])
        .thresholds(_thresholds(steps, below))
        .fill_opacity(70)
        .line_width(0)
        .merge_values(True)
        .show_value(VisibilityMode.AUTO)
    )
    return _finished(panel, title, shows, (query,), width, 8)


def histogram(title: str, shows: str, query: Query, *, width: int = 8) -> Panel:
    """How often which size came, over time.

    Args:
        title, shows, width: as for `graph`.
        query: increases of a histogram's buckets, by `le`.
    """
    panel = heatmap.Panel().calculate(False).hide_legend()
    return _finished(panel, title, shows, (query,), width, 8, PromQueryFormat.HEATMAP)


def rows(
    title: str, shows: str, query: Query, *, hidden: tuple[str, ...] = (), width: int = 8
) -> Panel:
    """One row for each series of this moment, one column for each label.

    Args:
        title, shows, width: as for `graph`.
        query: whose series are listed.
        hidden: columns that nobody has to see.
    """
    panel = (
        table.Panel()
        .no_value("None")
        .with_transformation(
            DataTransformerConfig(
                id_val="organize",
                options={"excludeByName": dict.fromkeys(("Time", *hidden), True)},
            )
        )
    )
    return _finished(panel, title, shows, (query,), width, 8, PromQueryFormat.TABLE)


def _finished(
    panel: Any,
    title: str,
    shows: str,
    queries: tuple[Query, ...],
    width: int,
    height: int,
    form: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> Panel:
    """What all panels have in common; where it stands, the dashboard decides."""
    panel.title(title).description(shows).datasource(SOURCE)
    panel.grid_pos(GridPos(h=height, w=width))
    now = isinstance(panel, stat.Panel | table.Panel)
    for index, query in enumerate(queries):
        target = (
            prometheus.Dataquery()
            .ref_id(chr(ord("A") + index))
            .expr(query.expr)
            .legend_format(query.legend)
            .format(form)
        )
        panel.with_target(target.instant() if now else target.range())
    built: Panel = panel.build()
    return built


def _thresholds(steps: Steps, below: str) -> ThresholdsConfig:
    return (
        ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(None, below), *(Threshold(value, colour) for value, colour in steps)])
    )


def _texts(texts: Mapping[str, str]) -> ValueMap:
    return ValueMap({value: ValueMappingResult(text=text) for value, text in texts.items()})
