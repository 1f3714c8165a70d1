"""Prometheus on a running server: it finds every number that dashboards and rules ask for."""

from __future__ import annotations

import importlib.util
import json

import httpx
from prometheus_client.parser import text_string_to_metric_families

from cluster.server import LocalServer
from tests.cluster.monitoring.prometheus_process import PrometheusProcess
from tests.cluster.monitoring.promtool import needs_prometheus
from tests.cluster.monitoring.queries import BOARDS, metrics_in, queries, rules

pytestmark = needs_prometheus

HAS_DRIFT_WATCH = importlib.util.find_spec("training.drift") is not None
QUERIES = [query for path in BOARDS for query in queries(json.loads(path.read_text()))]


def _of_drift(name: str) -> bool:
    return name.startswith(("ray_dermserve_drift_", "ray_dermserve_estimated_"))


def _may_be_empty(query: str) -> bool:
    """Whether there may be nothing to see on a server that is well."""
    return query.startswith("ALERTS") or (
        not HAS_DRIFT_WATCH and any(map(_of_drift, metrics_in([query])))
    )


def test_every_metric_that_is_asked_for_is_exported(prometheus: PrometheusProcess) -> None:
    asked = metrics_in([*QUERIES, *(rule["expr"] for rule in rules())])
    assert len(asked) > 40
    if not HAS_DRIFT_WATCH:
        asked = {name for name in asked if not _of_drift(name)}
    missing = asked

    def all_are_there() -> bool:
        nonlocal missing
        missing = asked - prometheus.names()
        return not missing

    try:
        prometheus.wait_for("", all_are_there)
    except AssertionError:
        assert missing == set()
        raise


def test_every_query_of_the_dashboards_has_an_answer(prometheus: PrometheusProcess) -> None:
    empty = {query for query in QUERIES if not _may_be_empty(query)}

    def all_have_one() -> bool:
        for query in sorted(empty):
            if prometheus.query(query):
                empty.remove(query)
        return not empty

    try:
        prometheus.wait_for("", all_have_one)
    except AssertionError:
        assert empty == set()
        raise


def test_the_rules_are_evaluated(prometheus: PrometheusProcess) -> None:
    def all_are_well() -> bool:
        groups = prometheus.get("rules")["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        assert len(found) == len(list(rules()))
        assert [rule for rule in found if rule.get("lastError")] == []
        return all(rule["health"] == "ok" for rule in found)

    prometheus.wait_for("a rule was not evaluated", all_are_well)
    assert prometheus.query('ALERTS{alertstate="firing",severity="page"}') == []


def test_nothing_is_counted_twice(prometheus: PrometheusProcess) -> None:
    # Ray's agents export the same, under another job.
    (counted,) = prometheus.query('count(count by (job) ({__name__=~"ray_(dermserve|serve)_.*"}))')
    assert counted["value"][1] == "1"
    assert prometheus.query('ray_node_cpu_count{job="ray"}')


def test_counters_begin_at_zero(busy_server: LocalServer) -> None:
    text = httpx.get(f"{busy_server.url}/metrics").text
    samples = [
        sample for family in text_string_to_metric_families(text) for sample in family.samples
    ]
    # Nothing of this has ever happened here.
    never = [
        ("ray_dermserve_images_total", {"stage": "ingress", "outcome": "rejected"}),
        ("ray_dermserve_uploads_total", {"verdict": "failed"}),
        ("ray_dermserve_archive_errors_total", {"code": "storage_full"}),
    ]
    for name, labels in never:
        values = [
            sample.value
            for sample in samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert values == [0], name
