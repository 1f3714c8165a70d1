"""Waiting: what is still missing until a retraining starts by itself."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from data.catalogue.upload_counts import UploadCounts
from training.settings import RetrainSettings


@dataclass(frozen=True)
class Waiting:
    """What is still missing until a retraining starts by itself."""

    new_images: int
    """Labelled images that no run has learned from yet."""
    threshold: int
    missing: int
    missing_by_class: dict[str, int]
    quiet_until: datetime | None
    """When it may start, if enough has come and nothing changes before."""

    @classmethod
    def of(cls, counts: UploadCounts, settings: RetrainSettings) -> Waiting:
        """Compare what has come with what is asked for."""
        new = sum(counts.new.values())
        missing_by_class = {
            code: least - counts.new.get(code, 0)
            for code, least in settings.per_class_minimum.items()
            if counts.new.get(code, 0) < least
        }
        quiet_until, newest = None, counts.newest_change
        # A change from the future says that the clock was put back, not how long ago it was.
        if settings.quiet_s and newest is not None and newest <= datetime.now(timezone.utc):
            quiet_until = newest + timedelta(seconds=settings.quiet_s)
        return cls(
            new_images=new,
            threshold=settings.threshold,
            missing=max(0, settings.threshold - new),
            missing_by_class=missing_by_class,
            quiet_until=quiet_until,
        )

    @property
    def over(self) -> bool:
        """Whether a retraining is due."""
        quiet = self.quiet_until is None or datetime.now(timezone.utc) >= self.quiet_until
        return self.missing == 0 and not self.missing_by_class and quiet
