"""Fixtures that several test folders share."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from cluster.environment import ray_environment
from cluster.server import LocalServer
from data.catalogue.database import CATALOGUE_VARIABLE
from data.ham10000 import Ham10000, load_ham10000
from data.image_store import IMAGES_VARIABLE
from data.synthetic import synthetic_jpeg, synthetic_lesion, write_synthetic_ham10000
from models.classes import CLASSES
from models.package import BUNDLED_CHAMPION, CHAMPION_VARIABLE, WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE
from models.tracking_uri import REGISTRY_VARIABLE
from tests.object_store import ObjectStore
from training.storage import RUNS_VARIABLE

PROJECT = Path(__file__).parents[1]


def free_port() -> int:
    """A TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_SCRATCH = tempfile.mkdtemp(prefix="dermserve-tests-")

TEST_ENVIRONMENT = {
    # Nothing has to drain between tests, and ports may be used again at once.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    "RAY_SERVE_PORT_QUARANTINE_S": "0",
    # A token would be written to the home folder of whoever runs the tests.
    "RAY_AUTH_MODE": "disabled",
    # Nor may the models and images of whoever runs them be touched.
    REGISTRY_VARIABLE: f"sqlite:///{_SCRATCH}/mlflow.db",
    CATALOGUE_VARIABLE: f"sqlite:///{_SCRATCH}/catalogue.db",
    IMAGES_VARIABLE: f"{_SCRATCH}/images",
    RUNS_VARIABLE: f"{_SCRATCH}/runs",
}

TRACES_PORT = free_port()
"""Where the server sends its spans, to whichever test listens there."""

SHARED_HAM10000 = PROJECT.parent / "shared" / "ham10000"
"""Real images, where the developer has them; never part of the project."""

# Time is measured in benchmarks; a busy machine must not fail a test.
hypothesis.settings.register_profile("unhurried", deadline=None)
hypothesis.settings.load_profile("unhurried")

# Ray reads its environment when it is imported, which the test modules do.
os.environ.update(ray_environment() | TEST_ENVIRONMENT)


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all that ask for the server below, and not those with one of their own by its name."""
    for item in items:
        if {"server", "serving_tiny"} <= set(getattr(item, "fixturenames", ())):
            item.add_marker("server")


@pytest.fixture(scope="session")
def shared_object_store() -> Iterator[ObjectStore]:
    """An S3-compatible store for all tests, which no environment names."""
    store = ObjectStore()
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def object_store(shared_object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    """The same, which the environment of one test names."""
    for name, value in shared_object_store.environment.items():
        monkeypatch.setenv(name, value)
    return shared_object_store


@pytest.fixture(scope="session")
def ham10000_samples() -> list[Path]:
    """Real 600x450 images, ten per class; skips where there are none."""
    samples = sorted((SHARED_HAM10000 / "samples_600x450").glob("*.jpg"))
    if not samples:
        pytest.skip("HAM10000 is not beside the project")
    return samples


@pytest.fixture(scope="session")
def jpeg() -> bytes:
    """A 600x450 synthetic nevus."""
    return synthetic_jpeg("nv", seed=1)


@pytest.fixture(scope="session")
def synthetic_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small dataset in the layout of HAM10000."""
    folder = tmp_path_factory.mktemp("ham10000")
    write_synthetic_ham10000(folder, lesions_per_class=8, seed=1)
    return folder


