"""The model card: what a package is, what it is good for and how well it did."""

from __future__ import annotations

from typing import Any, cast

from models.package import Manifest

_INTENDED_USE = """\
Research and education: decision support on single dermatoscopic images of pigmented skin
lesions, never a diagnosis. Not a medical device. The seven HAM10000 classes are all it
knows; any other condition will be given one of their names."""

_LIMITS = """\
HAM10000 comes from two sites (Vienna and Queensland), mostly light skin, and two kinds of
camera. Expect worse results on other skin types, cameras and populations, and test there
before relying on a number from this page."""


def model_card(manifest: Manifest) -> str:
    """Render a manifest as Markdown."""
    test = cast(dict[str, Any], manifest.metrics["test"])
    point = manifest.decision.malignant
    rows = "\n".join(
        f"| {code} | {entry['images']} | {entry['recall']:.3f} | {entry['precision']:.3f} "
        f"| {entry['auc']:.3f} |"
        for code, entry in test["by_class"].items()
    )
    return f"""\
# DermServe model {manifest.version}

MobileNetV2, 224 x 224, seven classes. Created {manifest.created:%Y-%m-%d}.

## Intended use

{_INTENDED_USE}

## Test results

On {test["images"]} images of lesions that were seen neither in training nor in validation,
one forward pass each:

| measure | value |
|---|---|
| balanced accuracy | {test["balanced_accuracy"]:.3f} |
| macro AUC (one versus rest) | {test["macro_auc"]:.3f} |
| accuracy | {test["accuracy"]:.3f} |
| accuracy of always answering nv | {test["accuracy_always_nv"]:.3f} |
| expected calibration error | {test["expected_calibration_error"]:.3f} |
| Brier score | {test["brier_score"]:.3f} |

| class | images | recall | precision | AUC |
|---|---|---|---|---|
{rows}

The predicted class is the one the image speaks for most, all seven taken as equally frequent;
that is what balanced accuracy asks for. The probabilities beside it are calibrated at the
class frequencies of HAM10000, so a common class may show a higher one.

Malignant score (mel + bcc + akiec) at the threshold {point.threshold:.4f}, set for a
sensitivity of {point.validation_sensitivity:.2f} on validation: test sensitivity
{point.test_sensitivity:.3f}, specificity {point.test_specificity:.3f}.

## Data

HAM10000, split 70/10/20 by lesion within each class with seed {manifest.split.seed}; images
published under two lesion ids are kept together. Dataset hash `{manifest.dataset_hash}`.

| split | {" | ".join(manifest.classes)} |
|---|{"---|" * len(manifest.classes)}
{_split_row("train", manifest)}
{_split_row("validation", manifest)}
{_split_row("test", manifest)}

Images that exist only at 200 x 150 pixels were enlarged; sharp ones were blurred at random
in training, so that blur carries no label.

## Limits

{_LIMITS}

## Licence

{manifest.licence}. Cite: {manifest.citation}.
"""


def _split_row(name: str, manifest: Manifest) -> str:
    counts = getattr(manifest.split, name)
    return f"| {name} | " + " | ".join(str(counts.get(c, 0)) for c in manifest.classes) + " |"
