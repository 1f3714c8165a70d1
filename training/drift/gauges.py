"""The gauges of the drift watch, which one process sets for all replicas."""

from __future__ import annotations

import math
from typing import Any

from ray.serve.metrics import Gauge

_HELP = {
    "dermserve_drift_samples": "Live images in the window of the drift watch.",
    "dermserve_drift_embedding_mmd": "Squared maximum mean discrepancy, unbiased, of the live "
    "images' embeddings from the validation images'; about 0 without drift.",
    "dermserve_drift_embedding_p_value": "P-value of that discrepancy, by permutation.",
    "dermserve_drift_class_mix_distance": "Jensen-Shannon distance, 0 to 1, of the answers to live "
    "images from the answers to validation images.",
    "dermserve_drift_class_mix_p_value": "P-value of that difference, by permutation.",
    "dermserve_estimated_accuracy": "Share of right answers among the live images, estimated "
    "without labels from the model's confidence.",
    "dermserve_estimated_balanced_accuracy": "Mean recall of the classes, likewise.",
}


class DriftGauges:
    """NaN stands for what is not known, such as before there are enough images."""

    def __init__(self) -> None:
        self._gauges = {name: Gauge(name, description) for name, description in _HELP.items()}

    def set(self, summary: dict[str, Any]) -> None:
        """Export what the watch says.

        Args:
            summary: as `DriftWatch.summary` gives it.
        """
        embedding, class_mix = summary["embedding"] or {}, summary["class_mix"] or {}
        performance = summary["performance"] or {}
        values = {
            "dermserve_drift_samples": summary["samples"],
            "dermserve_drift_embedding_mmd": embedding.get("mmd"),
            "dermserve_drift_embedding_p_value": embedding.get("p_value"),
            "dermserve_drift_class_mix_distance": class_mix.get("distance"),
            "dermserve_drift_class_mix_p_value": class_mix.get("p_value"),
            "dermserve_estimated_accuracy": performance.get("accuracy", {}).get("value"),
            "dermserve_estimated_balanced_accuracy": performance.get("balanced_accuracy", {}).get(
                "value"
            ),
        }
        for name, value in values.items():
            self._gauges[name].set(math.nan if value is None else float(value))
