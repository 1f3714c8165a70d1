"""The head as numbers: it says what the network's last layer says, and can take its place."""

from __future__ import annotations

import numpy as np
import torch

from models.architecture import LesionClassifier
from models.classes import CLASSES
from models.features import FEATURES
from models.head import Head


def test_it_makes_the_logits_of_the_network() -> None:
    model = LesionClassifier().eval()
    features = torch.rand(5, FEATURES)
    with torch.inference_mode():
        expected = model.classifier(features).numpy()
    head = Head.of(model)
    assert (head.weight.shape, head.bias.shape) == ((len(CLASSES), FEATURES), (len(CLASSES),))
    np.testing.assert_allclose(head.logits(features.numpy()), expected, atol=1e-5)


def test_it_is_a_copy() -> None:
    model = LesionClassifier()
    head = Head.of(model)
    before = head.weight.copy()
    torch.nn.init.zeros_(model.classifier[1].weight)
    np.testing.assert_array_equal(head.weight, before)


def test_it_takes_the_place_of_another_and_changes_nothing_else() -> None:
    one, other = LesionClassifier(), LesionClassifier()
    before = {name: value.clone() for name, value in other.state_dict().items()}
    head = Head.of(one)
    head.put_on(other)
    for name, value in other.state_dict().items():
        if name.startswith("classifier."):
            assert torch.equal(value, one.state_dict()[name])
        else:
            assert torch.equal(value, before[name])
    np.testing.assert_array_equal(Head.of(other).bias, head.bias)
