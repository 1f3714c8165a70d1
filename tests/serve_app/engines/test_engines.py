"""Every engine says what the network says, for any number of images from any thread."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.architecture import load_classifier
from models.classes import CLASSES
from models.errors import InvalidConfiguration, InvalidPackage
from models.novelty import NoveltyDetector
from models.package import (
    CARD_FILE,
    GRAPH_FILE,
    NOVELTY_FILE,
    WEIGHTS_FILE,
    ModelPackage,
)
from models.preprocessing import IMAGE_SIZE
from serve_app.engines import create_engine
from serve_app.engines.base import Engine, EngineInfo, Images, Outputs, warm_up
from serve_app.engines.openvino_cpu import OpenVinoEngine
from serve_app.engines.torch_cpu import TorchCpuEngine
from tests.conftest import PROJECT

Pixels = npt.NDArray[np.uint8]
Logits = npt.NDArray[np.float32]
TOLERANCE = {"f32": 0.1, "bf16": 0.5, "int8 and bf16": 2.0, "int8 and f32": 2.0}
"""In logits, which differ by about 9 between images: half-precision weights, and bf16 sums."""


@pytest.fixture(scope="module")
def exact(champion: ModelPackage, lesions: Pixels) -> Logits:
    """The network's own logits in float32."""
    network = load_classifier(champion.file(WEIGHTS_FILE))
    with torch.inference_mode():
        return network(torch.from_numpy(lesions).permute(0, 3, 1, 2)).numpy()


@pytest.fixture(scope="module")
def novelty(champion: ModelPackage) -> NoveltyDetector:
    return NoveltyDetector.load(champion.file(NOVELTY_FILE))


@pytest.fixture(scope="module", params=["openvino", "torch-cpu", "torch-cuda"])
def engine(request: pytest.FixtureRequest, champion: ModelPackage) -> Engine:
    if request.param == "torch-cuda" and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    return create_engine(champion, request.param, threads=2)


@pytest.mark.parametrize("count", range(1, 10))
def test_the_logits_are_the_networks(
    engine: Engine, lesions: Pixels, exact: Logits, count: int
) -> None:
    order = [index % len(lesions) for index in range(count)]
    logits, _ = engine.forward([lesions[index] for index in order])
    assert logits.shape == (count, len(CLASSES))
    assert logits.dtype == np.float32
    tolerance = TOLERANCE[engine.info.precision]
    assert np.abs(logits - exact[order]).max() < tolerance
    assert np.ptp(exact, axis=0).max() > 10 * tolerance  # else agreement would mean little


def test_novelty_is_the_networks(
    engine: Engine, champion: ModelPackage, novelty: NoveltyDetector, lesions: Pixels
) -> None:
    network = load_classifier(champion.file(WEIGHTS_FILE))
    with torch.inference_mode():
        exact = network.describe(torch.from_numpy(lesions).permute(0, 3, 1, 2)).statistics.numpy()
    scores = novelty.score(engine.forward(list(lesions)).statistics)
    tolerance = 0.02 if engine.info.precision == "f32" else 0.3
    assert scores == pytest.approx(novelty.score(exact), rel=tolerance)


def test_many_threads_get_their_own_answers(engine: Engine, lesions: Pixels, exact: Logits) -> None:
    def ask(start: int) -> float:
        order = [(start + step) % len(lesions) for step in range(start % 6 + 1)]
        answer = engine.forward([lesions[index] for index in order]).logits
        return float(np.abs(answer - exact[order]).max())

    with ThreadPoolExecutor(6) as threads:
        differences = list(threads.map(ask, range(36)))
    assert max(differences) < TOLERANCE[engine.info.precision]


def test_an_answer_is_not_overwritten_by_the_next(engine: Engine, lesions: Pixels) -> None:
    first = engine.forward([lesions[0]])
    kept = [output.copy() for output in first]
    engine.forward([lesions[1]])
    assert all(map(np.array_equal, first, kept))


def test_the_images_stay_as_they_are(engine: Engine, lesions: Pixels) -> None:
    before = lesions.copy()
    engine.forward(list(lesions))
    assert np.array_equal(lesions, before)


