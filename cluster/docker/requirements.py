"""Prints requirements out of pyproject.toml, so that an image installs no more than it needs.

python requirements.py --dependencies --extra postgres   # the server's
python requirements.py --extra dashboard httpx pydantic  # an extra, and a few by name
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import tomllib  # of Python 3.11, which the images have


def main() -> None:
    """Print one requirement a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dependencies", action="store_true", help="all of the project's own")
    parser.add_argument("--extra", action="append", default=[], help="all of an extra")
    parser.add_argument("names", nargs="*", help="single ones, wherever they stand")
    given = parser.parse_args()

    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    by_name = {
        re.split(r"[\[<>=~! ;]", line)[0]: line
        for lines in (*extras.values(), project["dependencies"])
        for line in lines
    }
    if missing := {*given.names} - by_name.keys():
        sys.exit(f"pyproject.toml names no {', '.join(sorted(missing))}.")
    if missing := {*given.extra} - extras.keys():
        sys.exit(f"pyproject.toml has no extra {', '.join(sorted(missing))}.")
    lines = project["dependencies"] if given.dependencies else []
    chosen = [*lines, *(line for extra in given.extra for line in extras[extra])]
    print(*chosen, *(by_name[name] for name in given.names), sep="\n")


if __name__ == "__main__":
    main()
