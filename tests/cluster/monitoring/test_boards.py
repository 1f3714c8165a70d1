"""The dashboards: what is committed is what the code makes, as Grafana's schema has it."""

from __future__ import annotations

import json
import re
import sys
from itertools import combinations
from typing import Any

import pytest
import yaml

from tests.cluster.monitoring.promtool import MONITORING, needs_prometheus
from tests.cluster.monitoring.queries import BOARDS, checked_by_promtool, panels, queries

needs_library = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="Grafana's library needs Python 3.11"
)
GRAFANA = MONITORING / "grafana"


@pytest.fixture(params=BOARDS, ids=lambda path: path.stem)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(request.param.read_text())
    return document


def _lost(written: Any, read: Any, place: str = "") -> list[str]:
    """Where a document has what Grafana's schema does not know, and so does not read."""
    if isinstance(written, dict) and isinstance(read, dict):
        pairs = {key: (value, read.get(key, ...)) for key, value in written.items()}
    elif isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = dict(enumerate(zip(written, read, strict=True)))
    else:
        return [] if written == read else [place]
    return [
        lost for key, (one, other) in pairs.items() for lost in _lost(one, other, f"{place}.{key}")
    ]


@needs_library
def test_the_files_are_up_to_date() -> None:
    from cluster.monitoring.__main__ import dashboards

    made = dashboards()
    assert sorted(made) == BOARDS
    stale = [path.name for path, text in made.items() if path.read_text() != text]
    assert stale == [], "run `python -m cluster.monitoring`"


@needs_library
def test_grafanas_schema_knows_every_field(board: dict[str, Any]) -> None:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.cog.plugins import register_default_plugins
    from grafana_foundation_sdk.models.dashboard import Dashboard

    register_default_plugins()
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert _lost(board, read) == []
    board["panels"][1]["fieldConfig"]["defaults"]["untis"] = "s"
    read = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert _lost(board, read) == [".panels.1.fieldConfig.defaults.untis"]


def test_a_panel_says_what_it_shows(board: dict[str, Any]) -> None:
    for panel in panels(board):
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


def test_panels_stand_beside_one_another(board: dict[str, Any]) -> None:
    places = [panel["gridPos"] for panel in board["panels"]]
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    assert max(place["x"] + place["w"] for place in places) == 24
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)


def test_a_legend_names_labels_that_its_query_keeps(board: dict[str, Any]) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            kept = set(re.findall(r"\bby \(([^)]*)\)", target["expr"])[:1])
            kept = {label.strip() for group in kept for label in group.split(",")}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= kept, panel["title"]


@needs_prometheus
def test_prometheus_parses_every_query() -> None:
    found = [query for path in BOARDS for query in queries(json.loads(path.read_text()))]
    assert len(found) > 60
    checked_by_promtool(found)


@needs_prometheus
def test_a_wrong_query_is_found() -> None:
    with pytest.raises(AssertionError, match="unclosed left parenthesis"):
        checked_by_promtool(["sum(rate(ray_dermserve_images_total[1m])"])


def test_what_grafana_provisions_is_here() -> None:
    sources = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    (source,) = sources["datasources"]
    prometheus = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    # Grafana asks for no finer steps than Prometheus has.
    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    providers = yaml.safe_load((GRAFANA / "provisioning/dashboards/dermserve.yml").read_text())
    (provider,) = providers["providers"]
    assert provider["options"]["path"] == "/etc/grafana/dashboards"
    uids = {json.loads(path.read_text())["uid"] for path in BOARDS}
    assert uids == {"dermserve-serving", "dermserve-learning"}
