"""The board: panels in rows become one of Grafana's dashboards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from grafana_foundation_sdk.builders.dashboard import DashboardLink, DatasourceVariable
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardDashboardTemplating,
    DashboardDashboardTime,
    DashboardLinkType,
    GridPos,
    Panel,
    RowPanel,
)

COLUMNS = 24
TAG = "dermserve"


def board(
    uid: str, title: str, shows: str, since: str, rows: Mapping[str, Sequence[Panel]]
) -> Dashboard:
    """Put panels onto a dashboard, from left to right and from top to bottom.

    Args:
        uid: part of the dashboard's address.
        title: of the dashboard.
        shows: what it shows, for its reader.
        since: how far back it looks at first, such as `now-1h`.
        rows: panels under the title of their row; those that share a line are of one height.
    """
    source = DatasourceVariable("datasource").label("Data source").type("prometheus").build()
    source.auto = source.auto_min = source.auto_count = None  # of variables of time alone
    placed: list[Panel | RowPanel] = []
    y = 0
    for name, panels in rows.items():
        placed.append(RowPanel(title=name, grid_pos=GridPos(h=1, w=COLUMNS, y=y)))
        x, y, height = 0, y + 1, 0
        for panel in panels:
            assert panel.grid_pos is not None
            if x + panel.grid_pos.w > COLUMNS:
                x, y = 0, y + height
            panel.grid_pos.x, panel.grid_pos.y = x, y
            x, height = x + panel.grid_pos.w, panel.grid_pos.h
            placed.append(panel)
        y += height
    for number, each in enumerate(placed, start=1):
        each.id_val = number
    return Dashboard(
        uid=uid,
        title=title,
        description=shows,
        tags=[TAG],
        editable=False,
        graph_tooltip=DashboardCursorSync.CROSSHAIR,
        refresh="30s",
        time=DashboardDashboardTime(since, "now"),
        panels=placed,
        templating=DashboardDashboardTemplating([source]),
        links=[
            DashboardLink("DermServe")
            .type(DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .keep_time(True)
            .build()
        ],
    )


def board_json(dashboard: Dashboard) -> str:
    """What Grafana reads, ending with a line break."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"
