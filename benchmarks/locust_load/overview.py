"""The overview of a load report: a folder with the numbers as JSON, the figure and an HTML page."""

from __future__ import annotations

import base64
from pathlib import Path

from pydantic import ValidationError

from benchmarks.locust_load import tables
from benchmarks.locust_load.figure import draw_load
from benchmarks.locust_load.process import LOG_FILE, REPORT_FILE
from benchmarks.locust_load.results import LoadResults
from benchmarks.locust_load.step import REQUESTS_FILE
from benchmarks.wrk import LoadFailed
from training.figure_style import png
from training.page_template import page_template

PAGE_FILE = "overview.html"
DATA_FILE = "overview.json"
FIGURE_FILE = "overview.png"

_TEMPLATE = Path(__file__).with_name("overview.html.j2")


def step_folder(folder: Path, users: int) -> Path:
    """Where the files of one number of users are."""
    return folder / f"users-{users:03d}"


def write_overview(folder: Path, results: LoadResults) -> Path:
    """Write `overview.json`, `overview.png` and `overview.html`; the path of the last."""
    picture = png(draw_load(results))
    (folder / DATA_FILE).write_text(results.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (folder / FIGURE_FILE).write_bytes(picture)
    page = folder / PAGE_FILE
    page.write_text(_render(results, picture), encoding="utf-8")
    return page


def read_overview(folder: Path) -> LoadResults:
    """The numbers that an earlier report left in its folder.

    Raises:
        LoadFailed: if there are none.
    """
    path = folder / DATA_FILE
    try:
        return LoadResults.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise LoadFailed(f"{path} is no overview of a load report: {error}") from error


def _render(results: LoadResults, picture: bytes) -> str:
    here = Path()
    return page_template(_TEMPLATE).render(
        results=results,
        tables=tables,
        picture=base64.b64encode(picture).decode(),
        pages={step.users: step_folder(here, step.users) / REPORT_FILE for step in results.steps},
        requests_file=REQUESTS_FILE,
        log_file=LOG_FILE,
    )
