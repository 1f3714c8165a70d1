"""Fitting a head: the network's last layer, to pooled features, by a group of processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import OptimizeResult, minimize
from scipy.special import log_softmax

from models.classes import CLASSES
from models.features import FEATURES, Features
from models.head import Head
from training.group import Group
from training.loop import TrainingDiverged
from training.progress import Step
from training.settings import HeadSettings

BLOCKS = 16
"""The images are summed in so many parts, whoever computes which: so the sums, and with them the
head, do not depend on the number of workers to the last bit. More workers than this are idle."""

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Examples:
    """What a head learns from."""

    features: Features
    """float32, shape (images, 1280)."""
    labels: npt.NDArray[np.int64]
    """Columns of `CLASSES`, shape (images,)."""
    weights: Doubles
    """Of each image in the loss, above 0, shape (images,)."""

    def frequencies(self) -> Doubles:
        """Share of each class by weight, shape (7,); an absent class counts as one image."""
        counts = np.bincount(self.labels, self.weights, minlength=len(CLASSES))
        shares: Doubles = np.maximum(counts, 1) / counts.sum()
        return shares


def fit_head(
    start: Head,
    examples: Examples,
    adjustment: Doubles,
    settings: HeadSettings,
    *,
    group: Group | None = None,
    on_iteration: Callable[[Step], None] = lambda step: None,
) -> Head:
    """Minimise the weighted cross-entropy of all examples, held near the start.

    The loss is mean(w * cross-entropy(logits + adjustment)) + anchor * |head - start|^2: strictly
    convex, so that there is one answer and L-BFGS finds it.

    Args:
        start: the champion's head.
        examples: of all processes, the same in each; a process computes with its share.
        adjustment: added to the logits while fitting, shape (7,), as class frequencies are kept
            out of them (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).
        settings: of the fit.
        group: the processes that fit together.
        on_iteration: called in each process after each iteration; what it raises ends the fit,
            and has to be raised in all processes alike.

    Raises:
        TrainingDiverged: if the loss is not finite, which means that features are not.

    Source: Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning with
    Convolutional Networks", ICML 2018 (the anchor, L2-SP); Liu, Nocedal, "On the limited memory
    BFGS method for large scale optimization", Mathematical Programming 1989.
    """
    objective = _Objective(start, examples, adjustment, settings.anchor, group or Group())
    iteration = 0

    def on_step(intermediate_result: OptimizeResult) -> None:
        nonlocal iteration
        iteration += 1
        loss = float(intermediate_result.fun)
        on_iteration(Step(step=iteration, steps=settings.iterations, epoch=0, loss=loss))

    found = minimize(
        objective,
        objective.start,
        jac=True,
        method="L-BFGS-B",
        callback=on_step,
        options={"maxiter": settings.iterations},
    )
    return _unpack(found.x.astype(np.float32))


class _Objective:
    """The loss and its gradient at a point, the same numbers in every process of the group."""

    def __init__(
        self, start: Head, examples: Examples, adjustment: Doubles, anchor: float, group: Group
    ) -> None:
        self.start = np.column_stack([start.weight, start.bias]).astype(np.float64).ravel()
        self._anchor = anchor
        self._group = group
        self._adjustment = adjustment
        self._weight = float(examples.weights.sum())
        self._blocks = {block: _Block.of(examples, block) for block in group.share(range(BLOCKS))}

    def __call__(self, point: Doubles) -> tuple[float, Doubles]:
        sums = torch.zeros(BLOCKS, 1 + len(point), dtype=torch.float64)
        for number, block in self._blocks.items():
            loss, gradient = block.sums(point, self._adjustment)
            sums[number, 0] = loss
            sums[number, 1:] = torch.from_numpy(gradient)
        # What is added to a block's row from elsewhere is zero.
        total = self._group.sum_(sums).numpy().sum(axis=0) / self._weight
        distance = point - self.start
        loss = float(total[0] + self._anchor * distance @ distance)
        if not np.isfinite(loss):
            raise TrainingDiverged(
                "The loss of the head is not finite: a feature is not. Look at the images."
            )
        return loss, total[1:] + 2 * self._anchor * distance


@dataclass(frozen=True)
class _Block:
    """A part of the examples, ready for double precision."""

    features: Doubles
    """With a last column of ones, for the bias."""
    labels: npt.NDArray[np.int64]
    weights: Doubles

    @classmethod
    def of(cls, examples: Examples, number: int) -> _Block:
        own = slice(number, None, BLOCKS)
        features = examples.features[own].astype(np.float64)
        ones = np.ones((len(features), 1))
        return cls(np.hstack([features, ones]), examples.labels[own], examples.weights[own])

    def sums(self, point: Doubles, adjustment: Doubles) -> tuple[float, Doubles]:
        """The loss and its gradient, summed over the images."""
        matrix = point.reshape(len(CLASSES), FEATURES + 1)
        log_likelihood = log_softmax(self.features @ matrix.T + adjustment, axis=1)
        rows = np.arange(len(self.labels))
        residual = np.exp(log_likelihood)
        residual[rows, self.labels] -= 1
        residual *= self.weights[:, None]
        loss = -float(self.weights @ log_likelihood[rows, self.labels])
        return loss, (residual.T @ self.features).ravel()


def _unpack(point: npt.NDArray[np.float32]) -> Head:
    matrix = point.reshape(len(CLASSES), FEATURES + 1)
    return Head(np.ascontiguousarray(matrix[:, :-1]), np.ascontiguousarray(matrix[:, -1]))
