"""Where runs are kept. Importing it costs nothing, as importing torch does."""

from __future__ import annotations

import os
from pathlib import Path

from models.errors import InvalidConfiguration
from models.tracking_uri import var_folder

RUNS_VARIABLE = "DERMSERVE_RUNS"
"""Environment variable that names the folder; all machines that train have to share it."""


def runs_folder() -> Path:
    """Where runs are stored unless the caller says otherwise.

    Raises:
        InvalidConfiguration: if the variable holds a URL. Workers append to files of a run, lock
            and rename them, which object stores do not do.
    """
    folder = os.environ.get(RUNS_VARIABLE) or str(var_folder() / "runs")
    if "://" in folder:
        raise InvalidConfiguration(
            f"{RUNS_VARIABLE} must be a folder, and it is {folder}. On several machines, mount one "
            "and the same on all of them; the models that runs make go to the registry."
        )
    return Path(folder).absolute()
