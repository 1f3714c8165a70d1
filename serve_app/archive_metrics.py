"""What the archive tells Prometheus: what it could not do, through no fault of its callers."""

from __future__ import annotations

from typing import Any

from ray.serve.metrics import Counter

from models.errors import CatalogueUnavailable, DermServeError, StorageFull
from serve_app.metrics import begin_at_zero

# Ray means a tuple of any length and says of one.
_CODE: Any = ("code",)


class ArchiveMetrics:
    """The metrics of one replica of the archive."""

    def __init__(self) -> None:
        self._errors = Counter(
            "dermserve_archive_errors",
            "What the archive could not do through no fault of its callers, by the code of the "
            "error: catalogue_unavailable, storage_full and others.",
            tag_keys=_CODE,
        )
        for error in (CatalogueUnavailable, StorageFull, DermServeError):
            begin_at_zero(self._errors, {"code": error.code})

    def count_error(self, error: DermServeError) -> None:
        """Count an error, unless it is the caller's."""
        if error.status >= 500:
            self._errors.inc(1, {"code": error.code})
