"""Options and arguments that several commands have."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cluster.record_output import Format


class EngineChoice(str, Enum):
    """Inference engines, as in `serve_config.yaml`."""

    AUTO = "auto"
    OPENVINO = "openvino"
    TORCH_CUDA = "torch-cuda"
    TORCH_CPU = "torch-cpu"


Paths = Annotated[
    list[str],  # a Path of nothing, as of an unset variable, would be this folder
    typer.Argument(
        metavar="PATH...", help="Files, folders (with all that is below), or quoted patterns."
    ),
]
OutputFormat = Annotated[
    Format | None,
    typer.Option(
        "--format",
        help="Of the results; else by the ending of --output, or a table on a terminal and CSV "
        "elsewhere.",
        show_default=False,
    ),
]
OutputFile = Annotated[
    Path | None,
    typer.Option(help="File to write; it is called so once it is whole.", show_default=False),
]
