"""Files as Streamlit hands them over."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass


@dataclass
class File:
    """One file that was dropped on a page."""

    name: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def getvalue(self) -> bytes:
        return self.data


def zipped(*members: tuple[str, bytes], name: str = "pictures.zip") -> File:
    """An archive."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for inner, data in members:
            archive.writestr(inner, data)
    return File(name, written.getvalue())
