"""A place that does not exist yet: whether it could be made."""

from __future__ import annotations

import os
from pathlib import Path


def unmakeable(path: Path) -> str | None:
    """Why a file or folder cannot be made, in a sentence; None if it can. Nothing is made."""
    existing = next(each for each in path.parents if each.exists())
    if existing.is_dir() and os.access(existing, os.W_OK | os.X_OK):
        return None
    return f"{path} cannot be made: {existing} is no folder that may be written."
