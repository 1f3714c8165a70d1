"""The small parts: classes, addresses, samples, tables, charts and the launcher."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dashboard import charts, launch, line_charts
from dashboard.lesion_classes import CLASSES, CODES, RISK_COLOURS, RISK_SYMBOLS, name_of, risk_text
from dashboard.sample_images import samples
from dashboard.surroundings import Surroundings
from dashboard.tables import Figure, figures_html, table_html
from dermserve_client import ModelSummary
from models.classes import CLASSES as MODEL_CLASSES
from models.diagnosis import diagnoses
from serve_app.schemas import RESEARCH_USE
from tests.dashboard.answers import NOON


def test_the_classes_are_the_servers() -> None:
    assert CODES == MODEL_CLASSES
    for each in CLASSES:
        assert each.name == diagnoses()[each.code].name
        assert each.risk == diagnoses()[each.code].risk_level
    assert name_of("other") == "other"


def test_the_statement_is_the_servers() -> None:
    from dashboard.frame import RESEARCH_USE as SHOWN

    assert SHOWN == RESEARCH_USE


def test_risk_is_told_in_words_and_by_a_symbol() -> None:
    texts = {risk_text(each.risk) for each in CLASSES}
    assert texts == {"○ Low risk", "◐ Medium risk", "● High risk"}
    assert len(set(RISK_SYMBOLS.values())) == 3
    assert risk_text("unheard of") == "Unheard of risk"


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", RISK_COLOURS.values())
def test_colours_of_risk_can_be_read(colour: str) -> None:
    """WCAG 2.2, success criterion 1.4.3."""
    assert 1.05 / (_luminance(colour) + 0.05) >= 4.5


def test_there_is_a_sample_of_each_class() -> None:
    assert [sample.code for sample in samples()] == list(CODES)
    for sample in samples():
        with Image.open(io.BytesIO(sample.read())) as image:
            assert image.size == (600, 450)


def test_addresses() -> None:
    assert Surroundings.of({}) == Surroundings(
        "http://127.0.0.1:8000",
        "http://127.0.0.1:8000",
        {"Ray dashboard": "http://127.0.0.1:8265"},
    )
    given = Surroundings.of(
        {
            "DERMSERVE_URL": "http://server:9000/",
            "DERMSERVE_PUBLIC_URL": "https://derm.example/",
            "DERMSERVE_GRAFANA_URL": "https://grafana.example",
            "DERMSERVE_LOAD_REPORT_URL": "javascript:alert(1)",
        }
    )
    assert (given.url, given.public_url) == ("http://server:9000", "https://derm.example")
    assert set(given.links) == {"Ray dashboard", "Grafana"}


def test_a_table_is_safe_and_leaves_out_what_is_empty() -> None:
    html = table_html([{"A": "<b>", "B": 1, "C": ""}, {"A": "x", "B": None, "C": None}], "All")
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert html.count("<th scope") == 4
    assert ">C<" not in html
    assert '<td data-head="B" class="empty"></td>' in html
    assert "<tbody></tbody>" in table_html([], "None")


def test_figures() -> None:
    html = figures_html([Figure("p99", "5 ms"), Figure("A&B", "<1>", "note")])
    assert html.count("<dt>") == 2
    assert "A&amp;B" in html
    assert "&lt;1&gt;" in html
    assert html.count('class="note"') == 1


def test_charts_are_made_of_the_rows_they_are_given() -> None:
    report: dict[str, Any] = json.loads(Path("models/champion/report.json").read_text("utf-8"))
    manifest: dict[str, Any] = json.loads(Path("models/champion/model.json").read_text("utf-8"))
    by_class = manifest["metrics"]["test"]["by_class"]
    counts = report["evaluation"]["confusion"]["counts"]
    made = {
        "classes": charts.class_bars({"training": manifest["split"]["train"]}),
        "sizes": charts.size_bars([(600, 450, 3)]),
        "performance": charts.performance_heatmap(by_class),
        "confusion": charts.confusion_heatmap(counts),
        "reliability": line_charts.reliability_diagram(report["evaluation"]["reliability"]),
        "training": line_charts.training_curve(report["history"], "loss", "loss"),
        "versions": line_charts.versions_line([("2", 0.75), ("3", 0.76)], "3"),
        "rate": line_charts.rate_line([(NOON, 1.5)]),
        "run": line_charts.run_curve([(1, 0.5), (2, 0.4)], "loss"),
    }
    specifications = {name: chart.to_dict() for name, chart in made.items()}
    values = {name: _values(specification) for name, specification in specifications.items()}
    assert len(values["classes"]) == 7
    assert {row["images"] for row in values["sizes"]} == {3}
    assert len(values["performance"]) == 21
    assert len(values["confusion"]) == 49
    assert len(values["training"]) == len(report["history"])
    assert [row["serves"] for row in values["versions"]] == [False, True]
    # Nothing is fetched by a chart.
    assert '"url"' not in json.dumps(specifications)


def _values(specification: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = max(specification["datasets"].values(), key=len)
    return found


def test_streamlit_sends_nothing_and_hides_tracebacks() -> None:
    options = launch.streamlit_options("127.0.0.1", 8501, ["localhost"])
    assert "--browser.gatherUsageStats=false" in options
    assert "--client.showErrorDetails=none" in options
    assert "--server.address=127.0.0.1" in options
    assert "--server.allowedHosts=localhost" in options


@pytest.mark.parametrize(("host", "warned"), [("127.0.0.1", False), ("0.0.0.0", True)])
def test_the_launcher(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], host: str, warned: bool
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(launch.os, "execv", lambda path, command: commands.append(command))
    monkeypatch.delenv("DERMSERVE_URL", raising=False)
    monkeypatch.setenv("DERMSERVE_API_KEY", "ds_1_operator")
    launch.main(["--url", "http://server:1", "--host", host, "--port", "9", "--allow-host", "x.y"])
    assert launch.os.environ["DERMSERVE_URL"] == "http://server:1"
    del launch.os.environ["DERMSERVE_URL"]  # monkeypatch would bring it back
    # The process becomes the dashboard, whose visitors must not act with the operator's key.
    assert "DERMSERVE_API_KEY" not in launch.os.environ
    (command,) = commands
    assert command[1:5] == ["-m", "streamlit", "run", str(launch.APP)]
    assert {"--server.port=9", f"--server.address={host}", "--server.allowedHosts=x.y"} <= set(
        command
    )
    assert ("API keys" in capsys.readouterr().out) is warned


def test_a_version_is_named_by_what_it_is() -> None:
    from dashboard.gate_report import version_label

    model = ModelSummary.model_validate(
        {
            **{"version": "3", "package_hash": "", "dataset_hash": "", "registered": NOON},
            **{"metrics": {}, "champion": True, "verdict": None, "reason": None, "replicas": 1},
        }
    )
    assert version_label(model) == "Version 3, serves"
    refused = model.model_copy(update={"champion": False, "verdict": "refused"})
    assert version_label(refused) == "Version 3, refused by the gate"
