"""The rules: Prometheus takes them, and each alert fires when it should and not before."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.monitoring.alert_cases import CASES
from tests.cluster.monitoring.promtool import MONITORING, RULES, needs_prometheus, promtool
from tests.conftest import PROJECT

ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule
    for path in RULES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
}


def test_every_alert_has_its_case() -> None:
    assert set(CASES) == set(ALERTS)


def _expected(name: str, minute: int, fires: bool) -> dict[str, Any]:
    """What promtool is to find of an alert at one minute."""
    case, rule = CASES[name], ALERTS[name]
    fired = {
        "exp_labels": {**rule["labels"], **case.labels},
        "exp_annotations": {**rule["annotations"], "summary": case.summary},
    }
    alerts = [fired] if fires else []
    return {"alertname": name, "eval_time": f"{minute}m", "exp_alerts": alerts}


@needs_prometheus
def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    tests = [
        {
            "interval": "1m",
            "input_series": [
                {"series": series, "values": values} for series, values in case.series.items()
            ],
            "alert_rule_test": [
                *(_expected(name, minute, fires=False) for minute in case.quiet),
                _expected(name, case.fires, fires=True),
            ],
        }
        for name, case in CASES.items()
    ]
    # A server that nobody scrapes is as bad as one that does not answer.
    unseen = _expected("DermserveDown", 5, fires=True)
    tests.append({"interval": "1m", "input_series": [], "alert_rule_test": [unseen]})
    path = tmp_path / "cases.yml"
    rules = [str(path) for path in RULES]
    path.write_text(
        yaml.safe_dump({"rule_files": rules, "evaluation_interval": "1m", "tests": tests})
    )
    promtool("test", "rules", path)


@needs_prometheus
def test_prometheus_takes_the_configuration(tmp_path: Path) -> None:
    # The key's file is the operator's to write; promtool wants to see one.
    for name in ("prometheus.yml", "rules"):
        (tmp_path / name).symlink_to(MONITORING / name)
    (tmp_path / "api_key").write_text("ds_key")
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "rules", *RULES)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_points_to_its_section(name: str) -> None:
    rule = ALERTS[name]
    file, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (PROJECT / file).read_text(), re.MULTILINE)
    assert anchor == name.lower()
    assert name in headings
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_every_section_has_its_alert() -> None:
    text = (PROJECT / "OPERATIONS.md").read_text()
    assert set(re.findall(r"^#+ (Dermserve\w+)$", text, re.MULTILINE)) == set(ALERTS)
