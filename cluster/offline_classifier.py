"""The offline classifier: what a server does with pictures, in this process and without Ray."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cluster.image_paths import UnreadableFile
from cluster.predicted_file import PredictedFile
from dermserve_client.predictions import Prediction
from models.configuration import validate
from models.errors import DermServeError
from models.package import ModelPackage
from models.preprocessing import decode_image
from models.registry_process import resolve
from serve_app.answers import prediction
from serve_app.classification import Classification
from serve_app.loaded_model import LoadedModel
from serve_app.settings import ServeSettings

Picture = tuple[str, bytes | UnreadableFile]
"""The name of a file, and its bytes or why there are none."""


class OfflineClassifier:
    """A model and its engine, warmed up and self-tested as in a replica.

    Args:
        package: `champion`, a version of the registry, or the folder of a package.
        engine: as in `serve_config.yaml`.
        threads: CPU cores to keep busy; 0 takes all that this process may use.

    Raises:
        NotFound, InvalidPackage, ModelUnavailable: if the model cannot be had.
        InvalidConfiguration: if the engine does not run here.
    """

    def __init__(self, package: str, engine: str = "auto", threads: int = 0) -> None:
        settings = validate({"engine": engine, "threads": threads}, ServeSettings, "The engine")
        self._limits = settings.image_limits
        self._model = LoadedModel.load(ModelPackage.load(resolve(package)), settings)
        self.version = self._model.served.version
        self.engine = self._model.engine.info
        self.threads = self.engine.lanes
        """That may call `classify` at once."""
        self.piece = self._model.engine.max_piece
        """Pictures in one call that suit the engine."""

    def classify(self, pictures: Sequence[Picture]) -> list[PredictedFile]:
        """A result for each picture, in order; what cannot be decoded has an error for one."""
        results: list[PredictedFile | None] = []
        pixels, seconds = [], []
        for name, data in pictures:
            started = time.perf_counter()
            try:
                if isinstance(data, UnreadableFile):
                    raise data
                pixels.append(decode_image(data, self._limits))
            except DermServeError as error:
                results.append(PredictedFile(name, None, error.code, error.message))
            else:
                seconds.append(time.perf_counter() - started)
                results.append(None)
        answers = iter(self._answers(pixels, seconds))
        return [
            result or PredictedFile(name, next(answers))
            for (name, _), result in zip(pictures, results, strict=True)
        ]

    def _answers(self, pixels: list[Any], seconds: list[float]) -> list[Prediction]:
        if not pixels:
            return []
        started = time.perf_counter()
        decisions = self._model.forward(pixels)
        forward_s = time.perf_counter() - started
        answers = []
        for decision, decoding_s in zip(decisions, seconds, strict=True):
            answer = Classification(
                decision, self._model.served, forward_s, decoding_s, batch=len(pixels)
            )
            wire = prediction(answer, request_id="", total_s=decoding_s + forward_s)
            answers.append(Prediction.model_validate(wire))
        return answers
