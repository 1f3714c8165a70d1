"""Samples: pictures that come with the dashboard, computed and of nobody's skin."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("samples")

NOTE = (
    "This picture was computed to look like such a lesion. It shows how the page works, and says "
    "nothing about how good the model is."
)


@dataclass(frozen=True)
class Sample:
    """One picture."""

    code: str
    """Of the class that it imitates."""
    path: Path

    def read(self) -> bytes:
        """As encoded."""
        return self.path.read_bytes()


def samples() -> tuple[Sample, ...]:
    """The pictures, in the order of the classes."""
    return tuple(Sample(path.stem, path) for path in sorted(FOLDER.glob("*.jpg")))
