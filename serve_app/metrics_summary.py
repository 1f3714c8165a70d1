"""The metrics summary: the few numbers that people look at, out of what Prometheus is told."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.exposition import OURS, Family, exposition_text


def our_samples(families: dict[str, Family]) -> list[Sample]:
    """What the stages have told, of all nodes."""
    text = exposition_text(families, OURS)
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def summarise(samples: Iterable[Sample], replicas: dict[str, Any]) -> dict[str, Any]:
    """The wire form of `metrics_schemas.MetricsSummary`.

    Args:
        samples: of all nodes.
        replicas: by deployment, as the summary has them.
    """
    samples = list(samples)
    latency = latency_buckets(samples)
    return {
        "time": datetime.now(timezone.utc).isoformat(),
        "requests": latency[-1]["count"] if latency else 0,
        "latency": latency,
        "stages": _stages(samples),
        "replicas": replicas,
    }


def latency_buckets(samples: Iterable[Sample]) -> list[dict[str, Any]]:
    """Whole requests by their seconds, cumulative as Prometheus has them."""
    counts: Counter[float] = Counter()
    for sample in samples:
        labels = sample.labels
        if (
            sample.name == f"{OURS}phase_seconds_bucket"
            and labels.get("stage") == "ingress"
            and labels.get("phase") == "total"
        ):
            counts[float(labels["le"])] += int(sample.value)
    return [{"le": None if math.isinf(le) else le, "count": counts[le]} for le in sorted(counts)]


def _stages(samples: Iterable[Sample]) -> dict[str, Any]:
    stages: dict[str, Any] = defaultdict(lambda: {"images": Counter(), "batches": 0, "waiting": 0})
    for sample in samples:
        if "stage" not in sample.labels:
            continue
        stage, value = sample.labels["stage"], int(sample.value)
        if sample.name == f"{OURS}images_total":
            stages[stage]["images"][sample.labels["outcome"]] += value
        elif sample.name == f"{OURS}batches_total":
            stages[stage]["batches"] += value
        elif sample.name == f"{OURS}waiting_images":
            stages[stage]["waiting"] += value
    return dict(stages)


def replicas_of(status: Any) -> dict[str, Any]:
    """Deployments and their replicas.

    Args:
        status: `ray.serve.schema.ServeStatus`.
    """
    return {
        name: {
            "application": application,
            "status": str(getattr(deployment.status, "value", deployment.status)),
            "states": {
                str(getattr(state, "value", state)): count
                for state, count in deployment.replica_states.items()
            },
        }
        for application, overview in status.applications.items()
        for name, deployment in overview.deployments.items()
    }
