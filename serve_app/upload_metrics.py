"""What an ingress replica tells Prometheus of uploads: how many images had which verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, get_args

from ray.serve import metrics

from serve_app.metrics import begin_at_zero
from serve_app.upload import Verdict, VerdictName

FAILED = "failed"
"""The verdict, in the metrics, on an image that an error of the server kept from getting one."""

# Ray means a tuple of any length and says of one.
_VERDICT: Any = ("verdict",)


class UploadMetrics:
    """The metrics of the uploads that came to one replica."""

    def __init__(self) -> None:
        self._uploads = metrics.Counter(
            "dermserve_uploads",
            "Images uploaded, by their verdict; `failed` had none, through an error of the server.",
            tag_keys=_VERDICT,
        )
        for verdict in (*get_args(VerdictName), FAILED):
            begin_at_zero(self._uploads, {"verdict": verdict})

    def count(self, verdicts: Iterable[Verdict], files: int) -> None:
        """Count one upload.

        Args:
            verdicts: of the files that have one.
            files: of the upload, in all.
        """
        counted: Counter[str] = Counter(verdict.verdict for verdict in verdicts)
        counted[FAILED] = files - counted.total()
        for verdict, images in counted.items():
            if images:
                self._uploads.inc(images, {"verdict": verdict})
