"""What `dermserve train` shows: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from models.package import ModelPackage
from training.progress import EpochRecord, ImagesDecoded, Step
from training.progress import Progress as Listeners

# Share of the steps between two lines where there is no terminal.
_LINE_EVERY = 0.05
# Of the last step in the speed that is shown.
_SPEED_WEIGHT = 0.1


class TrainDisplay:
    """Shows a run; use it as a context manager around the run.

    Args:
        console: where to; decides between bars and lines.
        epochs: of the run.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        self._console = console
        self._epochs = epochs
        self._bars = Progress(
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._speed: float | None = None
        self._last_line = -_LINE_EVERY
        self.listeners = Listeners(
            on_images=self._on_images,
            on_step=self._on_step,
            on_epoch=self._on_epoch,
            on_warning=self._on_warning,
        )

    def __enter__(self) -> TrainDisplay:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def _on_images(self, images: ImagesDecoded) -> None:
        self._bars.update(self._task(f"{images.split} images", images.count), completed=images.done)
        if images.done == images.count and not self._console.is_terminal:
            self._print(f"{images.count} {images.split} images decoded")

    def _on_step(self, step: Step) -> None:
        old = step.images_per_s if self._speed is None else self._speed
        self._speed = old + _SPEED_WEIGHT * (step.images_per_s - old)
        note = (
            f"epoch {step.epoch + 1}/{self._epochs}, loss {step.loss:.3f}, "
            f"{self._speed:.0f} images/s"
        )
        # A run that goes on after a lost worker does some steps again.
        self._bars.update(self._task("training", step.steps), completed=step.step, note=note)
        share = step.step / step.steps
        if not self._console.is_terminal and not 0 <= share - self._last_line < _LINE_EVERY:
            self._last_line = share
            self._print(f"step {step.step}/{step.steps}, {note}")

    def _on_epoch(self, record: EpochRecord) -> None:
        self._print(
            f"epoch {record.epoch:>2}: validation balanced accuracy "
            f"{record.metrics['balanced_accuracy']:.3f}, macro AUC "
            f"{record.metrics['macro_auc']:.3f}, loss {record.loss:.3f}, "
            f"{record.images_per_s:.0f} images/s"
        )

    def _on_warning(self, sentence: str) -> None:
        self._print(sentence, style="yellow")

    def _task(self, name: str, total: int) -> TaskID:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note="")
        return self._tasks[name]

    def _print(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def say_packaged(console: Console, package: ModelPackage) -> None:
    """Where a new package is and how its model did."""
    test: Any = package.manifest.metrics["test"]
    console.print(
        f"Model {package.manifest.version} is in {package.folder}: test balanced accuracy "
        f"{test['balanced_accuracy']:.3f}, macro AUC {test['macro_auc']:.3f}.",
        markup=False,  # a folder's name may hold brackets
        soft_wrap=True,
    )
