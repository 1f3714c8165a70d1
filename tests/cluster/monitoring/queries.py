"""The questions to Prometheus: of the dashboards and of the rules, and the metrics they name."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.monitoring.promtool import MONITORING, RULES, promtool

BOARDS = sorted((MONITORING / "grafana" / "dashboards").glob("*.json"))

# Whatever else stands in PromQL has neither a prefix of ours nor one of Ray's.
_METRIC = re.compile(r"\b(?:ray_[a-z_0-9A-Z]+|dermserve:[a-z_:0-9]+)\b")


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard, without the titles of its rows."""
    return (panel for panel in board["panels"] if panel["type"] != "row")


def queries(board: dict[str, Any]) -> Iterator[str]:
    """What a dashboard asks, as Prometheus hears it."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "1m")


def rules() -> Iterator[dict[str, str]]:
    """Recordings and alerts."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def metrics_in(expressions: Iterable[str]) -> set[str]:
    """The metrics that queries name."""
    return {name for expression in expressions for name in _METRIC.findall(expression)}


def checked_by_promtool(expressions: Iterable[str]) -> None:
    """Fails if Prometheus cannot parse one of them."""
    rules = [
        {"record": f"query:{number}", "expr": expression}
        for number, expression in enumerate(expressions)
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "queries.yml"
        path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
        promtool("check", "rules", path)
