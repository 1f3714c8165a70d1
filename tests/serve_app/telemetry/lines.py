"""The lines of the access log, as they are handed to whoever writes them."""

from __future__ import annotations

from typing import Any

import pytest

from models.log_records import LOGGER

FIELDS = (
    "event",
    "protocol",
    "method",
    "route",
    "status",
    "duration_ms",
    "request_id",
    "key_id",
    "request_bytes",
    "response_bytes",
    "model_version",
)


def lines_of(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of each."""
    records = [record.__dict__ for record in caplog.records if "event" in record.__dict__]
    return [{name: record[name] for name in FIELDS} for record in records]


def text_of(caplog: pytest.LogCaptureFixture) -> str:
    """Everything that the replica has logged."""
    return "".join(str(each.__dict__) for each in caplog.records if each.name == LOGGER)
