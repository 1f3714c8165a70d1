"""The promotion gate put to the test: how often it lets honest uploads pass, and wrong labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.command import run
from models.architecture import load_classifier
from models.classes import CLASSES
from models.features import ReplayFeatures, load_replay
from models.head import Head
from models.package import BUNDLED_CHAMPION, REPLAY_FILE, WEIGHTS_FILE, DecisionRules, ModelPackage
from training.calibration import fit_temperature
from training.head import Examples, fit_head
from training.judged import Judged, Labels
from training.judgement import judged_by
from training.promotion.gate import GateDecision, decide
from training.promotion.gate_file import PROMOTION_FILE, GateFile
from training.replayed import replayed
from training.settings import HeadSettings

SETTINGS = HeadSettings()

MEL, NV = CLASSES.index("mel"), CLASSES.index("nv")

Draw = Callable[[Labels], npt.NDArray[np.float64]]
Mislabel = Callable[[Labels, np.random.Generator], Labels]


@dataclass(frozen=True)
class Scenario:
    """Uploads of one kind."""

    name: str
    draw: Draw
    """How likely each image is drawn, from its true label."""
    mislabel: Mislabel = lambda labels, rng: labels


def as_they_come(labels: Labels) -> npt.NDArray[np.float64]:
    """Every image alike, two thirds of them nevi."""
    return np.ones(len(labels))


def balanced(labels: Labels) -> npt.NDArray[np.float64]:
    """Every class alike, as far as there are images."""
    return 1 / np.bincount(labels, minlength=len(CLASSES))[labels]


def only(*columns: int) -> Draw:
    """Images of some classes, each class alike."""
    return lambda labels: balanced(labels) * np.isin(labels, columns)


def swapped(labels: Labels, rng: np.random.Generator) -> Labels:
    """Melanomas are called nevi, and the other way round."""
    return np.where(labels == MEL, NV, np.where(labels == NV, MEL, labels))


def shifted(labels: Labels, rng: np.random.Generator) -> Labels:
    """Every class is called the next one."""
    return (labels + 1) % len(CLASSES)


def half_shifted(labels: Labels, rng: np.random.Generator) -> Labels:
    """Half of the labels are wrong."""
    return np.where(rng.random(len(labels)) < 0.5, shifted(labels, rng), labels)


def all_nevi(labels: Labels, rng: np.random.Generator) -> Labels:
    """Everything is called a nevus."""
    return np.full_like(labels, NV)


def anything(labels: Labels, rng: np.random.Generator) -> Labels:
    """Labels drawn at random, each class alike."""
    return rng.integers(0, len(CLASSES), len(labels))


NO_NEVI = only(*(column for column in range(len(CLASSES)) if column != NV))

SCENARIOS = (
    Scenario("honest, as they come", as_they_come),
    Scenario("honest, classes alike", balanced),
    Scenario("honest, melanomas only", only(MEL)),
    Scenario("melanomas and nevi swapped", only(MEL, NV), swapped),
    Scenario("every class called the next", balanced, shifted),
    Scenario("no nevi, all called nevi", NO_NEVI, all_nevi),
    Scenario("as they come, all called nevi", as_they_come, all_nevi),
    Scenario("labels at random", balanced, anything),
    Scenario("half called the next class", balanced, half_shifted),
    Scenario("as they come, mel and nv swapped", as_they_come, swapped),
    Scenario("classes alike, mel and nv swapped", balanced, swapped),
)


class Model(NamedTuple):
    """A head, and the rules that its logits are read by."""

    head: Head
    rules: DecisionRules

    def judge(self, split: ReplayFeatures) -> Judged:
        """Its answers to a split of HAM10000."""
        return judged_by(self.rules, replayed(split, self.head))


class Attempt(NamedTuple):
    """A challenger and the uploads that it learned from, as the champion sees them."""

    challenger: Judged
    uploads: Judged


class Trials:
    """Retrainings of the bundled champion's head, with validation images as the uploads.

    The champion did not learn from them. The rest of the validation images calibrate.
    """

    def __init__(self, *, refitted: bool = False) -> None:
        """Read the champion.

        Args:
            refitted: begin with a champion that was fitted as challengers are, without uploads.
                A first retraining gains by that alone, which may hide what its uploads cost.
        """
        package = ModelPackage.load(BUNDLED_CHAMPION)
        replay = load_replay(package.file(REPLAY_FILE))
        self._train, self._validation = replay["train"], replay["validation"]
        self._test = replay["test"]
        network = load_classifier(package.file(WEIGHTS_FILE))
        self._champion = Model(Head.of(network), package.manifest.decision)
        if refitted:
            nothing = np.array([], np.int64)
            self._champion = self._fit(nothing, nothing)
        self.champion = self._champion.judge(self._test)
        self.pool = self._champion.judge(self._validation)
        """What uploads are taken from."""

    def attempt(self, scenario: Scenario, count: int, seed: int) -> Attempt:
        """Retrain with `count` uploads of a kind, or with as many as there are."""
        rng = np.random.default_rng(seed)
        likely = scenario.draw(self.pool.labels)
        count = min(count, int(np.count_nonzero(likely)))
        rows = rng.choice(len(self.pool), count, replace=False, p=likely / likely.sum())
        return self.retrain(rows, scenario.mislabel(self.pool.labels[rows], rng))

    def retrain(self, rows: npt.NDArray[np.int64], labels: Labels) -> Attempt:
        """Fit a challenger on the base images and on these rows of the pool, so labelled."""
        images = [
            replace(self.pool.images[row], diagnosis=CLASSES[label])
            for row, label in zip(rows, labels, strict=True)
        ]
        uploads = Judged(
            tuple(images), self.pool.logits[rows], self.pool.probabilities[rows], labels
        )
        return Attempt(self._fit(rows, labels).judge(self._test), uploads)

    def _fit(self, rows: npt.NDArray[np.int64], labels: Labels) -> Model:
        """As a head run does it (`training.retraining.head_work`), without its processes."""
        base = Examples(self._train.features, self._train.labels, np.ones(len(self._train)))
        examples = Examples(
            np.concatenate([base.features, self._validation.features[rows]]),
            np.concatenate([base.labels, labels]),
            np.concatenate([base.weights, np.full(len(rows), SETTINGS.upload_weight)]),
        )
        shift = np.array(self._champion.rules.logit_shift)
        moved = np.log(examples.frequencies() / base.frequencies())
        head = fit_head(self._champion.head, examples, shift + moved, SETTINGS)
        lesions = np.array(self._validation.lesion_ids)
        rest = ~np.isin(lesions, lesions[rows])
        logits = head.logits(self._validation.features[rest]) + shift
        temperature = fit_temperature(logits, self._validation.labels[rest])
        rules = self._champion.rules.model_copy(update={"temperature": temperature})
        return Model(head, rules)


def gate(
    seeds: Annotated[int, typer.Option(min=1, help="Draws of uploads for each row.")] = 20,
    images: Annotated[list[int] | None, typer.Option(help="Uploads; may be repeated.")] = None,
    file: Annotated[Path, typer.Option(help="The gate file.")] = PROMOTION_FILE,
) -> None:
    """Retrain the bundled champion's head with uploads of many kinds, and ask the gate.

    Example: python -m benchmarks.gate --seeds 5 --images 200
    """
    rules = GateFile.load(file)
    console = Console()
    for refitted in (False, True):
        trials = Trials(refitted=refitted)
        table = Table("uploads", "images", "passed", "refused by", *_MEDIANS)
        for scenario in SCENARIOS:
            for count in images or (10, 50, 200):
                decisions = [_decide(trials, scenario, count, seed, rules) for seed in range(seeds)]
                table.add_row(scenario.name, str(count), *_summary(decisions))
        begin = "the champion refitted without uploads" if refitted else "the bundled champion"
        console.print(f"Challengers of {begin}, {seeds} draws a row; medians and 5 to 95 %")
        console.print(table)


_MEDIANS = {
    "balanced accuracy": "balanced_accuracy",
    "melanoma sensitivity": "melanoma_sensitivity",
    "calibration error": "calibration_increase",
    "labels, excess": "labels",
}
"""Columns, and the rules that they show."""


def _decide(
    trials: Trials, scenario: Scenario, count: int, seed: int, rules: GateFile
) -> GateDecision:
    attempt = trials.attempt(scenario, count, seed)
    return decide(trials.champion, attempt.challenger, attempt.uploads, count, rules)


def _summary(decisions: Sequence[GateDecision]) -> list[str]:
    passed = sum(decision.passed for decision in decisions)
    refusals = Counter(r.name for d in decisions for r in d.rules if not r.passed)
    cells = [
        f"{passed} of {len(decisions)}",
        ", ".join(f"{name} {times}" for name, times in refusals.most_common()),
    ]
    for name in _MEDIANS.values():
        found = [r.value for d in decisions for r in d.rules if r.name == name]
        values = [value for value in found if value is not None]
        if values:
            low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
            cells.append(f"{middle:+.3f} ({low:+.3f} to {high:+.3f})")
        else:
            cells.append("not judged")
    return cells


if __name__ == "__main__":
    run(gate)
