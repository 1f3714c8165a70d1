"""Class-mix drift: whether live images get other answers than validation images got, and why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import jensenshannon

Counts = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

PERMUTATIONS = 9_999
EM_ITERATIONS = 1_000
EM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class ClassMixDrift:
    """The outcome of comparing two sets of answers."""

    distance: float
    """Jensen-Shannon distance of the two mixes: 0 if they are the same, 1 if they share no
    class. Of few images it is never quite 0."""
    p_value: float
    """Share of random divisions of all answers that differ at least as much, in (0, 1]."""


def class_mix_drift(
    reference: Counts, live: Counts, permutations: int = PERMUTATIONS, seed: int = 0
) -> ClassMixDrift:
    """Compare how often each class was answered.

    Chi-square's statistic of homogeneity against its exact distribution, of which many draws are
    taken: the rare classes have too few answers for its formula.

    Args:
        reference: answers by class, shape (classes,), at least one in all.
        live: likewise.
        permutations: random divisions to compare with, at least 1.
        seed: of the divisions.
    """
    together = reference + live
    divisions = np.random.default_rng(seed).multivariate_hypergeometric(
        together, int(live.sum()), size=permutations
    )
    expected = together[together > 0] * (live.sum() / together.sum())
    squares = np.square(np.concatenate([live[None], divisions])[:, together > 0] - expected)
    # With fixed margins, chi-square's sum over both rows is a multiple of this one.
    statistics = (squares / expected).sum(axis=1)
    at_least = int((statistics[1:] >= statistics[0] - 1e-9).sum())
    return ClassMixDrift(
        float(jensenshannon(reference, live, base=2)), (1 + at_least) / (1 + permutations)
    )


def estimate_prevalence(probabilities: Probabilities, prior: Probabilities) -> Probabilities:
    """How frequent each class is among some images, of which only probabilities are known.

    It takes for granted that images of one class look as they always did and only the classes'
    frequencies have changed (label shift).

    Args:
        probabilities: calibrated at the frequencies of `prior`, shape (images, classes), rows
            summing to 1; at least one image.
        prior: frequencies, each above 0, summing to 1.

    Returns:
        Frequencies, shape (classes,), summing to 1.

    Source: Saerens, Latinne and Decaestecker, "Adjusting the Outputs of a Classifier to New a
    Priori Probabilities", Neural Computation 2002.
    """
    prevalence = prior
    for _ in range(EM_ITERATIONS):
        before = prevalence
        prevalence = reweighted(probabilities, prior, before).mean(axis=0)
        if np.abs(prevalence - before).max() < EM_TOLERANCE:
            break
    return prevalence


def reweighted(
    probabilities: Probabilities, prior: Probabilities, prevalence: Probabilities
) -> Probabilities:
    """Probabilities as they are where classes are as frequent as `prevalence` says.

    Args:
        probabilities, prior: as `estimate_prevalence` takes them.
        prevalence: frequencies, at least one of them above 0.
    """
    weighted = probabilities * (prevalence / prior)
    adjusted: Probabilities = weighted / weighted.sum(axis=1, keepdims=True)
    return adjusted
