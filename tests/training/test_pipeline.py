"""The pipeline: its package comes from its run, and a run that fails changes nothing."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from configs import FOLDER
from data.ham10000 import Ham10000, LesionImage, load_ham10000
from data.splits import SPLITS, Split, frozen_split
from models.configuration import read_config
from models.errors import DermServeError, InvalidConfiguration, InvalidDataset, InvalidPackage
from models.package import BUNDLED_CHAMPION, WEIGHTS_FILE, ModelPackage
from models.tracking_uri import open_client
from training.loop import TrainingDiverged
from training.pipeline import run_name, run_training
from training.progress import EpochRecord, ImagesDecoded, Progress, Step
from training.settings import Phase, TrainingSettings
from training.stored_run import TrainingStopped
from training.tracking import EXPERIMENT

SETTINGS = TrainingSettings(batch_size=8, workers=0, phases=(Phase(epochs=1, image_size=64),))
QUICK: dict[str, Any] = {"settings": SETTINGS, "int8": False, "bootstrap": 20}


@pytest.fixture
def dataset(synthetic_dataset: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(synthetic_dataset, tmp_path / "ham10000")


@pytest.fixture
def split(dataset: Path) -> Split:
    """The split that a run makes of the copy."""
    return frozen_split(load_ham10000(dataset).images)


@pytest.fixture
def old(tiny_package: ModelPackage, tmp_path: Path) -> Path:
    """A package that a run is to replace."""
    return shutil.copytree(tiny_package.folder, tmp_path / "models" / "old")


class Listener(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.decoded: dict[str, ImagesDecoded] = {}
        self.steps: list[Step] = []
        self.epochs: list[EpochRecord] = []
        self.warnings: list[str] = []
        super().__init__(
            on_images=lambda images: self.decoded.update({images.split: images}),
            on_step=self.steps.append,
            on_epoch=self.epochs.append,
            on_warning=self.warnings.append,
        )


def test_the_manifest_names_the_data_and_the_recipe(
    tiny_package: ModelPackage, synthetic_dataset: Path
) -> None:
    manifest = tiny_package.manifest
    ham10000 = load_ham10000(synthetic_dataset)
    split = frozen_split(ham10000.images)
    assert manifest.version == "tiny"
    assert manifest.dataset_hash == ham10000.hash
    assert TrainingSettings.model_validate(manifest.recipe) == SETTINGS
    assert manifest.split.hash == split.hash
    for name in SPLITS:
        counts = Counter(image.diagnosis for image in getattr(split, name))
        assert getattr(manifest.split, name) == dict(counts)


def test_the_bundled_champion_comes_from_the_shipped_recipe_and_the_published_data(
    real_ham10000: Ham10000,
) -> None:
    manifest = ModelPackage.load(BUNDLED_CHAMPION).manifest
    recipe = read_config(FOLDER / "training.yaml", TrainingSettings)
    assert TrainingSettings.model_validate(manifest.recipe).recipe() == recipe.recipe()
    assert manifest.notes == recipe.notes
    assert manifest.dataset_hash == real_ham10000.hash
    split = frozen_split(real_ham10000.images)
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
        progress=listener,
        **QUICK,
    )

    assert listener.warnings == [
        f"1 images named by the metadata are not in {dataset}.",
        "1 images of the train split cannot be read and are left out: " + damaged.image_id + ".",
    ]
    sizes = {name: len(getattr(split, name)) for name in SPLITS}
    sizes["test"] -= 1
    expected = {name: sizes[name] for name in ("train", "validation")}
    expected |= {f"judged {name}": size for name, size in sizes.items()}
    assert {name: told.done for name, told in listener.decoded.items()} == expected
    assert {name: told.count for name, told in listener.decoded.items()} == expected
    counts = Counter(image.diagnosis for image in split.train)
    assert package.manifest.split.train == {**counts, "nv": counts["nv"] - 1}
    assert sum(package.manifest.split.test.values()) == sizes["test"]
    (last,) = listener.epochs
    assert last.epoch == 1
    assert last.metrics["images"] == sizes["validation"]
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
        run_training(progress=listener, **{**QUICK, **arguments, **change})
    assert listener.decoded == {}
    assert ModelPackage.load(old).manifest.version == "tiny"


@pytest.mark.parametrize("name", SPLITS)
def test_a_class_without_a_readable_image_is_refused(
    dataset: Path, split: Split, untrained_features: Path, old: Path, name: str
) -> None:
    def damage(images: tuple[LesionImage, ...]) -> None:
        for image in images:
            if image.diagnosis == "vasc":
                image.path.write_bytes(b"")

    damage(getattr(split, name))
    listener = Listener()
    with pytest.raises(InvalidDataset, match=f"{name} split has no readable image of vasc"):
        run_training(
            dataset=dataset,
            weights=untrained_features,
            output=old,
            version="2",
            progress=listener,
            **QUICK,
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
            **{**QUICK, "settings": SETTINGS.model_copy(update={"learning_rate": 1e25})},
        )
    assert {path.name: path.read_bytes() for path in old.iterdir()} == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")  # MLflow
def test_a_stored_run_is_resumed_packaged_and_packaged_again(
    dataset: Path, untrained_features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.delenv("DERMSERVE_REGISTRY", raising=False)
    arguments: dict[str, Any] = {
        **QUICK,
        "dataset": dataset,
        "weights": untrained_features,
        "version": "2",
        "run": "two",
        "storage": tmp_path / "runs",
        "tracked": True,
    }
    stopped, resumed, again = Listener(), Listener(), Listener()
    with pytest.raises(TrainingStopped):
        run_training(
            output=tmp_path / "a",
            progress=stopped,
            should_stop=lambda: len(stopped.steps) >= 2,
            **arguments,
        )
    first = run_training(output=tmp_path / "a", progress=resumed, **arguments)
    second = run_training(output=tmp_path / "b", progress=again, **arguments)
    assert [step.step for step in stopped.steps + resumed.steps] == [1, 2, 3, 4, 5]
    assert again.steps == []
    one, other = (load_file(package.file(WEIGHTS_FILE)) for package in (first, second))
    assert all(np.array_equal(one[name], other[name]) for name in one)

    client = open_client(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    (record,) = client.search_runs([experiment.experiment_id])
    assert (record.info.run_name, record.info.status) == ("two", "FINISHED")
    assert record.data.tags["dataset_hash"] == first.manifest.dataset_hash
    assert record.data.metrics["train.loss"] == pytest.approx(resumed.epochs[0].loss)


def test_a_trained_package_is_a_start(
    dataset: Path, tiny_package: ModelPackage, tmp_path: Path
) -> None:
    listener = Listener()
    package = run_training(
        dataset=dataset,
        weights=tiny_package.folder,
        output=tmp_path / "warm",
        version="3",
        progress=listener,
        **{**QUICK, "settings": SETTINGS.model_copy(update={"learning_rate": 1e-12})},
    )
    trained, start = (load_file(p.file(WEIGHTS_FILE)) for p in (package, tiny_package))
    head = "classifier.1.weight"
    np.testing.assert_allclose(trained[head], start[head], atol=1e-6)


def test_names_of_runs_begin_with_the_version() -> None:
    assert run_name("2").startswith("2-20")
