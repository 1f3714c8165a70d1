"""The judge of a head run: the champion's features, on which a head is judged and packaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.ham10000 import Ham10000, LesionImage
from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.features import ReplayFeatures
from models.head import Head
from models.package import WEIGHTS_FILE, ModelPackage
from training.judged import Judged
from training.judgement import judged_by
from training.packaging import write_head_package
from training.predictions import Answers
from training.replayed import replayed, replayed_images
from training.retraining.challenger import class_counts, finished_package
from training.retraining.head_folder import HeadPlan, UploadFeatures
from training.seal import Origin

_FORWARD = (
    "the head on the champion's features, which it keeps with one byte per number, of 224 x 224 "
    "images; no test-time augmentation"
)


@dataclass(frozen=True)
class HeadJudge:
    """A champion, and the images that it can judge heads on without having them."""

    champion: ModelPackage
    replay: dict[str, ReplayFeatures]
    """Of the base images, by split."""

    def test(self, package: ModelPackage) -> Judged:
        """The test images by a package with this backbone, the champion's or another.

        Raises:
            InvalidPackage: if its weights are damaged.
        """
        answers = replayed(self.replay["test"], Head.of(_network(package)))
        return judged_by(package.manifest.decision, answers)

    def uploads(self, images: Sequence[LesionImage], found: UploadFeatures) -> Judged:
        """The readable ones of some uploads, by the champion."""
        readable = found.of_readable(images)
        labels = np.array([CLASSES.index(image.diagnosis) for image in readable])
        logits = Head.of(_network(self.champion)).logits(found.features[found.readable])
        return judged_by(self.champion.manifest.decision, Answers(readable, labels, logits))

    def package(
        self,
        head: Head,
        plan: HeadPlan,
        found: UploadFeatures,
        *,
        run: str,
        version: str,
        output: Path,
        bootstrap: int,
    ) -> ModelPackage:
        """Judge a head and write its package, if an earlier attempt has not written it.

        Args:
            head: that the run came to.
            plan: of the run.
            found: features of its uploads.
            run: its name.
            version, output, bootstrap: as `run_head` takes them.

        Raises:
            InvalidPackage, InvalidConfiguration, PackageNotWritten: as `write_head_package`
                raises them.
        """
        stamp = {"run": run, "plan": plan.hash}
        if (finished := finished_package(output, version, stamp)) is not None:
            return finished
        uploads = found.of_readable(plan.uploads)
        manifest = self.champion.manifest
        base = [image for part in self.replay.values() for image in replayed_images(part)]
        model = _network(self.champion)
        head.put_on(model)
        return write_head_package(
            output,
            model,
            self.champion,
            validation=replayed(self.replay["validation"], head),
            test=replayed(self.replay["test"], head),
            origin=Origin(
                version,
                manifest.split.model_copy(update={"uploads": class_counts(uploads)}),
                Ham10000((*base, *uploads)).hash,
                {
                    **stamp,
                    "mode": "head",
                    "champion": manifest.version,
                    **plan.settings.model_dump(mode="json"),
                },
                notes=_notes(manifest.version, plan, len(uploads)),
                forward=_FORWARD,
            ),
            bootstrap=bootstrap,
        )


def _network(package: ModelPackage) -> LesionClassifier:
    return load_classifier(package.file(WEIGHTS_FILE))


def _notes(champion: str, plan: HeadPlan, uploads: int) -> tuple[str, ...]:
    settings = plan.settings
    return (
        f"Only the head was trained. The backbone, and with it the features and what tells "
        f"novelty, is that of version {champion}; the figures on novelty are that version's.",
        f"The head was fitted by L-BFGS from version {champion}'s to its features of the base "
        f"images and of {uploads} uploads, each of which weighs as much as "
        f"{settings.upload_weight:g} base images, and held near where it began by "
        f"{settings.anchor:g} times the squared distance.",
        "An eight-bit graph was not tried: quantising one takes minutes, and images that a head "
        "run need not have.",
    )
