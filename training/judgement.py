"""Judgement: all that a package says of a model's worth, worked out from its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibration import temperature_scale
from models.decision import calibrated_probabilities, decide
from models.package import DecisionRules
from training.evaluate import calibration_of, evaluate, quick_metrics
from training.judged import Judged
from training.novelty import NoveltyResult
from training.operating_points import operating_points, thresholds_for
from training.predictions import Answers
from training.quantization import Int8Verdict
from training.report import Section, write_report
from training.results import Calibration, Evaluation, OperatingPointResult


@dataclass(frozen=True)
class Judgement:
    """How a model did on images that did not train it."""

    validation: Judged
    test: Judged
    evaluation: Evaluation
    """On the test split."""
    calibration_steps: dict[str, Calibration]
    """On the test split, step by step from bare logits to what is served."""
    operating_points: tuple[OperatingPointResult, ...]
    coverage: float
    """Share of test images whose true class is in the prediction set."""
    set_size: float
    """Mean number of classes in a prediction set."""
    uncertain: float
    """Share of test images on which the model abstains as too uncertain."""
    novelty: NoveltyResult
    int8: Int8Verdict | None

    def metrics(self) -> dict[str, Any]:
        """The numbers for the manifest, plain JSON."""
        evaluation = self.evaluation
        test = _quick(self.test)
        test["intervals"] = {
            name: [estimate.low, estimate.high]
            for name in ("balanced_accuracy", "macro_auc", "accuracy", "brier_score")
            if (estimate := getattr(evaluation, name)) is not None
        }
        test["lesions"] = evaluation.lesions
        test["prediction_set"] = {"coverage": self.coverage, "mean_size": self.set_size}
        test["too_uncertain"] = self.uncertain
        metrics: dict[str, Any] = {
            "validation": _quick(self.validation),
            "test": test,
            "calibration": {
                name: step.model_dump(exclude={"reliability"})
                for name, step in self.calibration_steps.items()
            },
            "novelty": self.novelty.model_dump(),
        }
        if self.int8 is not None:
            metrics["int8"] = self.int8.model_dump()
        return metrics


def judge(
    validation: Answers,
    test: Answers,
    rules: DecisionRules,
    novelty: NoveltyResult,
    int8: Int8Verdict | None,
    bootstrap: int,
) -> Judgement:
    """Judge predictions by a model's own rules.

    Args:
        validation: the split that the rules were fitted on.
        test: images that decided nothing.
        rules: of the model.
        novelty, int8: as they were found.
        bootstrap: resamples for the intervals; >= 0.
    """
    judged = {"validation": judged_by(rules, validation), "test": judged_by(rules, test)}
    thresholds = thresholds_for(judged["validation"])
    thresholds["served"] = rules.malignant.threshold
    # As if nothing were novel: that has its own numbers.
    decisions = decide(test.logits, np.zeros(len(test), np.float32), rules)
    truth = [image.diagnosis for image in test.images]
    sets = [decision.prediction_set for decision in decisions]
    return Judgement(
        validation=judged["validation"],
        test=judged["test"],
        evaluation=evaluate(
            judged["test"], bootstrap, malignant_threshold=rules.malignant.threshold
        ),
        calibration_steps=_calibration_steps(test, judged["test"], rules),
        operating_points=operating_points(
            judged["validation"], judged["test"], thresholds, bootstrap
        )
        + operating_points(
            judged["validation"],
            judged["test"],
            {"melanoma, served": rules.melanoma.threshold},
            bootstrap,
            target="mel",
        ),
        coverage=float(np.mean([code in each for code, each in zip(truth, sets, strict=True)])),
        set_size=float(np.mean([len(each) for each in sets])),
        uncertain=float(np.mean([decision.abstain_reason is not None for decision in decisions])),
        novelty=novelty,
        int8=int8,
    )


def report(
    folder: Path,
    judgement: Judgement,
    *,
    version: str,
    dataset_hash: str,
    split_name: str,
    forward: str,
    history: Sequence[Mapping[str, object]],
) -> Path:
    """Write the evaluation report of a package; see `write_report`.

    Args:
        forward: how the answers were got, in words.
    """
    return write_report(
        folder,
        judgement.evaluation,
        model_version=version,
        dataset_hash=dataset_hash,
        facts={"forward": forward, "split": split_name},
        before_after_calibration=judgement.calibration_steps,
        operating_points=judgement.operating_points,
        history=history,
        novelty=_novelty_section(judgement),
        quantisation=_int8_section(judgement.int8),
        extra=[_set_section(judgement)],
    )


def judged_by(rules: DecisionRules, answers: Answers) -> Judged:
    """A network's answers with the probabilities that its rules make of them.

    Raises:
        InvalidPredictions: as `Judged` raises it.
    """
    probabilities = calibrated_probabilities(answers.logits, rules)
    return Judged(answers.images, answers.logits, probabilities, answers.labels)


def _quick(judged: Judged) -> dict[str, Any]:
    return dict(quick_metrics(judged.predicted, judged.probabilities, judged.labels))


def _calibration_steps(
    test: Answers, judged: Judged, rules: DecisionRules
) -> dict[str, Calibration]:
    shifted = test.logits + np.asarray(rules.logit_shift, np.float32)
    steps: dict[str, npt.NDArray[np.float32]] = {
        "bare logits": temperature_scale(test.logits, 1.0),
        "with class frequencies": temperature_scale(shifted, 1.0),
        "and temperature": judged.probabilities,
    }
    return {
        name: calibration_of(probabilities, judged.predicted, judged.labels)
        for name, probabilities in steps.items()
    }


def _novelty_section(judgement: Judgement) -> Section:
    novelty = judgement.novelty
    return Section(
        title="Knowing what is no lesion",
        sentences=(
            f"The threshold {novelty.threshold:.3f} accepts {novelty.acceptance:.0%} of the "
            f"validation lesions. It flags {novelty.test_false_alarms:.1%} of the test lesions, "
            f"and {novelty.detected:.1%} of {novelty.pictures} pictures that show no lesion.",
        ),
        columns=("Pictures of", "Flagged"),
        rows=tuple((kind, f"{share:.0%}") for kind, share in novelty.detected_by_kind.items()),
    )


def _int8_section(verdict: Int8Verdict | None) -> Section | None:
    if verdict is None:
        return None
    return Section(
        title="Eight-bit graph",
        sentences=(verdict.reason,),
        columns=("On validation", "Value"),
        rows=(
            ("Balanced accuracy before", f"{verdict.balanced_accuracy_before:.4f}"),
            ("Balanced accuracy after", f"{verdict.balanced_accuracy_after:.4f}"),
            ("Same class as before", f"{verdict.agreement:.2%}"),
        ),
    )


def _set_section(judgement: Judgement) -> Section:
    return Section(
        title="Prediction sets",
        sentences=(
            f"The set holds the true class of {judgement.coverage:.1%} of the test images and has "
            f"{judgement.set_size:.2f} classes on average; {judgement.uncertain:.1%} of the images "
            "have so many candidates that the model abstains as too uncertain.",
        ),
    )
