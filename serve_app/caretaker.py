"""The caretaker: deletes uploads that are past their time, and images that no upload needs.

It lives in the archive, which alone writes the image store, and uses the archivist for whatever it
removes; so it may run beside uploads, and in several replicas at once.
"""

from __future__ import annotations

import logging
import threading
from contextlib import suppress
from dataclasses import dataclass

from data.catalogue.audit import catalogue_id
from data.catalogue.database import Database, now
from data.catalogue.retention import expired_uploads, needed_images
from data.image_store import ORPHANS_FILE, OWNER_FILE, ImageStore
from models.errors import DermServeError, NotFound
from serve_app.archivist import Archivist
from serve_app.clock_watch import ClockWatch

logger = logging.getLogger("ray.serve")

INTERVAL_S = 3600.0
"""Between two rounds."""

ACTOR = "retention"
"""What the audit log calls whoever deletes uploads that are past their time."""

MAX_ORPHANS = 20
"""Images without an upload that are removed in one round, if that many are not 5 % of all."""

_MAX_ORPHANS_SHARE = 0.05
_AT_A_TIME = 1000

_FOREIGN = (
    "Nothing was removed from the image store %s: it belongs to another catalogue than %s. Set "
    "DERMSERVE_CATALOGUE and DERMSERVE_IMAGES to two that belong together, and give each server "
    "an image store of its own. If the other catalogue is gone for good, remove the file %s from "
    "the store."
)
_UNKNOWN = (
    "No image without an upload was removed from the image store %s: of %d images, %d have no "
    "upload in the catalogue %s, and the store does not say whose it is. Check "
    "DERMSERVE_CATALOGUE and DERMSERVE_IMAGES. If they belong together, write %s into the file %s "
    "of the store."
)
_TOO_MANY = (
    "No image without an upload was removed from the image store %s: there are %d among %d, which "
    "a crash does not leave behind. If the catalogue %s was restored from an older backup, restore "
    "a newer one, or upload those images again. If they may go, remove them by hand: the file %s "
    "of the store names them."
)
_CLOCK = (
    "No upload was deleted for its age: by the clock of the catalogue %s, it is suddenly %s. Set "
    "the clock right. If it is right, they will be deleted a day from now."
)


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
        clock: that says whether the time can be believed.
    """

    def __init__(
        self,
        archivist: Archivist,
        database: Database,
        store: ImageStore,
        retention_days: float | None,
        clock: ClockWatch | None = None,
    ) -> None:
        self._archivist = archivist
        self._database = database
        self._store = store
        self._retention_days = retention_days
        self._clock = clock or ClockWatch()
        self._suspects: frozenset[str] = frozenset()

    def start(self) -> None:
        """Make a round every hour, in a thread that ends with the process."""
        threading.Thread(target=self._repeat, name="caretaker", daemon=True).start()

    def go_round(self) -> Round:
        """Make a round.

        An image without an upload is removed if it was without one a round ago as well: an upload
        stores its image first and is catalogued then. If it takes longer than from one round to
        the next, the archivist stores its image again.

        Nothing is removed from a store that belongs to another catalogue, and no images without
        an upload where they are so many that the catalogue is more likely to be the wrong one.

        Raises:
            StorageFull, CatalogueUnavailable: if the catalogue or the store does not work.
        """
        own, owner = catalogue_id(self._database), self._store.owner()
        if owner is not None and owner != own:
            logger.error(_FOREIGN, self._store, self._database, OWNER_FILE)
            self._suspects = frozenset()
            return Round(0, 0)
        expired = self._delete_expired()
        unfinished = self._store.remove_unfinished(INTERVAL_S)
        # The images first: what is stored and catalogued in between is then in neither.
        stored = frozenset(self._store.stored())
        lonely = stored - needed_images(self._database)
        orphans = lonely & self._suspects
        self._suspects = lonely
        if self._may_remove(orphans, lonely, stored, own, owner):
            orphaned = sum(self._archivist.discard(key) for key in sorted(orphans))
        else:
            orphaned = 0
        return Round(expired, orphaned + unfinished)

    def _may_remove(
        self,
        orphans: frozenset[str],
        lonely: frozenset[str],
        stored: frozenset[str],
        own: str | None,
        owner: str | None,
    ) -> bool:
        """Whether the images are the catalogue's, and so few that it is not an old one.

        Where the store does not say whose it is, this writes it down, unless too many images are
        without an upload. Where the answer is no, the log tells the operator what to do.
        """
        if owner is None:
            # The images are its own, or there are none yet.
            if own is not None and len(lonely) <= _MAX_ORPHANS_SHARE * len(stored):
                self._store.belong_to(own)
            elif orphans:
                logger.error(
                    _UNKNOWN,
                    self._store,
                    len(stored),
                    len(lonely),
                    self._database,
                    own or "the id that it has after the first upload",
                    OWNER_FILE,
                )
            return False  # the next round reads what was written, by whoever was last
        if len(orphans) > max(MAX_ORPHANS, _MAX_ORPHANS_SHARE * len(stored)):
            self._store.list_orphans(orphans)
            count, total = len(orphans), len(stored)
            logger.error(_TOO_MANY, self._store, count, total, self._database, ORPHANS_FILE)
            return False
        return True

    def _delete_expired(self) -> int:
        if self._retention_days is None or not self._time_is_believed():
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

    def _time_is_believed(self) -> bool:
        with self._database.reading() as session:
            moment = now(session)
        if self._clock.trusts(moment):
            return True
        logger.error(_CLOCK, self._database, moment.isoformat(timespec="seconds"))
        return False

    def _repeat(self) -> None:
        # Not at once: a server that starts has better things to do.
        pause = threading.Event()
        with suppress(DermServeError):  # the next round looks again
            self._time_is_believed()  # what a leap before the first round is seen by
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
