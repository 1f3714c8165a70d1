"""An answer of the server under a benchmark: what it says, or why the benchmark ends."""

from __future__ import annotations

from typing import Any

import httpx

from benchmarks.wrk import LoadFailed


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """The document of an answer.

    Raises:
        LoadFailed: if its status is another than 200.
    """
    if response.status_code != 200:
        raise LoadFailed(f"{response.request.url} answered {response.status_code}: {response.text}")
    document: dict[str, Any] = response.json()
    return document
