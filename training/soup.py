"""Soup: one network from the average of several along a training run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.architecture import LesionClassifier, load_classifier
from models.errors import InvalidConfiguration


def average_networks(paths: Sequence[Path]) -> LesionClassifier:
    """The network whose every weight and statistic is the mean of the given networks'.

    It often beats each of them, if they come from one run: their errors differ more than their
    weights do.

    Args:
        paths: safetensors of whole networks, at least one.

    Returns:
        In evaluation mode, on the CPU.

    Raises:
        InvalidConfiguration: if there is no path.
        InvalidPackage: if a file is not this network's.

    Source: Wortsman et al., "Model soups", ICML 2022.
    """
    if not paths:
        raise InvalidConfiguration("There are no weights to average. Give at least one file.")
    average, *others = (load_classifier(path) for path in paths)
    states = [other.state_dict() for other in others]
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            total = sum((state[name].double() for state in states), value.double())
            value.copy_(total / len(paths))
    return average
