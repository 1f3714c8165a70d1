"""What a failure is called on a page: one sentence or two that say what to do."""

from __future__ import annotations

import httpx

from dermserve_client import (
    AccessDenied,
    DermServeError,
    InvalidImage,
    Refused,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
)

MISTAKE = (
    "Something went wrong on this page that should not have. Reload it; if that does not help, "
    "tell whoever runs the dashboard, whose log says more."
)
AWAY = (
    "The server does not answer. This page waits and goes on by itself when it is back; what you "
    "have chosen stays."
)

SLOW = "The server takes its time. What you have asked for still comes, unless an error says so."


def failure_text(error: Exception) -> str:
    """A failure in words."""
    if isinstance(error, Unreachable):
        return AWAY
    if isinstance(error, AccessDenied):
        if error.code == "unauthenticated":
            return (
                "The server wants an API key for this. Enter yours under API key in the sidebar; "
                "whoever runs the server gives keys out."
            )
        return f"{error.message} Another key can be entered under API key in the sidebar."
    if isinstance(error, TooManyRequests):
        pause = error.retry_after_s
        wait = "in a moment" if pause is None else f"in {pause:.0f} s"
        return f"{error.message} Try again {wait}."
    if isinstance(error, InvalidImage):
        return f"{error.message} Choose another file."
    if isinstance(error, TooLarge):
        return f"{error.message} Save the picture smaller, as a JPEG, and choose it again."
    if isinstance(error, UnexpectedAnswer):
        return (
            "The server answers in a way that this dashboard does not understand. Check that "
            "DERMSERVE_URL is the address of a DermServe server of the same version."
        )
    if isinstance(error, Unavailable | Refused):
        return error.message
    if isinstance(error, DermServeError):
        return str(error)
    return MISTAKE


def health_problem(error: DermServeError) -> str:
    """Why the server does not say how it is: it is slow, away, or not ready."""
    if isinstance(error, Unreachable):
        return SLOW if isinstance(error.__cause__, httpx.ReadTimeout) else AWAY
    return f"The server is not ready. {failure_text(error)}"
