"""The assessment: what the latest images say about drift, and about the model's worth on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.classes import CLASSES
from models.decision import calibrated_probabilities
from models.drift_reference import DriftReference
from models.novelty import NoveltyDetector
from models.package import DRIFT_FILE, NOVELTY_FILE, DecisionRules, ModelPackage
from training.drift.class_mix import (
    ClassMixDrift,
    Counts,
    Probabilities,
    class_mix_drift,
    estimate_prevalence,
)
from training.drift.embedding import EmbeddingDrift, Rows, embedding_drift
from training.drift.performance import (
    Answers,
    ExpectedPerformance,
    balanced_accuracy_of,
    expected_performance,
)
from training.drift.window import LiveRows


@dataclass(frozen=True)
class WatchedModel:
    """What of a package drift is told with."""

    version: str
    rules: DecisionRules
    novelty: NoveltyDetector
    reference: DriftReference

    @classmethod
    def load(cls, package: ModelPackage) -> WatchedModel:
        """Read it from a package.

        Raises:
            InvalidPackage: if the package has no drift reference, or a file is damaged.
        """
        return cls(
            package.manifest.version,
            package.manifest.decision,
            NoveltyDetector.load(package.file(NOVELTY_FILE)),
            DriftReference.load(package.file(DRIFT_FILE)),
        )

    def embed(self, statistics: Rows) -> Rows:
        """Statistics as directions of equal variance, shape (images, 192)."""
        embedded = (statistics - self.novelty.mean) @ self.novelty.whitening
        return embedded.astype(np.float32, copy=False)

    def known(self, statistics: Rows) -> npt.NDArray[np.bool_]:
        """Whether the model takes images for lesions, shape (images,)."""
        known: npt.NDArray[np.bool_] = (
            self.novelty.score(statistics) <= self.rules.novelty_threshold
        )
        return known

    def said(self, logits: npt.NDArray[np.float32]) -> Answers:
        """Its answers to images, with probabilities at the training data's frequencies."""
        probabilities = calibrated_probabilities(logits, self.rules).astype(np.float64)
        return Answers(probabilities, logits.argmax(axis=1))

    @cached_property
    def embedding(self) -> Rows:
        """Of the reference's images."""
        return self.embed(self.reference.statistics)

    @cached_property
    def answers(self) -> Counts:
        """To the reference's images, by class."""
        return counts_of(self.reference.logits)

    @cached_property
    def prior(self) -> Probabilities:
        """How frequent each class is among the reference's images, by the model's probabilities."""
        prior: Probabilities = self.said(self.reference.logits).probabilities.mean(axis=0)
        return prior

    @cached_property
    def labelled(self) -> tuple[Answers, npt.NDArray[np.int64]]:
        """Its answers to the reference's images that it takes for lesions, and their labels."""
        known = self.known(self.reference.statistics)
        return self.said(self.reference.logits[known]), self.reference.labels[known]

    @cached_property
    def accuracy(self) -> float:
        """On those images."""
        said, labels = self.labelled
        return float((said.predicted == labels).mean())

    @cached_property
    def balanced_accuracy(self) -> float:
        """On those images: mean recall of the classes that are there."""
        said, labels = self.labelled
        return balanced_accuracy_of(said.predicted, labels)


@dataclass(frozen=True)
class Assessment:
    """What some live images say."""

    samples: int
    embedding: EmbeddingDrift
    class_mix: ClassMixDrift
    answers: Counts
    """By class, shape (7,)."""
    prevalence: Probabilities
    """Estimated frequency of each class among the images, shape (7,)."""
    out_of_distribution: float
    """Share of images on which the model abstains because they do not look like lesions."""
    performance: ExpectedPerformance | None
    """Of the other images; None if there are none."""


def assess(model: WatchedModel, rows: LiveRows, seed: int = 0) -> Assessment:
    """Compare live images with a model's reference.

    Args:
        model: that answered.
        rows: at least two images.
        seed: of all that is drawn.
    """
    answers = counts_of(rows.logits)
    said, known = model.said(rows.logits), model.known(rows.statistics)
    return Assessment(
        samples=len(rows),
        embedding=embedding_drift(model.embedding, model.embed(rows.statistics), seed=seed),
        class_mix=class_mix_drift(model.answers, answers, seed=seed),
        answers=answers,
        prevalence=estimate_prevalence(said.probabilities, model.prior),
        out_of_distribution=float(1 - known.mean()),
        performance=(
            expected_performance(*model.labelled, said[np.flatnonzero(known)], seed=seed)
            if known.any() and len(model.labelled[1]) > 1
            else None
        ),
    )


def counts_of(logits: npt.NDArray[np.float32]) -> Counts:
    """Answers by class, shape (7,), to images with these logits, shape (images, 7)."""
    counts: Counts = np.bincount(logits.argmax(axis=1), minlength=len(CLASSES))
    return counts
