"""The map follows the weights, the class and the lesion, and the overlay shows it honestly."""

from __future__ import annotations

import copy
import io
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

from data.synthetic import synthetic_lesion
from models.architecture import LesionClassifier, load_classifier
from models.classes import CLASSES
from models.errors import InvalidConfiguration, InvalidPackage
from models.explanation import OVERLAY_SIZE, explain, overlay
from models.package import WEIGHTS_FILE, ModelPackage
from models.preprocessing import IMAGE_SIZE, decode_image

Pixels = npt.NDArray[np.uint8]
Heat = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def network(champion: ModelPackage) -> LesionClassifier:
    return load_classifier(champion.file(WEIGHTS_FILE))


@pytest.fixture(scope="module")
def randomised(network: LesionClassifier) -> dict[str, LesionClassifier]:
    """The network with random weights in its head, in its backbone, and in both."""
    torch.manual_seed(0)
    both = LesionClassifier().eval()
    head, backbone = copy.deepcopy(network), copy.deepcopy(network)
    head.classifier = both.classifier
    backbone.features = both.features
    return {"head": head, "backbone": backbone, "both": both}


def _agreement(a: Heat, b: Heat) -> float:
    """Spearman's rank correlation of two maps; 0 where one is the same everywhere."""
    a, b = a[::8, ::8].ravel(), b[::8, ::8].ravel()
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else 0.0


def _noisy(picture: Pixels) -> Pixels:
    noise = np.random.default_rng(0).integers(-3, 4, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)


def test_a_map_covers_the_image_from_0_to_1(network: LesionClassifier, lesions: Pixels) -> None:
    for picture in lesions:
        explanation = explain(network, picture)
        assert explanation.heat.shape == (IMAGE_SIZE, IMAGE_SIZE)
        assert explanation.heat.dtype == np.float32
        assert explanation.heat.min() >= 0
        assert explanation.heat.max() == 1
        assert explanation.explained_class == explanation.predicted_class


def test_the_predicted_class_is_the_networks(network: LesionClassifier, lesions: Pixels) -> None:
    with torch.inference_mode():
        logits = network(torch.tensor(lesions).permute(0, 3, 1, 2))
    expected = [CLASSES[column] for column in logits.argmax(dim=1)]
    assert [explain(network, picture).predicted_class for picture in lesions] == expected
    # Asking for another class changes what is explained, not what is predicted.
    assert [explain(network, picture, "df").predicted_class for picture in lesions] == expected


def test_it_is_the_gradient_weighted_feature_map(
    network: LesionClassifier, lesions: Pixels
) -> None:
    """Equations 1 and 2 of the paper, where the head is pooling and one linear layer."""
    picture = lesions[CLASSES.index("vasc")]
    image = torch.tensor(picture, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.inference_mode():
        features = network.features((image - network.mean) / network.std)[0]
        weights = network.classifier[1].weight[CLASSES.index("vasc")]
        by_hand = torch.einsum("c,chw->hw", weights, features).clamp(min=0)
    heat = explain(network, picture, "vasc").heat
    centres = heat[16::32, 16::32]  # of the 7 x 7 cells
    assert np.corrcoef(centres.ravel(), by_hand.numpy().ravel())[0, 1] > 0.98


def test_it_leaves_the_network_as_it_was(network: LesionClassifier, lesions: Pixels) -> None:
    first = explain(network, lesions[0])
    assert np.array_equal(explain(network, lesions[0]).heat, first.heat)
    assert not network.features[-1]._forward_hooks
    assert all(weight.grad is None for weight in network.parameters())
    assert not network.training


def test_pixels_may_be_read_only(network: LesionClassifier, lesions: Pixels) -> None:
    frozen = lesions[0].copy()
    frozen.flags.writeable = False
    heat = explain(network, frozen).heat
    assert np.array_equal(heat, explain(network, lesions[0]).heat)
    assert len(overlay(frozen, heat)) > 1000


@pytest.mark.parametrize("part", ["head", "backbone", "both"])
def test_random_weights_give_another_map(
    network: LesionClassifier,
    randomised: dict[str, LesionClassifier],
    lesions: Pixels,
    part: str,
) -> None:
    """Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: a map that survives
    random weights shows edges of the picture, not what the network learned."""
    same, other = [], []
    for picture in lesions:
        explanation = explain(network, picture)
        code = explanation.explained_class
        same.append(_agreement(explanation.heat, explain(network, _noisy(picture), code).heat))
        other.append(_agreement(explanation.heat, explain(randomised[part], picture, code).heat))
    assert np.median(same) > 0.95
    assert np.median(other) < 0.5


def test_each_class_has_its_own_map(network: LesionClassifier, lesions: Pixels) -> None:
    agreements = []
    for picture in lesions[::2]:
        heats = [explain(network, picture, code).heat for code in CLASSES]
        agreements += [_agreement(heats[i], heats[j]) for i in range(7) for j in range(i)]
    assert np.median(agreements) < 0.5


def test_the_heat_goes_where_the_lesion_goes(network: LesionClassifier) -> None:
    """Against chance and the centre: the mirrored disc is as large and as far from both."""
    y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE]
    on_lesion, on_skin = [], []
    for code in CLASSES:
        for seed in (1, 2):
            wide = synthetic_lesion(code, seed, 2 * IMAGE_SIZE, IMAGE_SIZE)
            for lesion_x in (56, 168):
                left = IMAGE_SIZE - lesion_x
                heat = explain(network, wide[:, left : left + IMAGE_SIZE]).heat
                disc = (x - lesion_x) ** 2 + (y - IMAGE_SIZE / 2) ** 2 < 56**2
                on_lesion.append(heat[disc].sum() / heat.sum())
                on_skin.append(heat[disc[:, ::-1]].sum() / heat.sum())
    chance = np.pi * 56**2 / IMAGE_SIZE**2
    assert np.median(on_lesion) > 1.3 * chance
    assert np.median(on_lesion) > 1.5 * np.median(on_skin)
    assert np.mean(np.array(on_lesion) > on_skin) > 0.75


