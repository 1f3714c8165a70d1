"""`dermserve evaluate`: what is served, judged on a split of a dataset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.console import Console

from cluster.progress import progress

if TYPE_CHECKING:
    from serve_app.engines import EngineName
    from training.judged import Judged


class SplitName(str, Enum):
    """Parts of a dataset that a model did not learn from."""

    validation = "validation"
    test = "test"


def evaluate(
    package: Annotated[
        str,
        typer.Argument(help="`champion`, a version, or the folder of a package."),
    ] = "champion",
    *,
    data: Annotated[Path, typer.Option(help="Folder that holds HAM10000.")],
    split: Annotated[SplitName, typer.Option(help="Part of the dataset.")] = SplitName.test,
    output: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("var/report"),
    engine: Annotated[str, typer.Option(help="Inference engine, as in serve_config.yaml.")] = (
        "auto"
    ),
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples.")] = 1000,
) -> None:
    """Judge a model package on images that it did not learn from and write a report.

    Example: dermserve evaluate --data ~/HAM10000 --output var/report
    """
    # These take seconds to import; the other commands do not need them.
    from cluster.served_judgement import calibration_steps, operating_points_of, predict
    from data.ham10000 import load_ham10000
    from data.splits import frozen_split
    from models.package import ModelPackage
    from models.registry_process import resolve
    from serve_app.engines import create_engine
    from training.evaluate import evaluate as judge
    from training.report import write_report

    console = Console()
    loaded = ModelPackage.load(resolve(package))
    rules = loaded.manifest.decision
    dataset = load_ham10000(data)
    parts = frozen_split(dataset.images)
    cores = len(os.sched_getaffinity(0))
    served = create_engine(loaded, cast("EngineName", engine), threads=cores)
    judged: dict[str, Judged] = {}
    for name in dict.fromkeys(("validation", split.value)):
        images = getattr(parts, name)
        with progress(len(images), f"Classifying {name}") as advance:
            judged[name], unreadable = predict(served, rules, images, advance)
        if unreadable:
            _warn(console, name, unreadable)
    chosen = judged[split.value]
    evaluation = judge(chosen, resamples, malignant_threshold=rules.malignant.threshold)
    page = write_report(
        output,
        evaluation,
        model_version=loaded.manifest.version,
        dataset_hash=dataset.hash,
        split=split.value,
        facts={"engine": f"{served.info.name}, {served.info.precision}"},
        before_after_calibration=calibration_steps(chosen, rules),
        operating_points=operating_points_of(judged, rules, resamples),
    )
    console.print(
        f"Balanced accuracy {evaluation.balanced_accuracy.value:.3f} on {evaluation.images:,} "
        f"images of the {split.value} split. The report is {page}.",
        markup=False,  # a folder's name may hold brackets
        highlight=False,
        soft_wrap=True,
    )


def _warn(console: Console, split: str, unreadable: Sequence[str]) -> None:
    console.print(
        f"{len(unreadable)} images of the {split} split cannot be read and are left out: "
        f"{', '.join(unreadable[:10])}.",
        style="yellow",
        markup=False,
        soft_wrap=True,
    )
