"""`dermserve predict-dir`: a folder too big for one machine, classified with Ray Data."""

from __future__ import annotations

import os
import sys
import time
from enum import Enum
from functools import partial
from typing import Annotated

import typer

from cluster.exit_code import CommandFailed, ExitCode
from cluster.options import EngineChoice
from cluster.printable import say


class FileFormat(str, Enum):
    """How the rows are written, in as many files as the work was cut into."""

    PARQUET = "parquet"
    CSV = "csv"
    JSONL = "jsonl"


def predict_dir(
    folder: Annotated[
        str, typer.Argument(help="Folder, or a place that fsspec knows (s3://bucket/scans).")
    ],
    output: Annotated[str, typer.Option(help="Folder for the rows; new or empty.")],
    format_: Annotated[
        FileFormat, typer.Option("--format", help="Of the files in it.")
    ] = FileFormat.PARQUET,
    package: Annotated[
        str, typer.Option(help="`champion`, a version, or a package's folder.")
    ] = "champion",
    engine: Annotated[
        EngineChoice, typer.Option(help="What runs the network.")
    ] = EngineChoice.AUTO,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Most processes; else as many as find room.", show_default=False),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Cores for each of them.")] = 1,
) -> None:
    """Classify all pictures of a folder on a Ray cluster, without a server.

    Of each picture, below the folder too, there is a row with the columns and the numbers of
    `dermserve predict --offline --format csv`; one that cannot be used has an error in it. The Ray
    cluster of RAY_ADDRESS does it, else one that runs on this machine, else one that is started for
    it; on several machines, folder, output and model have to be where all of them reach them. Exit
    code 1 if any picture has an error.

    Example: dermserve predict-dir s3://clinic/scans --output s3://clinic/predicted
    """
    started = time.monotonic()
    from cluster.environment import ray_environment

    # Ray reads its environment when it is imported.
    os.environ.update(ray_environment())
    from cluster.folder_prediction import list_images, plan_job, predict_folder
    from training.ray_connection import ray_connection

    plan = partial(plan_job, folder, output, format_.value, package, engine.value, threads)
    paths = list_images(folder)
    plan(1)  # a mistake is told before Ray starts
    say(f"{len(paths):,} images in {folder}.")
    with ray_connection():
        import ray.data

        room = int(ray.available_resources().get("CPU", 0)) // threads  # type: ignore[no-untyped-call]
        if room < 1:
            raise CommandFailed(
                f"The Ray cluster has no {threads} free CPUs for a worker; a server may hold them. "
                "Set RAY_ADDRESS=local for a cluster of its own, or name another.",
                ExitCode.REFUSED,
            )
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = sys.stderr.isatty()
        job = plan(min(room, workers or room, len(paths)))
        summary = predict_folder(job, paths, started)
    have = "has" if summary.failed == 1 else "have"
    wrong = f" {summary.failed:,} of them {have} an error." if summary.failed else ""
    say(
        f"{summary.files:,} files by model {summary.model_version} in {summary.seconds:.0f} s, "
        f"with {job.workers} workers.{wrong} The rows are in {output}. {summary.disclaimer}"
    )
    if summary.failed:
        raise typer.Exit(ExitCode.FAILED)
