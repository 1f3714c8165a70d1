"""A record of the catalogue as plain JSON, for other processes and for the API."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from data.catalogue.rollouts import Rollout
from data.catalogue.run import Run


def as_json(record: Run | Rollout) -> dict[str, Any]:
    """Every field by its name; times in ISO 8601, in UTC."""
    document = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(record).items()
    }
    if isinstance(record, Run):
        document["name"] = record.name
    return document
