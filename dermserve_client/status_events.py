"""Status events: what the trainer is doing, as it changes, over one connection after the other."""

from __future__ import annotations

import httpx
from httpx_sse import ServerSentEvent

from dermserve_client.errors import (
    DermServeError,
    ErrorAnswer,
    UnexpectedAnswer,
    error_of,
    error_of_detail,
)
from dermserve_client.retraining import RetrainStatus
from dermserve_client.retries import Attempts, Retries


class StatusEvents:
    """Reads the events of one stream after the other and says when to open the next.

    Args:
        retries: how long to bear with a server, or a trainer, that does not answer.
    """

    path = "/retrain/events"

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._attempts: Attempts | None = None
        """Since the last status; None as long as all is well."""
        self.reconnect_s = retries.first_s
        """Pause after a stream that has ended well, which each one does after some seconds."""

    def begin(self, response: httpx.Response) -> None:
        """Check that a stream has been opened.

        Args:
            response: read to its end if it is an error.

        Raises:
            Refused: if it is an error.
            UnexpectedAnswer: if it is anything else than events.
        """
        if not response.is_success:
            raise error_of(response)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):
            raise UnexpectedAnswer(f"{response.url} is no stream of events. Check the address.")

    def read(self, event: ServerSentEvent) -> RetrainStatus | None:
        """What an event says; None for one that brings no status.

        Raises:
            Unavailable: if the trainer does not answer the server.
        """
        if event.retry is not None:
            self.reconnect_s = event.retry / 1000
        if event.event == "unavailable":
            raise error_of_detail(ErrorAnswer.model_validate_json(event.data).error)
        if event.event != "status":
            return None
        self._attempts = None
        return RetrainStatus.model_validate_json(event.data)

    def pause_after(self, failure: httpx.RequestError | DermServeError) -> float:
        """Seconds to wait before connecting again.

        Raises:
            DermServeError: the failure, if it does not pass or has been going on for too long.
        """
        if self._attempts is None:
            self._attempts = Attempts(self._retries)
        return self._attempts.pause_after(failure)
