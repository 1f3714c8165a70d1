"""An explanation: where in an image the network found its evidence for a class."""

from __future__ import annotations

import io
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from captum.attr import LayerAttribution, LayerGradCam
from PIL import Image

from models.architecture import LesionClassifier
from models.classes import CLASSES
from models.errors import InvalidConfiguration, InvalidPackage
from models.preprocessing import IMAGE_SIZE

OVERLAY_SIZE = 448
"""Height and width in pixels of an overlay: twice the model's input, to be looked at."""

# Perceptually uniform and safe for the colour-blind; of matplotlib's such maps the one that
# shares least with the hues of skin, melanin and blood.
_COLOURS = "viridis"
# Opacity of the colours at heat 1; at 0 the image is left as it is.
_OPACITY = 0.65
# Of the colours, where the image is black and where it is white: they give the hue and leave
# it light and dark, so that structures stay to be seen where there is most heat.
_BRIGHTNESS = (0.5, 1.2)


@dataclass(frozen=True)
class Explanation:
    """The evidence for one class in one image."""

    predicted_class: str
    """The class with the highest logit, as in `models.decision`."""
    explained_class: str
    """The class that the heat speaks of."""
    heat: npt.NDArray[np.float32]
    """Shape (224, 224), 0..1. 1 is where this image speaks most for the class, 0 where it does
    not or speaks against it; all 0 if it nowhere speaks for it. The scale is the image's own:
    it compares places, not images or classes."""


def explain(
    model: LesionClassifier, pixels: npt.NDArray[np.uint8], code: str | None = None
) -> Explanation:
    """Grad-CAM of one image on the last feature map of the network.

    A 7 x 7 map, smoothly enlarged: it shows regions, not borders. Not to be called for one
    model from two threads at once, because the feature map is caught by a hook on the model.

    Args:
        model: in evaluation mode, on the CPU.
        pixels: uint8, shape (224, 224, 3), RGB.
        code: the class to explain; None takes the predicted one.

    Raises:
        InvalidConfiguration: if there is no such class.
        InvalidPackage: if the network's answer is not finite.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via
    Gradient-based Localization", ICCV 2017.
    """
    if code is not None and code not in CLASSES:
        raise InvalidConfiguration(f"{code!r} is no class. Use one of {', '.join(CLASSES)}.")
    predicted = explained = -1

    def score(images: torch.Tensor) -> torch.Tensor:
        """The logit to explain, chosen within the pass that needs it to be chosen."""
        nonlocal predicted, explained
        logits: torch.Tensor = model(images)
        predicted = int(logits.argmax())
        explained = predicted if code is None else CLASSES.index(code)
        return logits[:, explained]

    image = torch.tensor(pixels, dtype=torch.float32).permute(2, 0, 1)[None]
    # The last block ends in ReLU6; what it puts out is what the head averages.
    coarse = LayerGradCam(score, model.features[-1]).attribute(image, relu_attributions=True)
    if not torch.isfinite(coarse).all():
        raise InvalidPackage(
            "The network's answer is not finite: its weights are damaged. Serve another package."
        )
    fine = LayerAttribution.interpolate(coarse.detach(), (IMAGE_SIZE, IMAGE_SIZE), "bicubic")
    return Explanation(CLASSES[predicted], CLASSES[explained], _to_unit(fine[0, 0].numpy()))


def _to_unit(attribution: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Scale to 0..1; the bicubic filter swings a little below 0, and all may be 0."""
    positive = np.maximum(attribution, 0)
    highest = positive.max()
    # Below the normal numbers, a quotient would be rounding noise.
    if highest < np.finfo(np.float32).tiny:
        return np.zeros_like(positive)
    unit: npt.NDArray[np.float32] = positive / highest
    return unit


def overlay(pixels: npt.NDArray[np.uint8], heat: npt.NDArray[np.float32]) -> bytes:
    """Lay the heat over the image in colours: from none over purple and green to yellow.

    Args:
        pixels: uint8, shape (224, 224, 3), RGB.
        heat: of an `Explanation` of these pixels.

    Returns:
        An RGB PNG of 448 x 448 pixels that carries no metadata.
    """
    size = (OVERLAY_SIZE, OVERLAY_SIZE)
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    fine = np.asarray(Image.fromarray(heat).resize(size, Image.Resampling.BILINEAR))
    brightness = np.interp(np.asarray(picture.convert("L")), (0, 255), _BRIGHTNESS)
    colours = matplotlib.colormaps[_COLOURS](fine, bytes=True)[:, :, :3] * brightness[:, :, None]
    opacity = _OPACITY * fine[:, :, None]
    blended = (1 - opacity) * np.asarray(picture) + opacity * colours
    encoded = io.BytesIO()
    Image.fromarray(np.clip(np.rint(blended), 0, 255).astype(np.uint8)).save(encoded, "PNG")
    return encoded.getvalue()
