"""A refusal: an error as the server answers it."""

from __future__ import annotations

import httpx


def refusal(status: int, code: str, **headers: str) -> httpx.Response:
    """An error as the server answers it."""
    detail = {"code": code, "message": "Do something else.", "request_id": "r1"}
    return httpx.Response(status, json={"error": detail}, headers=headers)
