"""The report of an evaluation: one page for people, the same numbers as JSON, and the figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from models.classes import CLASSES
from models.diagnosis import diagnoses
from models.errors import DermServeError
from training import figures, findings
from training.figure_style import png
from training.page_template import page_template
from training.results import Calibration, Evaluation, OperatingPointResult

REPORT_FILE = "report.html"
DATA_FILE = "report.json"

_TEMPLATE = Path(__file__).with_name("report.html.j2")


class ReportNotWritten(DermServeError):
    """The report's folder cannot be written, or a part of it cannot be reported."""

    code = "report_not_written"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Epoch(_Frozen):
    """One epoch of training; what else its record holds is left out of the report."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int
    loss: float | None = None
    validation_loss: float | None = None
    balanced_accuracy: float | None = None
    macro_auc: float | None = None
    accuracy: float | None = None


class Section(_Frozen):
    """A further part of the page: sentences and a table, plain text throughout."""

    title: str
    sentences: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    """Each as long as `columns`; the first cell names the row."""


class Report(_Frozen):
    """`report.json`: all that the page is made of."""

    model_version: str
    dataset_hash: str
    split: str
    created: datetime
    facts: dict[str, str]
    evaluation: Evaluation
    calibration_steps: dict[str, Calibration]
    operating_points: tuple[OperatingPointResult, ...]
    history: tuple[Epoch, ...]
    sections: tuple[Section, ...]


def write_report(
    folder: Path,
    evaluation: Evaluation,
    *,
    model_version: str,
    dataset_hash: str,
    split: str = "test",
    facts: Mapping[str, str] | None = None,
    before_after_calibration: Mapping[str, Calibration] | None = None,
    operating_points: Sequence[OperatingPointResult] = (),
    history: Sequence[Mapping[str, object]] | None = None,
    novelty: Section | None = None,
    quantisation: Section | None = None,
    extra: Sequence[Section] = (),
    created: datetime | None = None,
) -> Path:
    """Write `report.html`, `report.json` and the figures as PNG.

    Args:
        folder: made if it does not exist; an older report in it is replaced.
        evaluation: of the split.
        model_version: of the model that was judged.
        dataset_hash: of the dataset that the split is part of.
        split: its name; `validation` puts a warning on the page.
        facts: shown at the top, by name, such as the engine that predicted.
        before_after_calibration: by the name of each step, in order; empty leaves it out.
        operating_points: as `operating_points` gives them; empty leaves the table out.
        history: of each epoch what `figures.training_figure` takes; None or empty leaves the
            curves out.
        novelty: how foreign images are told.
        quantisation: what an INT8 graph changes.
        extra: further sections, in order.
        created: when the evaluation was made; now if not given.

    Returns:
        Path of `report.html`, a single file that needs nothing beside it.

    Raises:
        ReportNotWritten: if the folder cannot be written, or an epoch has no number.
    """
    try:
        report = Report(
            model_version=model_version,
            dataset_hash=dataset_hash,
            split=split,
            created=created or datetime.now(timezone.utc).replace(microsecond=0),
            facts=dict(facts or {}),
            evaluation=evaluation,
            calibration_steps=dict(before_after_calibration or {}),
            operating_points=tuple(operating_points),
            history=tuple(Epoch.model_validate(dict(epoch)) for epoch in history or ()),
            sections=tuple(s for s in (novelty, quantisation, *extra) if s is not None),
        )
    except ValidationError as error:
        raise ReportNotWritten(f"A part of the report is not as described: {error}") from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = draw(report)
        page = render(report, pictures)
        for name, data in pictures.items():
            (folder / f"{name}.png").write_bytes(data)
        (folder / DATA_FILE).write_text(report.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / REPORT_FILE).write_text(page, encoding="utf-8")
    except OSError as error:
        raise ReportNotWritten(
            f"The report cannot be written to {folder}: {error.strerror or error}. Choose "
            "another folder or free some space."
        ) from error
    return folder / REPORT_FILE


def draw(report: Report) -> dict[str, bytes]:
    """The figures that the report has numbers for, as PNG by name."""
    evaluation = report.evaluation
    drawn = {
        "classes": figures.class_heatmap(evaluation),
        "counts": figures.class_counts_figure(evaluation),
        "confusion": figures.confusion_figure(evaluation),
        "roc": figures.roc_figure(evaluation),
        "reliability": figures.reliability_figure(evaluation),
    }
    if any(group.sensitivity or group.specificity for group in evaluation.subgroups):
        drawn["subgroups"] = figures.subgroup_figure(evaluation)
    if report.history:
        drawn["training"] = figures.training_figure(_history(report))
    return {name: png(figure) for name, figure in drawn.items()}


def render(report: Report, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML, figures inlined.

    Args:
        report: the numbers.
        pictures: PNG by name, as `draw` gives them.
    """
    names = diagnoses()
    return page_template(_TEMPLATE).render(
        report=report,
        evaluation=report.evaluation,
        findings=findings,
        history=_history(report),
        interval=findings.with_interval,
        names={code: names[code].name for code in CLASSES},
        pictures={name: base64.b64encode(data).decode() for name, data in pictures.items()},
    )


def _history(report: Report) -> list[dict[str, object]]:
    return [epoch.model_dump(exclude_none=True) for epoch in report.history]
