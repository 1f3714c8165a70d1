"""Addresses of this machine's server, unless somebody chooses others."""

from __future__ import annotations

DASHBOARD_PORT = 8265
SERVER_URL = "http://127.0.0.1:8000"
DASHBOARD_URL = f"http://127.0.0.1:{DASHBOARD_PORT}"
