"""The caretaker: deletes uploads that are past their time, and images that no upload needs.

It lives in the archive, which alone writes the image store, and uses the archivist for whatever it
removes; so it may run beside uploads, and in several replicas at once.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from data.catalogue.database import Database
from data.catalogue.retention import expired_uploads, needed_images
from data.image_store import ImageStore
from models.errors import DermServeError, NotFound
from serve_app.archivist import Archivist

logger = logging.getLogger("ray.serve")

INTERVAL_S = 3600.0
"""Between two rounds."""

ACTOR = "retention"
"""What the audit log calls whoever deletes uploads that are past their time."""

_AT_A_TIME = 1000


@dataclass(frozen=True)
class Round:
    """What one round has removed."""

    expired: int
    """Uploads."""
    orphans: int
    """Images without an upload, and files that were never finished."""


class Caretaker:
    """Goes over the catalogue and the image store, again and again. All of it blocks.

    Args:
        archivist: removes.
        database: the catalogue.
        store: of the images.
        retention_days: after which an upload is deleted; None keeps it.
    """

    def __init__(
        self,
        archivist: Archivist,
        database: Database,
        store: ImageStore,
        retention_days: float | None,
    ) -> None:
        self._archivist = archivist
        self._database = database
        self._store = store
        self._retention_days = retention_days
        self._suspects: frozenset[str] = frozenset()

    def start(self) -> None:
        """Make a round every hour, in a thread that ends with the process."""
        threading.Thread(target=self._repeat, name="caretaker", daemon=True).start()

    def go_round(self) -> Round:
        """Make a round.

        An image without an upload is removed if it was without one a round ago as well: an upload
        stores its image first and is catalogued then. If it takes longer than from one round to
        the next, the archivist stores its image again.

        Raises:
            StorageFull, CatalogueUnavailable: if the catalogue or the store does not work.
        """
        expired = self._delete_expired()
        unfinished = self._store.remove_unfinished(INTERVAL_S)
        needed = needed_images(self._database)
        lonely = frozenset(key for key in self._store.stored() if key not in needed)
        orphans = lonely & self._suspects
        self._suspects = lonely - orphans
        for key in sorted(orphans):
            self._archivist.discard(key)
        return Round(expired, len(orphans) + unfinished)

    def _delete_expired(self) -> int:
        if self._retention_days is None:
            return 0
        deleted = 0
        while ids := expired_uploads(self._database, self._retention_days, _AT_A_TIME):
            for upload_id in ids:
                try:
                    self._archivist.delete(upload_id, ACTOR)
                except NotFound:  # another replica was quicker
                    continue
                deleted += 1
        return deleted

    def _repeat(self) -> None:
        # Not at once: a server that starts has better things to do.
        pause = threading.Event()
        while not pause.wait(INTERVAL_S):
            try:
                done = self.go_round()
            except DermServeError as error:
                logger.warning("The caretaker tries again in an hour: %s", error.message)
            except Exception:
                logger.exception("The caretaker tries again in an hour")
            else:
                if done != Round(0, 0):
                    logger.info(
                        "Removed %d uploads past their time and %d images without an upload",
                        done.expired,
                        done.orphans,
                    )
