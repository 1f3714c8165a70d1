"""Progress: what is told while a network is trained, in this process or through a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ImagesDecoded:
    """How many images of a split are decoded."""

    split: str
    done: int
    count: int


@dataclass(frozen=True)
class Step:
    """One optimiser step, as reported while training runs."""

    step: int
    steps: int
    epoch: int
    """Epochs finished before this step."""
    loss: float
    """Mean over the batch, of all workers."""
    seconds: float = 0.0
    images_per_s: float = 0.0
    """Of all workers together."""
    ends_epoch: bool = False


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch."""

    epoch: int
    """From 1."""
    loss: float
    """Mean over the epoch's steps."""
    seconds: float
    """Spent in training steps."""
    images_per_s: float
    """In training steps, of all workers together."""
    metrics: dict[str, Any]
    """Of the averaged network on the validation split, as `quick_metrics` gives them."""


@dataclass(frozen=True)
class Warned:
    """Something that does not stop the run."""

    sentence: str


Event = ImagesDecoded | Step | EpochRecord | Warned


@dataclass(frozen=True)
class Progress:
    """What a caller hears of while a run goes on; each part may be left out."""

    on_images: Callable[[ImagesDecoded], None] = lambda images: None
    on_step: Callable[[Step], None] = lambda step: None
    on_epoch: Callable[[EpochRecord], None] = lambda epoch: None
    on_warning: Callable[[str], None] = lambda sentence: None

    def tell(self, event: Event) -> None:
        """Call the listener that the event is for."""
        match event:
            case ImagesDecoded():
                self.on_images(event)
            case Step():
                self.on_step(event)
            case EpochRecord():
                self.on_epoch(event)
            case Warned():
                self.on_warning(event.sentence)


class ProgressFile:
    """Events on their way from rank 0's worker to the driver: a line of JSON each.

    A file in the run's storage, which workers and driver share anyway, needs no process of its
    own and outlives both. Who writes appends; who reads begins where the file ended before.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0

    def append(self, event: Event) -> None:
        line = json.dumps({type(event).__name__: dataclasses.asdict(event)})
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def new(self) -> Iterator[Event]:
        """The events since the last call, or since this object was made."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            if (event := _decode(line)) is not None:
                yield event


_KINDS: dict[str, type[Event]] = {
    kind.__name__: kind for kind in (ImagesDecoded, Step, EpochRecord, Warned)
}


def _decode(line: bytes) -> Event | None:
    """An event; None for a line that a worker died over."""
    try:
        ((kind, fields),) = json.loads(line).items()
        return _KINDS[kind](**fields)
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
