"""The pipeline: its numbers are true, and a run that fails changes nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs import FOLDER
from data.ham10000 import Ham10000, LesionImage, load_ham10000
from data.splits import SPLITS, Split, split_by_lesion
from models.architecture import load_classifier
from models.classes import CLASSES, MALIGNANT_COLUMNS
from models.configuration import read_config
from models.decision import calibrated_probabilities
from models.errors import DermServeError, InvalidConfiguration, InvalidDataset, InvalidPackage
from models.package import BUNDLED_CHAMPION, WEIGHTS_FILE, ModelPackage
from training.dataset import load_images
from training.evaluation import evaluate, sensitivity_specificity
from training.loop import Step, TrainingDiverged, predict_logits
from training.packaging import fit_decision_rules
from training.pipeline import Progress, run_training
from training.settings import Phase, TrainingSettings

SETTINGS = TrainingSettings(batch_size=8, phases=(Phase(epochs=1, image_size=64),))


@pytest.fixture
def dataset(synthetic_dataset: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(synthetic_dataset, tmp_path / "ham10000")


@pytest.fixture
def split(dataset: Path) -> Split:
    """The split that a run with `SETTINGS` makes of the copy."""
    return split_by_lesion(load_ham10000(dataset).images, SETTINGS.seed)


@pytest.fixture
def old(tiny_package: ModelPackage, tmp_path: Path) -> Path:
    """A package that a run is to replace."""
    return shutil.copytree(tiny_package.folder, tmp_path / "models" / "old")


class Listener(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.decoded: Counter[str] = Counter()
        self.splits: dict[str, int] = {}
        self.steps: list[Step] = []
        self.epochs: list[tuple[int, Any]] = []
        self.warnings: list[str] = []
        super().__init__(
            on_images=self._on_images,
            on_step=self.steps.append,
            on_epoch=lambda epoch, metrics: self.epochs.append((epoch, metrics)),
            on_warning=self.warnings.append,
        )

    def _on_images(self, name: str, count: int) -> Any:
        self.splits[name] = count
        return lambda: self.decoded.update([name])


def test_the_manifests_numbers_are_those_of_the_weights(
    tiny_package: ModelPackage, synthetic_dataset: Path
) -> None:
    manifest = tiny_package.manifest
    ham10000 = load_ham10000(synthetic_dataset)
    split = split_by_lesion(ham10000.images, manifest.split.seed)
    model = load_classifier(tiny_package.file(WEIGHTS_FILE))
    judged = {}
    for name in ("validation", "test"):
        tensors = load_images(getattr(split, name))
        judged[name] = predict_logits(model, tensors), tensors.labels.numpy()

    counts = np.array([manifest.split.train[code] for code in CLASSES])
    shift = np.log(counts / counts.sum()).astype(np.float32)
    rules = fit_decision_rules(judged["validation"], judged["test"], shift)
    assert manifest.decision.model_dump() == {
        key: pytest.approx(value, rel=1e-3) for key, value in rules.model_dump().items()
    }
    logits, labels = judged["test"]
    probabilities = calibrated_probabilities(logits, manifest.decision)
    sensitivity, specificity = sensitivity_specificity(
        probabilities[:, MALIGNANT_COLUMNS].sum(axis=1),
        np.isin(labels, MALIGNANT_COLUMNS),
        manifest.decision.malignant.threshold,
    )
    assert manifest.decision.malignant.test_sensitivity == pytest.approx(sensitivity)
    assert manifest.decision.malignant.test_specificity == pytest.approx(specificity)
    for name, (logits, labels) in judged.items():
        probabilities = calibrated_probabilities(logits, rules)
        expected: Any = evaluate(logits.argmax(axis=1), probabilities, labels)
        stated: Any = manifest.metrics[name]
        assert stated.keys() == expected.keys()
        for code in CLASSES:
            assert stated["by_class"][code] == pytest.approx(expected["by_class"][code])
        del stated["by_class"], expected["by_class"]
        assert stated == pytest.approx(expected, rel=1e-3)


def test_the_manifest_names_the_data_and_the_recipe(
    tiny_package: ModelPackage, synthetic_dataset: Path
) -> None:
    manifest = tiny_package.manifest
    ham10000 = load_ham10000(synthetic_dataset)
    split = split_by_lesion(ham10000.images, SETTINGS.seed)
    assert manifest.version == "tiny"
    assert manifest.dataset_hash == ham10000.hash
    assert TrainingSettings.model_validate(manifest.recipe) == SETTINGS
    assert manifest.split.seed == SETTINGS.seed
    for name in SPLITS:
        counts = Counter(image.diagnosis for image in getattr(split, name))
        assert getattr(manifest.split, name) == dict(counts)


def test_the_bundled_champion_comes_from_the_shipped_recipe_and_the_published_data(
    real_ham10000: Ham10000,
) -> None:
    manifest = ModelPackage.load(BUNDLED_CHAMPION).manifest
    recipe = read_config(FOLDER / "training.yaml", TrainingSettings)
    assert TrainingSettings.model_validate(manifest.recipe) == recipe
    assert manifest.dataset_hash == real_ham10000.hash
    split = split_by_lesion(real_ham10000.images, recipe.seed)
    for name in SPLITS:
        counts = Counter(image.diagnosis for image in getattr(split, name))
        assert getattr(manifest.split, name) == dict(counts)


def test_damaged_and_missing_images_are_reported_and_not_counted(
    dataset: Path, split: Split, untrained_features: Path, old: Path
) -> None:
    damaged = next(image for image in split.train if image.diagnosis == "nv")
    damaged.path.write_bytes(damaged.path.read_bytes()[:500])
    twice = Counter(image.lesion_id for image in split.test)
    lost = next(image for image in split.test if twice[image.lesion_id] == 2)
    lost.path.unlink()
    listener = Listener()

    package = run_training(
        dataset=dataset,
        weights=untrained_features,
        output=old,
        version="2",
        settings=SETTINGS,
        progress=listener,
    )

    assert listener.warnings == [
        f"1 images named by the metadata are not in {dataset}.",
        "1 images of the train split cannot be read and are left out: " + damaged.image_id + ".",
    ]
    sizes = {name: len(getattr(split, name)) for name in SPLITS}
    sizes["test"] -= 1
    assert listener.splits == listener.decoded == sizes
    counts = Counter(image.diagnosis for image in split.train)
    assert package.manifest.split.train == {**counts, "nv": counts["nv"] - 1}
    metrics: Any = package.manifest.metrics["test"]
    assert sum(package.manifest.split.test.values()) == metrics["images"] == sizes["test"]
    (last,) = listener.epochs
    assert last[0] == 1
    assert last[1]["images"] == sizes["validation"]
    assert len(listener.steps) == (sizes["train"] - 1) // SETTINGS.batch_size
    assert ModelPackage.load(old).manifest.version == "2"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"version": "my model"}, InvalidConfiguration, "'my model' is no version name"),
        ({"output": Path(__file__).parent}, InvalidConfiguration, "is no model package"),
        ({"weights": Path("nowhere.safetensors")}, InvalidPackage, "nowhere.safetensors"),
        ({"dataset": Path("nowhere")}, InvalidDataset, "nowhere"),
    ],
)
def test_a_mistake_is_told_before_any_image_is_read(
    dataset: Path,
    untrained_features: Path,
    old: Path,
    change: dict[str, Any],
    error: type[DermServeError],
    says: str,
) -> None:
    arguments = {"dataset": dataset, "weights": untrained_features, "output": old, "version": "2"}
    listener = Listener()
    with pytest.raises(error, match=says):
        run_training(settings=SETTINGS, progress=listener, **{**arguments, **change})
    assert listener.splits == {}
    assert ModelPackage.load(old).manifest.version == "tiny"


def test_a_class_without_a_readable_image_is_refused(
    dataset: Path, split: Split, untrained_features: Path, old: Path
) -> None:
    def damage(images: tuple[LesionImage, ...]) -> None:
        for image in images:
            if image.diagnosis == "vasc":
                image.path.write_bytes(b"")

    damage(split.validation)
    listener = Listener()
    with pytest.raises(InvalidDataset, match="validation split has no readable image of vasc"):
        run_training(
            dataset=dataset,
            weights=untrained_features,
            output=old,
            version="2",
            settings=SETTINGS,
            progress=listener,
        )
    assert listener.steps == []
    assert ModelPackage.load(old).manifest.version == "tiny"


def test_a_run_that_diverges_leaves_the_old_package(
    dataset: Path, untrained_features: Path, old: Path
) -> None:
    before = {path.name: path.read_bytes() for path in old.iterdir()}
    with pytest.raises(TrainingDiverged):
        run_training(
            dataset=dataset,
            weights=untrained_features,
            output=old,
            version="2",
            settings=SETTINGS.model_copy(update={"learning_rate": 1e25}),
        )
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert list(old.parent.iterdir()) == [old]
