"""A connection: where the server is, and who asks; from arguments or the environment."""

from __future__ import annotations

import os
from typing import Any

URL_VARIABLE = "DERMSERVE_URL"
API_KEY_VARIABLE = "DERMSERVE_API_KEY"
DEFAULT_URL = "http://127.0.0.1:8000"


def http_options(url: str | None, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """Arguments that `httpx.Client` and `httpx.AsyncClient` share.

    Args:
        url: of the server; None takes `DERMSERVE_URL`, or this machine's.
        api_key: None takes `DERMSERVE_API_KEY`, or none.
        timeout_s: longest silence of the server.

    Raises:
        ValueError: if the address or the key cannot be one.
    """
    base_url = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
    if not base_url.startswith(("http://", "https://")):
        raise ValueError(f"The address {base_url!r} must begin with http:// or https://.")
    key = (api_key or os.environ.get(API_KEY_VARIABLE) or "").strip()
    if not (key.isascii() and key.isprintable()):
        # Said here, because whoever finds out later says the key as well.
        raise ValueError("The API key holds characters that no key has. Copy it anew.")
    return {
        "base_url": base_url,
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        "timeout": timeout_s,
    }
