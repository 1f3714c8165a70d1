"""The application with decoders that kill their process when they see a marker.

A fault in a C library ends the process that meets it. What stands in for one here comes in by
`import_path` of the Serve configuration, so that the product has no switch for it.
"""

from __future__ import annotations

import signal
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
from ray.serve import Application

import data.clean_image
import serve_app.app
import serve_app.preprocessing
from models.limits import DEFAULT_LIMITS, ImageLimits
from models.preprocessing import decode_image
from serve_app.archive import Archive
from serve_app.preprocessing import Preprocessor
from serve_app.settings import ServeSettings

MARKER = b"this file is the end of whoever decodes it"
"""Behind a picture, where decoders do not look."""


def fragile_decode(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> npt.NDArray[np.uint8]:
    """`decode_image`, unless the file has the marker."""
    if MARKER in data:
        signal.raise_signal(signal.SIGSEGV)  # in this thread, which does not come back
    return decode_image(data, limits)


def fragile_clean(data_: bytes) -> Any:
    """`clean_jpeg`, unless the file has the marker, which cleaning would remove."""
    if MARKER in data_:
        signal.raise_signal(signal.SIGSEGV)  # in this thread, which does not come back
    return _clean_jpeg(data_)


_clean_jpeg = data.clean_image.clean_jpeg


class FragilePreprocessor(Preprocessor):
    """A preprocessor whose decoder has a fault."""

    def __init__(self, classifier: Any, settings: ServeSettings) -> None:
        serve_app.preprocessing.decode_image = fragile_decode
        super().__init__(classifier, settings)


class FragileArchive(Archive):
    """An archive whose decoder has a fault."""

    def __init__(self, preprocessor: Any, settings: ServeSettings) -> None:
        data.clean_image.clean_jpeg = fragile_clean
        super().__init__(preprocessor, settings)


# The deployments are named after their classes.
FragilePreprocessor.__name__ = Preprocessor.__name__
FragileArchive.__name__ = Archive.__name__


def build(args: dict[str, Any]) -> Application:
    """`serve_app.app.build`, with those two."""
    with (
        mock.patch.object(serve_app.app, "Preprocessor", FragilePreprocessor),
        mock.patch.object(serve_app.app, "Archive", FragileArchive),
    ):
        return serve_app.app.build(args)
