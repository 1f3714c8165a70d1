"""A generation: the models that one configuration put in place, and what happened under them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from models.replica_report import ReplicaReport
from serve_app.live_sampler import LiveSampler
from serve_app.loaded_model import LoadedModel


@dataclass(slots=True)
class Counts:
    """What a replica counts; the fields of `ReplicaReport` say what each is."""

    live_images: int = 0
    live_errors: int = 0
    shadow_images: int = 0
    disagreements: int = 0
    dropped: int = 0
    live_forward_s: float = 0.0
    shadow_forward_s: float = 0.0


@dataclass(frozen=True)
class Generation:
    """Replaced as a whole, so that whoever reads it once sees what belongs together."""

    number: int = 0
    shadow_share: float = 0.0
    serving: LoadedModel | None = None
    standby: LoadedModel | None = None
    load_error: str | None = None
    """Why the model of the configuration is not the one that serves."""
    standby_error: str | None = None
    counts: Counts = field(default_factory=Counts)
    sampler: LiveSampler = field(default_factory=LiveSampler)
    """Of what the serving model answers."""

    def report(self, replica_id: str) -> ReplicaReport:
        """What the trainer is told; the sample in it is told only once."""
        return ReplicaReport(
            replica_id=replica_id,
            generation=self.number,
            version=version_of(self.serving),
            standby=version_of(self.standby),
            load_error=self.load_error,
            standby_error=self.standby_error,
            sample=None if self.serving is None else self.sampler.drain(self.serving.package_hash),
            **asdict(self.counts),
        )


def version_of(model: LoadedModel | None) -> str | None:
    """Its version; None if there is none."""
    return None if model is None else model.served.version