def test_no_evidence_anywhere_is_a_map_of_zeros(network: LesionClassifier, lesions: Pixels) -> None:
    against = copy.deepcopy(network)
    with torch.no_grad():  # features are never below 0, so every place speaks against the class
        against.classifier[1].weight[CLASSES.index("mel")] = -1.0
    heat = explain(against, lesions[0], "mel").heat
    assert heat.dtype == np.float32
    assert not heat.any()
    shown = np.asarray(Image.open(io.BytesIO(overlay(lesions[0], heat))))
    assert np.array_equal(shown, _enlarged(lesions[0]))


@pytest.mark.parametrize("code", ["melanoma", "MEL", "", "nv "])
def test_an_unknown_class_is_refused(network: LesionClassifier, lesions: Pixels, code: str) -> None:
    with pytest.raises(InvalidConfiguration, match="akiec, bcc, bkl, df, mel, nv, vasc"):
        explain(network, lesions[0], code)


def test_a_damaged_network_is_refused(network: LesionClassifier, lesions: Pixels) -> None:
    damaged = copy.deepcopy(network)
    with torch.no_grad():
        damaged.classifier[1].weight.fill_(float("nan"))
    with pytest.raises(InvalidPackage, match="not finite"):
        explain(damaged, lesions[0])


def _enlarged(picture: Pixels) -> Pixels:
    size = (OVERLAY_SIZE, OVERLAY_SIZE)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def test_an_overlay_is_a_bare_rgb_png(network: LesionClassifier, lesions: Pixels) -> None:
    png = overlay(lesions[0], explain(network, lesions[0]).heat)
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (448, 448))
    kinds, at = set(), 8
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        kinds.add(png[at + 4 : at + 8])
        at += 12 + length
    assert kinds == {b"IHDR", b"IDAT", b"IEND"}


def test_an_overlay_colours_the_heat_and_leaves_the_rest(lesions: Pixels) -> None:
    heat = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    heat[:, 112:] = 1
    original = _enlarged(lesions[0]).astype(float)
    shown = np.asarray(Image.open(io.BytesIO(overlay(lesions[0], heat)))).astype(float)
    assert np.array_equal(shown[:, :220], original[:, :220])
    hot, under = shown[:, 230:], original[:, 230:]
    assert np.abs(hot - under).mean() > 20
    # The end of the scale is yellow: little blue is left.
    assert hot[:, :, 2].mean() < 0.8 * hot[:, :, :2].mean()
    # What is light and dark in the original is so under the heat.
    assert np.corrcoef(hot.mean(axis=2).ravel(), under.mean(axis=2).ravel())[0, 1] > 0.9


def test_more_heat_is_lighter_on_even_skin() -> None:
    """The colours rank by lightness, so they can be read without seeing hues."""
    grey = np.full((IMAGE_SIZE, IMAGE_SIZE, 3), 128, np.uint8)
    ramp = np.linspace(0.5, 1, IMAGE_SIZE, dtype=np.float32)
    heat = np.broadcast_to(ramp, (IMAGE_SIZE, IMAGE_SIZE)).copy()
    shown = Image.open(io.BytesIO(overlay(grey, heat))).convert("L")
    lightness = np.asarray(shown).astype(int).mean(axis=0)[::16]
    assert (np.diff(lightness) >= 0).all()
    assert lightness[-1] > lightness[0] + 30


def test_real_images_are_explained_where_they_show_a_lesion(
    network: LesionClassifier, ham10000_samples: list[Path]
) -> None:
    """Dermatoscopic images hold the lesion in the middle; the border is nearly always skin."""
    inner = np.zeros((IMAGE_SIZE, IMAGE_SIZE), bool)
    inner[45:179, 45:179] = True
    masses = []
    for path in ham10000_samples[::7]:
        heat = explain(network, decode_image(path.read_bytes())).heat
        masses.append(heat[inner].sum() / heat.sum())
    assert np.median(masses) > 1.2 * inner.mean()
