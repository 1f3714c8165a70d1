"""The protocol over a chain and a trainer in this process."""

from __future__ import annotations

import pytest

from serve_app.open_inference.protocol import OpenInference
from serve_app.settings import ServeSettings
from serve_app.trainer_client import TrainerClient
from tests.serve_app.chain import InProcessChain


@pytest.fixture
def open_inference(
    chain: InProcessChain, trainer_client: TrainerClient, settings: ServeSettings
) -> OpenInference:
    return OpenInference(chain, trainer_client, settings)
