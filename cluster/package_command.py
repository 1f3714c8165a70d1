"""`dermserve package`: weights that are there, judged and packaged without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from configs import FOLDER
from models.errors import InvalidConfiguration


def package(
    weights: Annotated[
        list[Path],
        typer.Argument(help="safetensors of a trained network; several are averaged."),
    ],
    data: Annotated[Path, typer.Option(help="Folder that holds HAM10000.")],
    output: Annotated[
        Path, typer.Option(help="Folder for the model package; one in it is replaced.")
    ],
    version: Annotated[str, typer.Option(help="Name of the new version.")],
    config: Annotated[
        Path,
        typer.Option(
            help="Recipe of the training, for the record.", show_default="configs/training.yaml"
        ),
    ] = FOLDER / "training.yaml",
    history: Annotated[
        Path | None,
        typer.Option(help="JSON lines, one for each epoch, for the report's curves."),
    ] = None,
    int8: Annotated[bool, typer.Option(help="Try an INT8 graph, which takes minutes.")] = True,
) -> None:
    """Judge weights that were trained before, and write their package.

    Example: dermserve package a.safetensors b.safetensors --data ~/HAM10000
    --output var/model-3 --version 3
    """
    # Torch takes seconds to import; the other commands do not need it.
    from cluster.train_display import TrainDisplay, say_packaged
    from models.configuration import read_config
    from training.pipeline import package_weights
    from training.settings import TrainingSettings

    settings = read_config(config, TrainingSettings)
    console = Console()
    with TrainDisplay(console, settings.epochs) as display:
        result = package_weights(
            weights,
            dataset=data,
            output=output,
            version=version,
            settings=settings,
            history=_read_history(history),
            progress=display.listeners,
            int8=int8,
        )
    say_packaged(console, result)


def _read_history(path: Path | None) -> list[dict[str, Any]]:
    if path is None:
        return []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [dict(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError, TypeError) as error:
        raise InvalidConfiguration(
            f"{path} cannot be read as JSON lines: {error}. Give one object per line."
        ) from error
