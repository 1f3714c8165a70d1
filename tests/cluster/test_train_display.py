"""What a training run shows: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from cluster.train_display import TrainDisplay
from training.progress import EpochRecord, ImagesDecoded, Step

METRICS = {"balanced_accuracy": 0.5, "macro_auc": 0.75}


def _shown(terminal: bool, steps: list[Step]) -> str:
    console = Console(
        file=io.StringIO(),
        force_terminal=terminal,
        width=160,
        legacy_windows=False,
        color_system=None,
    )
    with TrainDisplay(console, epochs=2) as display:
        hear = display.listeners
        hear.tell(ImagesDecoded("train", 3, 10))
        hear.tell(ImagesDecoded("train", 10, 10))
        for step in steps:
            hear.tell(step)
        hear.tell(EpochRecord(1, 1.25, 2.0, 64.0, METRICS))
        hear.on_warning("Odd [file] name.")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _steps(first: int, last: int, steps: int) -> list[Step]:
    return [
        Step(step, steps, (step - 1) // 100, 1.5, images_per_s=50.0)
        for step in range(first, last + 1)
    ]


def test_without_a_terminal_there_are_few_plain_lines() -> None:
    text = _shown(terminal=False, steps=_steps(1, 200, 200))
    lines = text.splitlines()
    assert "10 train images decoded" in lines
    assert lines[1] == "step 1/200, epoch 1/2, loss 1.500, 50 images/s"
    assert 15 <= sum(line.startswith("step ") for line in lines) <= 25
    assert (
        "epoch  1: validation balanced accuracy 0.500, macro AUC 0.750, loss 1.250, 64 images/s"
    ) in lines
    assert "Odd [file] name." in lines
    assert "\x1b" not in text


def test_steps_that_are_done_again_are_shown_again() -> None:
    text = _shown(terminal=False, steps=[*_steps(1, 60, 100), *_steps(21, 100, 100)])
    assert "step 21/100" in text


@pytest.mark.parametrize("last", [1, 200])
def test_a_terminal_shows_bars(last: int) -> None:
    text = _shown(terminal=True, steps=_steps(1, last, 200))
    assert "\u2501" in text
    assert f"{last}/200" in text
    assert "epoch  1: validation balanced accuracy 0.500" in text
    assert "images decoded" not in text
