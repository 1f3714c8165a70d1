"""A version of the model as the registry knows it: MLflow's tags, read and written."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any, Literal, cast, get_args

from models.package import Manifest, ModelPackage
from models.registered_package import hash_of

CHAMPION = "champion"
"""Alias of the version that serves; no version may have it as its name."""

VERSION_TAG = "dermserve.version"
HASH_TAG = "dermserve.package_hash"
DATASET_TAG = "dermserve.dataset_hash"
METRIC_TAG_PREFIX = "dermserve.test."
VERDICT_TAG = "dermserve.gate"
REASON_TAG = "dermserve.gate_reason"

Verdict = Literal["passed", "refused"]
"""What the promotion gate said of a version."""

_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{64}")
_MAX_TAG = 4_000  # characters; MLflow takes 5,000
_METRIC = re.compile(r"\w{1,64}", re.ASCII)


def is_version_name(name: str) -> bool:
    """Whether a version may be called so."""
    return name != CHAMPION and _NAME.fullmatch(name) is not None


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the model in the registry."""

    version: str
    """Its name, as the package's manifest has it; unique in the registry."""
    number: int
    """MLflow's number of it."""
    package_hash: str
    """SHA-256 of its `model.json`."""
    dataset_hash: str
    registered: datetime
    metrics: dict[str, float]
    """On the test images, by name."""
    source: str
    """URI of its files."""
    champion: bool
    verdict: Verdict | None = None
    """Of the promotion gate; None for a version that no retraining made."""
    reason: str | None = None
    """Of the verdict."""

    @classmethod
    def from_tags(
        cls, tags: Mapping[str, str], *, number: int, created_ms: int, source: str, champion: bool
    ) -> RegisteredVersion | None:
        """What MLflow keeps of a version; None if DermServe has not registered it.

        Args:
            tags: of the version. Anyone who reaches MLflow may write them.
            number: MLflow's.
            created_ms: milliseconds since 1970.
            source: URI of its files.
            champion: whether the alias points at it.
        """
        name, package_hash = tags.get(VERSION_TAG, ""), tags.get(HASH_TAG, "")
        if not is_version_name(name) or not _HASH.fullmatch(package_hash):
            return None
        metrics = {
            key.removeprefix(METRIC_TAG_PREFIX): _number(value)
            for key, value in sorted(tags.items())
            if key.startswith(METRIC_TAG_PREFIX)
        }
        return cls(
            version=name,
            number=number,
            package_hash=package_hash,
            dataset_hash=tags.get(DATASET_TAG, ""),
            registered=datetime.fromtimestamp(created_ms / 1000, timezone.utc),
            metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
            source=source,
            champion=champion,
            verdict=_verdict(tags.get(VERDICT_TAG)),
            reason=tags.get(REASON_TAG),
        )

    def to_json(self) -> dict[str, Any]:
        """Every field, as JSON has it."""
        return {**asdict(self), "registered": self.registered.isoformat()}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> RegisteredVersion:
        """The inverse of `to_json`."""
        registered = datetime.fromisoformat(document["registered"])
        return cls(**{**document, "registered": registered})


def tags_of(package: ModelPackage) -> dict[str, str]:
    """The tags of a package's version."""
    manifest = package.manifest
    tags = {
        VERSION_TAG: manifest.version,
        HASH_TAG: hash_of(package),
        DATASET_TAG: manifest.dataset_hash,
    }
    metrics = plain_metrics(manifest)
    return tags | {f"{METRIC_TAG_PREFIX}{name}": repr(value) for name, value in metrics.items()}


def verdict_tags(verdict: Verdict, reason: str) -> dict[str, str]:
    """The tags of what the promotion gate said."""
    return {VERDICT_TAG: verdict, REASON_TAG: reason[:_MAX_TAG]}


def plain_metrics(manifest: Manifest) -> dict[str, float]:
    """The plain numbers among a package's test metrics."""
    test = manifest.metrics.get("test")
    if not isinstance(test, Mapping):
        return {}
    return {
        name: float(value)
        for name, value in test.items()
        if isinstance(value, int | float) and _METRIC.fullmatch(str(name))
    }


def _verdict(text: str | None) -> Verdict | None:
    return cast(Verdict, text) if text in get_args(Verdict) else None


def _number(text: str) -> float:
    """The number in a tag; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
