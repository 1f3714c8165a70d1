"""Writes Grafana's dashboards anew: `python -m cluster.monitoring`."""

from __future__ import annotations

from pathlib import Path

from cluster.monitoring.board import board_json
from cluster.monitoring.learning_board import learning_board
from cluster.monitoring.serving_board import serving_board

FOLDER = Path(__file__).parent / "grafana" / "dashboards"


def dashboards() -> dict[Path, str]:
    """What belongs into which file."""
    boards = {"serving.json": serving_board(), "learning.json": learning_board()}
    return {FOLDER / name: board_json(built) for name, built in boards.items()}


def main() -> None:
    """Write the files."""
    for path, text in dashboards().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
