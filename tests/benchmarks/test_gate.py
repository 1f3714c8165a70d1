"""The gate's benchmark: a row for each kind of uploads, from both champions."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import gate

app = typer.Typer()
app.command()(gate.gate)


def test_each_row_says_how_many_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned = next(s for s in gate.SCENARIOS if s.name == "every class called the next")
    monkeypatch.setattr(gate, "SCENARIOS", (gate.SCENARIOS[0], poisoned))
    command = ["--seeds", "1", "--images", "60"]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "300"})
    assert result.exit_code == 0, result.output
    tables = result.output.split("Challengers of ")[1:]
    assert [table.split(",")[0] for table in tables] == [
        "the bundled champion",
        "the champion refitted without uploads",
    ]
    for table in tables:
        honest, wrong = (line for line in table.splitlines() if "of 1 " in line)
        assert "1 of 1" in honest
        assert "0 of 1" in wrong
        assert "labels 1" in wrong


def test_a_gate_file_that_is_none_is_refused() -> None:
    result = CliRunner().invoke(app, ["--file", "nowhere.yaml"])
    assert result.exit_code != 0
    assert "nowhere.yaml cannot be read" in str(result.exception)
