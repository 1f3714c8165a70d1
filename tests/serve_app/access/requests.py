"""Requests with a key, and requests that no HTTP client would send."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


async def raw_answer(url: str, request: bytes) -> bytes:
    """The answer to bytes that no HTTP client would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