@pytest.fixture(scope="session")
def tiny_package(synthetic_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    """A model package from one epoch of real training on the synthetic dataset."""
    from safetensors.torch import load_file, save_file

    from training.pipeline import run_training
    from training.settings import Phase, TrainingSettings

    # From an untrained backbone, one epoch would give every image the same answer.
    folder = tmp_path_factory.mktemp("packages")
    trained = load_file(BUNDLED_CHAMPION / WEIGHTS_FILE)
    prefix = "features."
    features = {k.removeprefix(prefix): v for k, v in trained.items() if k.startswith(prefix)}
    weights = folder / "features.safetensors"
    save_file(features, weights)
    return run_training(
        dataset=synthetic_dataset,
        weights=weights,
        output=folder / "tiny",
        version="tiny",
        settings=TrainingSettings(
            batch_size=8, workers=0, phases=(Phase(epochs=1, image_size=64),)
        ),
        int8=False,
        bootstrap=20,
    )


@pytest.fixture(scope="session")
def serving_tiny(
    tiny_package: ModelPackage, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Environment of a server whose registry begins with the tiny package."""
    places = tmp_path_factory.mktemp("places")
    return {
        **TEST_ENVIRONMENT,
        CHAMPION_VARIABLE: str(tiny_package.folder),
        REGISTRY_VARIABLE: f"sqlite:///{places}/mlflow.db",
        CATALOGUE_VARIABLE: f"sqlite:///{places}/catalogue.db",
        IMAGES_VARIABLE: f"{places}/images",
        RUNS_VARIABLE: f"{places}/runs",
    }


@pytest.fixture(scope="session")
def serve_config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`serve_config.yaml` with a gate that the tiny package's successors pass, in a moment, and a
    drift watch that looks at the last images at once.

    It is judged on fourteen synthetic images, which no rule of the real gate is made for.
    """
    folder = tmp_path_factory.mktemp("configs")
    gate = yaml.safe_load((PROJECT / "configs" / "promotion.yaml").read_text())
    gate["balanced_accuracy"] = {"min_difference": -1, "min": 0}
    gate["melanoma_sensitivity"]["min_difference"] = -1
    gate["calibration_error"] = {"max": 1, "max_increase": 1}
    gate["subgroups"]["min_difference"] = -1
    gate["labels"]["max_excess"] = 1
    gate["shadow"]["window_s"] = 0.5
    gate["observation"]["window_s"] = 1
    (folder / "promotion.yaml").write_text(yaml.safe_dump(gate))
    config = yaml.safe_load((PROJECT / "serve_config.yaml").read_text())
    (trainer,) = (each for each in config["applications"] if each["name"] == "trainer")
    recipe = yaml.safe_load((PROJECT / "configs" / "training.yaml").read_text())
    recipe["drift"] |= {"window": 100, "minimum": 60, "span_s": 0.1, "period_s": 1.0}
    (folder / "training.yaml").write_text(yaml.safe_dump(recipe))
    trainer["args"] = {
        "promotion": str(folder / "promotion.yaml"),
        "training": str(folder / "training.yaml"),
    }
    path = folder / "serve_config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def tracing_to(port: int) -> dict[str, str]:
    """Environment of a server that records the requests that ask for it, as few tests' do.

    Args:
        port: of OTLP over HTTP, on this machine.
    """
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{port}/v1/traces",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": "100",  # ms
    }


@pytest.fixture(scope="session")
def server(serving_tiny: dict[str, str], serve_config_file: Path) -> Iterator[LocalServer]:
    """The applications of `serve_config.yaml` on a free port, serving the tiny package."""
    tracing = tracing_to(TRACES_PORT)
    server = LocalServer(
        serve_config_file,
        port=free_port(),
        dashboard_port=free_port(),
        environment=serving_tiny | tracing,
    )
    with server:
        # The replicas have them now; here they would reach tests that mean the bundled one, or
        # that record spans of their own.
        for name in (CHAMPION_VARIABLE, *tracing):
            del os.environ[name]
        os.environ.update(TEST_ENVIRONMENT)
        server.deploy()
        server.wait_until_ready(timeout_s=120)
        yield server


@pytest.fixture(scope="session")
def real_ham10000() -> Ham10000:
    """All of HAM10000, where the developer has it; skips elsewhere."""
    if not SHARED_HAM10000.is_dir():
        pytest.skip("HAM10000 is not beside the project")
    return load_ham10000(SHARED_HAM10000)


@pytest.fixture(scope="session")
def untrained_features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone of random weights, in the layout that `--weights` takes."""
    from safetensors.torch import save_file

    from models.architecture import LesionClassifier

    path = tmp_path_factory.mktemp("weights") / "features.safetensors"
    save_file(LesionClassifier().features.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def lesions() -> npt.NDArray[np.uint8]:
    """A synthetic lesion of each class at the model's input size, shape (7, 224, 224, 3)."""
    pictures = [synthetic_lesion(code, 1, IMAGE_SIZE, IMAGE_SIZE) for code in CLASSES]
    return np.stack(pictures)


@pytest.fixture(scope="session")
def champion() -> ModelPackage:
    """The package that ships with the project; it tells images apart, which few epochs do not."""
    return ModelPackage.load(BUNDLED_CHAMPION)