def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.info.name in {"openvino", "torch-cpu", "torch-cuda"}
    assert engine.info.device
    assert engine.info.precision in TOLERANCE
    assert engine.info.lanes >= 1
    assert engine.max_piece >= 1
    json.dumps(vars(engine.info))


def test_it_passes_its_self_test(engine: Engine) -> None:
    warm_up(engine)


def test_a_lane_for_each_thread(champion: ModelPackage) -> None:
    assert OpenVinoEngine(champion, threads=1).info.lanes == 1
    assert OpenVinoEngine(champion, threads=3).info.lanes == 3


def test_auto_takes_openvino_where_no_gpu_was_given(champion: ModelPackage) -> None:
    assert create_engine(champion, "auto").info.name == "openvino"


def test_auto_takes_torch_where_openvino_is_not_installed(
    champion: ModelPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert create_engine(champion, "auto").info.name == "torch-cpu"


def test_an_unknown_engine_is_refused(champion: ModelPackage) -> None:
    with pytest.raises(InvalidConfiguration, match=r"no engine 'tensorrt'.*auto, openvino, torch"):
        create_engine(champion, "tensorrt")  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused(champion: ModelPackage) -> None:
    with pytest.raises(InvalidConfiguration, match=r"none is visible.*classifier_gpus"):
        create_engine(champion, "torch-cuda")


@pytest.mark.parametrize(
    ("name", "file"),
    [("openvino", GRAPH_FILE), ("torch-cpu", WEIGHTS_FILE)],
)
def test_a_package_without_the_engines_file_is_refused(
    champion: ModelPackage, name: str, file: str
) -> None:
    others = {CARD_FILE: champion.manifest.files[CARD_FILE]}
    bare = ModelPackage(champion.folder, champion.manifest.model_copy(update={"files": others}))
    with pytest.raises(InvalidPackage, match=f"has no {file}"):
        create_engine(bare, name)  # type: ignore[arg-type]


class _Faulty:
    """An engine whose weights are broken."""

    info = EngineInfo(name="faulty", device="cpu", precision="f32", lanes=1)
    max_piece = 4

    def __init__(self, inner: Engine, output: str, broken: float | None) -> None:
        self._inner = inner
        self._output = output
        self._broken = broken

    def forward(self, images: Images) -> Outputs:
        outputs = self._inner.forward(images)
        if self._broken is None:
            return outputs._replace(**{self._output: getattr(outputs, self._output)[:, :-1]})
        getattr(outputs, self._output)[-1, -1] = self._broken
        return outputs


@pytest.mark.parametrize("output", Outputs._fields)
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf, None])
def test_the_self_test_refuses_what_is_not_finite_or_of_another_shape(
    champion: ModelPackage, output: str, broken: float | None
) -> None:
    inner = TorchCpuEngine(champion)
    with pytest.raises(InvalidPackage, match="faulty engine's self-test failed"):
        warm_up(_Faulty(inner, output, broken))


def test_the_self_test_runs_every_piece_size() -> None:
    sizes = []

    class Recorder:
        info = _Faulty.info
        max_piece = 8

        def forward(self, images: Images) -> Outputs:
            assert all(image.shape == (IMAGE_SIZE, IMAGE_SIZE, 3) for image in images)
            sizes.append(len(images))
            return Outputs(*(np.zeros_like(part) for part in Outputs.empty(len(images))))

    warm_up(Recorder())
    assert sizes == [1, 2, 4, 8]


def test_serving_with_openvino_imports_no_torch(champion: ModelPackage) -> None:
    """A replica carries one framework; torch would cost it seconds and half a gigabyte."""
    script = """
import sys
from pathlib import Path
import serve_app.classifier
from models.package import ModelPackage
from serve_app.engines import create_engine
from serve_app.engines.base import warm_up
warm_up(create_engine(ModelPackage.load(Path(sys.argv[1])), "auto"))
print(sorted(name for name in ("openvino", "torch", "torchvision") if name in sys.modules))
"""
    command = [sys.executable, "-c", script, str(champion.folder)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "['openvino']"
