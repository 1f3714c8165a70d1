"""The results of an evaluation: numbers with their intervals, ready for JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from training.judged import Target


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Estimate(_Frozen):
    """A measure and its 95 % interval."""

    value: FiniteFloat
    low: FiniteFloat | None = Field(
        description="None, like `high`, where no resample moved the measure or none was made"
    )
    high: FiniteFloat | None


class ClassResult(_Frozen):
    """One class against the rest; every estimate is None where the split has no image of it."""

    images: int
    lesions: int
    auc: Estimate | None
    precision: Estimate | None
    recall: Estimate | None
    specificity: Estimate | None
    f1: Estimate | None
    calibration_error: Estimate | None


class Confusion(_Frozen):
    """Decisions (columns) by true class (rows), both in the order of `classes`."""

    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    shares: tuple[tuple[float, ...] | None, ...] = Field(
        description="of each row; None for a class without images"
    )


class RocCurve(_Frozen):
    """Points of a ROC curve, at most 200, from (0, 0) to (1, 1)."""

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]


class ReliabilityBin(_Frozen):
    """Images whose decision was given a confidence of `low` up to `high`."""

    low: float
    high: float
    images: int
    correct: int
    confidence: float | None = Field(description="mean; None in an empty bin")


class Calibration(_Frozen):
    """How far probabilities mean what they say, of the decision of each image."""

    expected_calibration_error: float
    brier_score: float
    negative_log_likelihood: float = Field(description="nats per image")
    reliability: tuple[ReliabilityBin, ...]


class Subgroup(_Frozen):
    """The images that share one attribute."""

    kind: str = Field(description="the attribute, such as `sex`")
    name: str = Field(description="its value, such as `female`")
    images: int
    lesions: int
    images_by_class: dict[str, int] = Field(
        description="of the classes present; balanced accuracy is the mean recall over these"
    )
    too_few: bool = Field(description="too few images to tell: no estimate is given")
    balanced_accuracy: Estimate | None
    sensitivity: Estimate | None = Field(description="None also with too few malignant images")
    specificity: Estimate | None = Field(description="None also with too few benign images")


class Rates(_Frozen):
    """What a threshold on a score does on one split."""

    sensitivity: Estimate | None
    specificity: Estimate | None
    flagged: float = Field(description="share of all images at or above the threshold")


class OperatingPointResult(_Frozen):
    """One threshold on the split that chose it and on images that did not."""

    name: str
    target: Target
    threshold: float
    validation: Rates
    test: Rates


class Evaluation(_Frozen):
    """What a model is worth on one split."""

    images: int
    lesions: int
    resamples: int = Field(description="of lesions within their class, for the intervals")
    seed: int
    balanced_accuracy: Estimate = Field(description="mean recall over the classes present")
    accuracy: Estimate
    accuracy_always_nv: float
    macro_auc: Estimate | None = Field(description="mean over the classes present")
    malignant_auc: Estimate | None
    brier_score: Estimate
    negative_log_likelihood: Estimate = Field(description="nats per image")
    expected_calibration_error: Estimate = Field(description="15 equal-width bins, 0..1")
    by_class: dict[str, ClassResult]
    confusion: Confusion
    roc: dict[str, RocCurve] = Field(description="by class code, and `malignant`")
    reliability: tuple[ReliabilityBin, ...]
    malignant_threshold: float | None
    malignant: Rates | None = Field(description="at that threshold")
    minimum_images: int = Field(description="a subgroup needs to be judged")
    subgroups: tuple[Subgroup, ...]
