"""A model ready to answer: its engine, warmed up and tested, and its decision rules."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.decision import Decision, decide
from models.novelty import NoveltyDetector
from models.package import NOVELTY_FILE, REFERENCE_FILE, ModelPackage
from models.reference import Reference, check_reference
from models.registered_package import hash_of
from serve_app.classification import ServedModel
from serve_app.engines import create_engine
from serve_app.engines.base import Engine, warm_up
from serve_app.live_sampler import LiveSampler
from serve_app.settings import ServeSettings


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """Everything of a package that answering takes."""

    package: ModelPackage
    package_hash: str
    engine: Engine
    novelty: NoveltyDetector
    served: ServedModel

    @classmethod
    def load(cls, package: ModelPackage, settings: ServeSettings) -> LoadedModel:
        """Load a verified package.

        Raises:
            InvalidPackage, InvalidConfiguration: as `load_engine` raises them.
        """
        return cls(
            package,
            hash_of(package),
            load_engine(package, settings, threads=settings.effective_threads),
            NoveltyDetector.load(package.file(NOVELTY_FILE)),
            ServedModel.of(package.manifest),
        )

    def forward(
        self, batch: list[npt.NDArray[np.uint8]], sampler: LiveSampler | None = None
    ) -> list[Decision]:
        """Everything between pixels and answers.

        Args:
            batch: each uint8, shape (224, 224, 3), RGB.
            sampler: is offered what the network says of them.
        """
        outputs = self.engine.forward(batch)
        if sampler is not None:
            sampler.offer(outputs)
        novelty = self.novelty.score(outputs.statistics)
        return decide(outputs.logits, novelty, self.package.manifest.decision)


def load_engine(package: ModelPackage, settings: ServeSettings, *, threads: int) -> Engine:
    """An engine that has run and said of the package's reference what the network said.

    Its own threads have the niceness of the thread that calls this.

    Args:
        package: verified. One without a reference, as they were, is tested for its shapes.
        settings: of the application.
        threads: CPU cores that a CPU engine may keep busy.

    Raises:
        InvalidPackage: if the package lacks what the engine needs, or fails the self-test.
        InvalidConfiguration: if the engine that is set does not run here.
    """
    engine = create_engine(
        package, settings.engine, threads=threads, max_batch=settings.max_batch_size
    )
    warm_up(engine)
    if REFERENCE_FILE in package:
        reference = Reference.load(package.file(REFERENCE_FILE))
        logits = engine.forward(list(reference.images)).logits
        check_reference(reference, logits, engine.info.precision)
    return engine
