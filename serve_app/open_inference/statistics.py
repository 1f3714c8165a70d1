"""Statistics of a model, as Triton's extension of the protocol has them."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_app.classification import Classification
from serve_app.open_inference.metadata import MODEL


@dataclass(slots=True)
class _Duration:
    count: float = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: float = 1) -> None:
        self.count += count
        self.seconds += seconds

    def report(self) -> dict[str, int]:
        return {"count": round(self.count), "ns": round(self.seconds * 1e9)}


@dataclass(slots=True)
class _Version:
    images: int = 0
    last: float = 0.0
    """When it was asked the last time, in seconds since 1970."""
    success: _Duration = field(default_factory=_Duration)
    """Requests."""
    queue: _Duration = field(default_factory=_Duration)
    """Images, as in the next two."""
    preprocessing: _Duration = field(default_factory=_Duration)
    forward: _Duration = field(default_factory=_Duration)
    batches: defaultdict[int, _Duration] = field(default_factory=lambda: defaultdict(_Duration))
    """Forward passes by how many images they had."""


class Statistics:
    """Counts what one ingress replica has answered since it began, whichever route asked.

    A request that failed is one of whose images at least one got an error in place of an answer.
    Not counted are requests that never reached the chain: those that cannot be read, or that a full
    server refused.

    An image whose forward pass had `b` images counts as a `b`-th of a pass, so that passes are
    counted where only images are seen.
    """

    def __init__(self) -> None:
        self._versions: dict[str, _Version] = {}
        self._failed = _Duration()

    def observe(self, results: Sequence[Classification | Exception], total_s: float) -> None:
        """One request's images, and the seconds until all had their answers."""
        answered = [result for result in results if isinstance(result, Classification)]
        for result in answered:
            counts = self._of(result.model.version)
            counts.images += 1
            counts.preprocessing.add(result.preprocessing_s)
            counts.forward.add(result.forward_s)
            counts.queue.add(max(0.0, total_s - result.preprocessing_s - result.forward_s))
            counts.batches[result.batch].add(result.forward_s / result.batch, 1 / result.batch)
        if len(answered) < len(results):
            self._failed.add(total_s)
        elif answered:
            counts = self._of(answered[-1].model.version)
            counts.success.add(total_s)
            counts.last = time.time()

    def report(self, served: str, version: str = "") -> dict[str, Any]:
        """The protocol's form; requests that failed stand with the version that serves.

        Args:
            served: version that serves now.
            version: the only one to report; empty takes all that have answered.
        """
        versions = [version] if version else sorted({served, *self._versions})
        failed = {served: self._failed.report()}
        return {
            "model_stats": [
                _report(each, self._versions.get(each) or _Version(), failed.get(each, _NONE))
                for each in versions
            ]
        }

    def _of(self, version: str) -> _Version:
        counts = self._versions.get(version)
        if counts is None:
            counts = self._versions[version] = _Version()
        return counts


_NONE = _Duration().report()


def _report(version: str, counts: _Version, failed: dict[str, int]) -> dict[str, Any]:
    return {
        "name": MODEL,
        "version": version,
        "last_inference": round(counts.last * 1000),
        "inference_count": counts.images,
        "execution_count": round(sum(each.count for each in counts.batches.values())),
        "inference_stats": {
            "success": counts.success.report(),
            "fail": failed,
            "queue": counts.queue.report(),
            "compute_input": counts.preprocessing.report(),
            "compute_infer": counts.forward.report(),
            "compute_output": _NONE,
            "cache_hit": _NONE,
            "cache_miss": _NONE,
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _NONE,
                "compute_infer": counts.batches[size].report(),
                "compute_output": _NONE,
            }
            for size in sorted(counts.batches)
        ],
    }
