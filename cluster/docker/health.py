"""The health check of the images: whether all URLs answer, or with none whether Ray runs.

A worker has no address of its own that tells: requests reach it through its proxy, which is
there only while a replica is, and a node without one is well too.
"""

from __future__ import annotations

import http.client
import sys
import urllib.request
from pathlib import Path

TIMEOUT_S = 8


def answers(url: str) -> bool:
    """Whether a URL answers with 2xx."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S):
            return True
    except (OSError, http.client.HTTPException):
        return False


def runs(name: str) -> bool:
    """Whether a process of this container has that name."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == name:
                return True
        except OSError:  # it has ended meanwhile
            continue
    return False


if __name__ == "__main__":
    urls = sys.argv[1:]
    sys.exit(0 if (all(map(answers, urls)) if urls else runs("raylet")) else 1)
