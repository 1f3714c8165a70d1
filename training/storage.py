"""Where runs are kept. Importing it costs nothing, as importing torch does."""

from __future__ import annotations

import os
from pathlib import Path

from models.tracking_uri import var_folder

RUNS_VARIABLE = "DERMSERVE_RUNS"
"""Environment variable that names the folder; all machines that train have to share it."""


def runs_folder() -> Path:
    """Where runs are stored unless the caller says otherwise."""
    return Path(os.environ.get(RUNS_VARIABLE) or var_folder() / "runs").absolute()
