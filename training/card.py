"""The model card: what a package is, what it is good for and how well it did."""

from __future__ import annotations

from collections.abc import Iterable

from models.package import Manifest, OperatingPoint
from training.findings import subgroup_sentences, with_interval
from training.judgement import Judgement

_INTENDED_USE = """\
Research and education: decision support on single dermatoscopic images of pigmented skin
lesions, never a diagnosis. Not a medical device. The seven HAM10000 classes are all it
knows; any other condition will be given one of their names, or flagged as out of distribution
if it looks unlike all of them."""

_LIMITS = """\
HAM10000 comes from two sites (Vienna and Queensland), mostly light skin, and few kinds of
camera. Expect worse results on other skin types, cameras and populations, and test there
before relying on a number from this page."""


def model_card(manifest: Manifest, judgement: Judgement) -> str:
    """Render what is known of a model as Markdown.

    Args:
        manifest: of the package.
        judgement: of the same model.
    """
    evaluation, decision = judgement.evaluation, manifest.decision
    novelty = judgement.novelty
    headline = _table(
        ("measure", "value (95 % interval, resampled lesions)"),
        [
            ("balanced accuracy", with_interval(evaluation.balanced_accuracy)),
            ("macro AUC (one versus rest)", with_interval(evaluation.macro_auc)),
            ("AUC malignant against benign", with_interval(evaluation.malignant_auc)),
            ("accuracy", with_interval(evaluation.accuracy)),
            ("accuracy of always answering nv", f"{evaluation.accuracy_always_nv:.3f}"),
            ("expected calibration error", with_interval(evaluation.expected_calibration_error)),
            ("Brier score", with_interval(evaluation.brier_score)),
        ],
    )
    classes = _table(
        ("class", "images", "recall", "precision", "F1", "AUC"),
        [
            (
                code,
                str(each.images),
                with_interval(each.recall),
                with_interval(each.precision),
                with_interval(each.f1),
                with_interval(each.auc),
            )
            for code, each in evaluation.by_class.items()
        ],
    )
    calibration = _table(
        ("test probabilities", "ECE", "Brier score", "negative log-likelihood"),
        [
            (
                name,
                f"{step.expected_calibration_error:.3f}",
                f"{step.brier_score:.3f}",
                f"{step.negative_log_likelihood:.3f}",
            )
            for name, step in judgement.calibration_steps.items()
        ],
    )
    parts = ["train", "validation", "test"] + ["uploads"] * bool(manifest.split.uploads)
    splits = _table(
        ("split", *manifest.classes),
        [
            (name, *(str(getattr(manifest.split, name).get(c, 0)) for c in manifest.classes))
            for name in parts
        ],
    )
    points = _table(
        ("score", "threshold", "set for sensitivity", "test sensitivity", "test specificity"),
        [
            ("p(mel)", *_point(decision.melanoma)),
            ("p(mel) + p(bcc) + p(akiec)", *_point(decision.malignant)),
        ],
    )
    kinds = ", ".join(f"{kind} {share:.0%}" for kind, share in novelty.detected_by_kind.items())
    return f"""\
# DermServe model {manifest.version}

MobileNetV2, 224 x 224, seven classes. Created {manifest.created:%Y-%m-%d}. The full evaluation,
with curves and subgroups, is in `report.html`.

## Intended use

{_INTENDED_USE}

## Test results

On {evaluation.images} images of {evaluation.lesions} lesions that were seen neither in training
nor in validation, one forward pass each, no test-time augmentation:

{headline}

{classes}

The predicted class is the one the image speaks for most, all seven taken as equally frequent;
that is what balanced accuracy asks for. The probabilities beside it are calibrated at the
class frequencies of HAM10000, so a common class may show a higher one.

## Operating points

Thresholds were set on validation and only tried on test.

{points}

## Calibration

{calibration}

Temperature {decision.temperature:.3f}, fitted on validation.

## Knowing what it does not know

The model abstains, as `too_uncertain`, when its prediction set has more than
{decision.max_prediction_set} classes: on {judgement.uncertain:.1%} of the test images. The sets
are set for {decision.prediction_set_coverage:.0%} coverage; on test they hold the true class of
{judgement.coverage:.1%} and have {judgement.set_size:.2f} classes on average.

It abstains, as `out_of_distribution`, above a novelty of {novelty.threshold:.3f}, which accepts
{novelty.acceptance:.0%} of the validation lesions. It then flags {novelty.test_false_alarms:.1%}
of the test lesions, and {novelty.detected:.1%} of {novelty.pictures} pictures without a lesion
({kinds}).

## Eight-bit graph

{judgement.int8.reason if judgement.int8 else "None was made."}

## Data

HAM10000, split `{manifest.split.name}`: 70/10/20 by lesion within each class, near-copies kept
together. Dataset hash `{manifest.dataset_hash}`, split hash `{manifest.split.hash}`.

{splits}

Images that exist only at 200 x 150 pixels were enlarged; sharp ones were blurred at random
in training, so that blur carries no label.

## Recipe

{_notes(manifest.notes)}

The settings of the run are in `model.json`.

## Limits

{_LIMITS}

{_sentences(subgroup_sentences(evaluation))}

## Licence

{manifest.licence}. Cite: {manifest.citation}.
"""


def _sentences(sentences: Iterable[str]) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _point(point: OperatingPoint) -> tuple[str, ...]:
    return (
        f"{point.threshold:.4f}",
        f"{point.validation_sensitivity:.2f}",
        f"{point.test_sensitivity:.3f}",
        f"{point.test_specificity:.3f}",
    )


def _notes(notes: Iterable[str]) -> str:
    return _sentences(notes) or "No ablation was recorded for this run."


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
