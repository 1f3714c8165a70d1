"""The challenger: what a retraining run comes to, and all that the promotion gate asks of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data.ham10000 import LesionImage
from models.classes import CLASSES
from models.errors import InvalidDataset, InvalidPackage
from models.package import ModelPackage
from training.judged import Judged


@dataclass(frozen=True)
class Challenger:
    """A new version beside the champion that it came from."""

    package: ModelPackage
    test: Judged
    """The test images by the challenger's own rules."""
    champion_test: Judged
    """The same images, in the same order, by the champion's, predicted in the same way."""
    champion_uploads: Judged
    """What the champion says of the readable uploads; `labels` are the uploaders'."""
    unreadable: tuple[str, ...] = ()
    """Ids of the uploads that could not be decoded and were left out."""


@dataclass(frozen=True)
class RunProgress:
    """How far a run is."""

    phase: str
    """`starting`, `features`, `training`, `judging` or `packaging`."""
    progress: float
    """Of the whole run, 0..1; never falls."""
    epoch: int | None = None
    """Epochs or, of the head, iterations that are done."""
    epochs: int | None = None
    """As many at most."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """As far as they are known, by name."""


Listener = Callable[[RunProgress], None]


class Meter:
    """Turns what a run tells into its progress.

    Args:
        listener: is told.
        phases: of the run in their order, with the share of its time at which each ends.
    """

    def __init__(self, listener: Listener, phases: Mapping[str, float]) -> None:
        self._listener = listener
        starts = [0.0, *phases.values()]
        self._spans = {
            phase: (start, end) for (phase, end), start in zip(phases.items(), starts, strict=False)
        }
        self._last = RunProgress("", 0.0)

    def tell(
        self,
        phase: str,
        share: float = 0.0,
        *,
        epoch: int | None = None,
        epochs: int | None = None,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Say how far a phase is; what is left out stays as it was.

        Args:
            phase: one of the phases.
            share: of it that is done, 0..1.
            epoch, epochs: as `RunProgress` has them.
            metrics: beside those that are known.
        """
        start, end = self._spans[phase]
        last = self._last
        self._last = RunProgress(
            phase,
            # Workers that are started again tell of steps that were told before.
            max(last.progress, start + share * (end - start)),
            last.epoch if epoch is None else epoch,
            last.epochs if epochs is None else epochs,
            {**last.metrics, **(metrics or {})},
        )
        self._listener(self._last)


def require_unseen(uploads: Sequence[LesionImage], held_out: Iterable[str]) -> None:
    """Refuse uploads of lesions that the challenger is judged on.

    Args:
        uploads: to be learned from.
        held_out: lesion ids of the validation and test images.

    Raises:
        InvalidDataset: if there are any.
    """
    lesions = frozenset(held_out)
    seen = [image.image_id for image in uploads if image.lesion_id in lesions]
    if seen:
        raise InvalidDataset(
            f"{len(seen)} uploads show lesions that the model is judged on: "
            f"{', '.join(seen[:10])}. Delete them, or correct their lesion ids."
        )


def class_counts(images: Sequence[LesionImage]) -> dict[str, int]:
    """Images by class, in the order of `CLASSES`, absent ones left out."""
    counts = Counter(image.diagnosis for image in images)
    return {code: counts[code] for code in CLASSES if counts[code]}


def finished_package(folder: Path, version: str, run: Mapping[str, str]) -> ModelPackage | None:
    """The package that an earlier attempt of the same run has written; None if there is none.

    Args:
        folder: of the package.
        version: that it has to have.
        run: entries that its recipe has to have.
    """
    try:
        package = ModelPackage.load(folder)
    except InvalidPackage:
        return None
    manifest = package.manifest
    same = manifest.version == version and run.items() <= manifest.recipe.items()
    return package if same else None
