"""What the classifier says of one image: the message that travels back through the chain."""

from __future__ import annotations

from dataclasses import dataclass

from models.decision import Decision
from models.package import DecisionRules, Manifest


@dataclass(frozen=True, slots=True)
class ServedModel:
    """Which model answered."""

    version: str
    dataset_hash: str
    rules: DecisionRules

    @classmethod
    def of(cls, manifest: Manifest) -> ServedModel:
        return cls(manifest.version, manifest.dataset_hash, manifest.decision)


@dataclass(slots=True)
class Classification:
    """One image's answer, with the seconds it spent in each stage."""

    decision: Decision
    model: ServedModel
    forward_s: float
    preprocessing_s: float = 0.0
    batch: int = 1
    """Images in the forward pass that answered this one."""
