"""`dermserve train`: the training pipeline with progress bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from configs import FOLDER
from models.configuration import read_config
from models.package import BUNDLED_CHAMPION


def train(
    data: Annotated[Path, typer.Option(help="Folder that holds HAM10000.")],
    output: Annotated[
        Path, typer.Option(help="Folder for the model package; one in it is replaced.")
    ] = BUNDLED_CHAMPION,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="ImageNet backbone (safetensors); torchvision downloads one if not given."
        ),
    ] = None,
    version: Annotated[str, typer.Option(help="Name of the new version.")] = "1",
    config: Annotated[Path, typer.Option(help="Recipe.")] = FOLDER / "training.yaml",
) -> None:
    """Train a model on HAM10000, judge it and write its package.

    Example: dermserve train --data ~/HAM10000 --output var/model-2 --version 2
    """
    # Torch takes seconds to import; the other commands do not need it.
    from training.loop import Step
    from training.pipeline import Progress as Listeners
    from training.pipeline import run_training
    from training.settings import TrainingSettings

    settings = read_config(config, TrainingSettings)
    console = Console()
    bars = Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    )
    training = None

    def on_images(split: str, count: int) -> Any:
        task = bars.add_task(f"{split} images", total=count, note="")
        return lambda: bars.advance(task)

    def on_step(step: Step) -> None:
        nonlocal training
        if training is None:
            training = bars.add_task("training", total=step.steps, note="")
        note = f"epoch {step.epoch + 1}/{settings.epochs}, loss {step.loss:.3f}"
        bars.update(training, completed=step.step, note=note)

    def on_epoch(epoch: int, metrics: dict[str, Any]) -> None:
        console.print(
            f"epoch {epoch:>2}: validation balanced accuracy {metrics['balanced_accuracy']:.3f}, "
            f"macro AUC {metrics['macro_auc']:.3f}"
        )

    listeners = Listeners(
        on_images=on_images,
        on_step=on_step,
        on_epoch=on_epoch,
        on_warning=lambda sentence: console.print(
            sentence, style="yellow", markup=False, soft_wrap=True
        ),
    )
    with bars:
        package = run_training(
            dataset=data,
            weights=weights,
            output=output,
            version=version,
            settings=settings,
            progress=listeners,
        )
    result: Any = package.manifest.metrics["test"]
    console.print(
        f"Model {version} is in {package.folder}: test balanced accuracy "
        f"{result['balanced_accuracy']:.3f}, macro AUC {result['macro_auc']:.3f}.",
        markup=False,  # a folder's name may hold brackets
        soft_wrap=True,
    )
