"""The cost of telemetry: every mode runs, and differences are of the same round."""

from __future__ import annotations

import logging

import pytest
from rich.console import Console

from benchmarks.telemetry import MODES, Mode, cost_us, table
from models.log_records import LOGGER


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_mode_runs_and_leaves_nothing_behind(mode: Mode) -> None:
    logger = logging.getLogger(LOGGER)
    before = logger.handlers[:], logger.filters[:]
    assert cost_us(mode, 20) > 0
    assert (logger.handlers, logger.filters) == before


def test_differences_are_of_the_same_round() -> None:
    console = Console(record=True, width=120)
    # The machine is half as fast in the second round, which must not count.
    console.print(table({"none": [100.0, 200.0, 100.0], "all off": [101.0, 202.0, 101.5]}))
    said = " ".join(console.export_text().split())
    assert "all off" in said
    assert "+1.5" in said
    assert "Medians of 3 rounds" in said
