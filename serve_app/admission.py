"""Admission: how much work a replica holds at once, and what it says to more."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import Overloaded
from serve_app.settings import ServeSettings
from serve_app.work import Priority


class Admission:
    """Counts the images in progress and their bytes against the limits of the settings.

    Bulk work may take half of the places only, so that interactive work always finds room.

    Args:
        settings: of the application.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._images = dict.fromkeys(Priority, 0)
        self._bytes = dict.fromkeys(Priority, 0)
        self.rejected = 0
        """Images that were refused since the start."""

    @property
    def images(self) -> int:
        """In progress now."""
        return sum(self._images.values())

    def check(
        self, images: int = 1, size_bytes: int = 0, priority: Priority = Priority.INTERACTIVE
    ) -> None:
        """Raise `Overloaded` unless there is room for some images and their bytes."""
        settings = self._settings
        waiting, waiting_bytes = self.images, sum(self._bytes.values())
        full = (
            waiting + images > settings.max_waiting
            or waiting_bytes + size_bytes > settings.max_waiting_bytes
        )
        bulk = priority == Priority.BULK and (
            self._images[priority] + images > settings.max_waiting_bulk
            or self._bytes[priority] + size_bytes > settings.max_waiting_bulk_bytes
        )
        if full or bulk:
            self.rejected += images
            raise Overloaded(
                f"{waiting} images are waiting ({waiting_bytes / 2**20:.0f} MiB), which is all "
                f"the server takes{'' if full else ' of series'}. "
                "Send the request again in a second."
            )

    @contextmanager
    def admit(self, images: int, size_bytes: int, priority: Priority) -> Iterator[None]:
        """Hold places for some images.

        Raises:
            Overloaded: as `check`.
        """
        self.check(images, size_bytes, priority)
        self._images[priority] += images
        self._bytes[priority] += size_bytes
        try:
            yield
        finally:
            self._images[priority] -= images
            self._bytes[priority] -= size_bytes
