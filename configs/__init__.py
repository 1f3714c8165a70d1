"""The YAML files that say how this server behaves."""

from pathlib import Path

FOLDER = Path(__file__).parent
