"""`dermserve train`: the training pipeline on the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from configs import FOLDER
from models.errors import InvalidConfiguration


def train(
    data: Annotated[Path, typer.Option(help="Folder that holds HAM10000.")],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the model package; one in it is replaced.",
            show_default="models/champion",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="ImageNet backbone (safetensors); torchvision downloads one if not given."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Start from a trained network instead: champion, a version of the registry, a "
            "package folder, or its weights.safetensors.",
        ),
    ] = None,
    version: Annotated[str, typer.Option(help="Name of the new version.")] = "1",
    config: Annotated[
        Path, typer.Option(help="Recipe.", show_default="configs/training.yaml")
    ] = FOLDER / "training.yaml",
    workers: Annotated[
        int | None,
        typer.Option(help="Ray Train workers, instead of the recipe's; 0 trains without Ray."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Name of the run in var/runs. With the name of a run that was stopped or "
            "killed, it goes on; with that of a finished one, it is packaged again."
        ),
    ] = None,
) -> None:
    """Train a model on HAM10000, judge it and write its package.

    A Ray cluster on this machine is used if one runs, for example that of `dermserve up`;
    RAY_ADDRESS names another one, and RAY_ADDRESS=local starts one for this run alone.

    Example: dermserve train --data ~/HAM10000 --output var/model-2 --version 2
    """
    if weights is not None and start is not None:
        raise InvalidConfiguration("Use either --weights or --from, not both.")
    # Torch takes seconds to import; the other commands do not need it.
    from cluster.environment import ray_environment

    # Ray reads its environment when it is imported.
    os.environ.update(ray_environment())
    from cluster.train_display import TrainDisplay, say_packaged
    from models.configuration import read_config, validate
    from models.package import BUNDLED_CHAMPION
    from training.pipeline import run_name, run_training
    from training.settings import TrainingSettings
    from training.storage import runs_folder

    settings = read_config(config, TrainingSettings)
    if workers is not None:
        changed = {**settings.model_dump(), "workers": workers}
        settings = validate(changed, TrainingSettings, "--workers")
    run = run or run_name(version)
    console = Console()
    try:
        with TrainDisplay(console, settings.epochs) as display:
            package = run_training(
                dataset=data,
                weights=weights if start is None else _start(start),
                output=output or BUNDLED_CHAMPION,
                version=version,
                settings=settings,
                progress=display.listeners,
                run=run,
                storage=runs_folder(),
                tracked=True,
            )
    except KeyboardInterrupt:
        console.print(
            f"Stopped. Go on with the same command and --run {run}.", markup=False, soft_wrap=True
        )
        raise
    say_packaged(console, package)


def _start(name: str) -> Path:
    """What `--from` names: a file of weights, or the folder of a package."""
    from models.registry_process import resolve

    return Path(name) if Path(name).is_file() else resolve(name)
