"""The seed under Locust: what is handed down of the student project that DermServe grew out of.

Its machine, its mix of requests and how long its users thought are not. What is None was not
handed down.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class SeedStep(BaseModel):
    """One number of users."""

    model_config = ConfigDict(frozen=True)

    requests_per_s: float
    mean_s: float | None = None
    p99_s: float | None = None
    failed: float | None = None
    """Share of all requests, 0 to 1."""


SEED = {
    10: SeedStep(requests_per_s=10.5, mean_s=0.173),
    50: SeedStep(requests_per_s=14.6, failed=0.0113),
    100: SeedStep(requests_per_s=15.8, failed=0.02, p99_s=44.0),
}
"""By number of users."""
