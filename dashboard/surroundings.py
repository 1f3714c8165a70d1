"""The surroundings of the dashboard: where the server is, and what stands beside it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from dermserve_client.connection import DEFAULT_URL, URL_VARIABLE

LINK_VARIABLES: dict[str, str] = {
    "Ray dashboard": "DERMSERVE_RAY_DASHBOARD_URL",
    "Grafana": "DERMSERVE_GRAFANA_URL",
    "Load report (Locust)": "DERMSERVE_LOAD_REPORT_URL",
}
"""Pages beside the server that only whoever runs it knows the address of."""

PUBLIC_URL_VARIABLE = "DERMSERVE_PUBLIC_URL"
"""The server as browsers reach it, where that differs from `DERMSERVE_URL`."""

_DEFAULT_LINKS = {"Ray dashboard": "http://127.0.0.1:8265"}


@dataclass(frozen=True)
class Surroundings:
    """Addresses, out of the environment."""

    url: str
    """Of the server, as this process reaches it."""
    public_url: str
    """Of the server, as browsers reach it."""
    links: Mapping[str, str]
    """Other pages by name, as browsers reach them."""

    @classmethod
    def of(cls, environment: Mapping[str, str] | None = None) -> Surroundings:
        """Read the environment; None takes that of this process."""
        known = os.environ if environment is None else environment
        url = (known.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
        links = {
            name: address
            for name, variable in LINK_VARIABLES.items()
            if (address := known.get(variable) or _DEFAULT_LINKS.get(name))
            and address.startswith(("http://", "https://"))
        }
        public_url = (known.get(PUBLIC_URL_VARIABLE) or url).rstrip("/")
        return cls(url, public_url, links)
