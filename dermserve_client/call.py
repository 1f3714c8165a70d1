"""A call: one request to the server and how its answer is read, without sending anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx

from dermserve_client.errors import UnexpectedAnswer, error_of
from dermserve_client.retries import Attempts, Retries

Result = TypeVar("Result")

_GRACE_S = 5.0
"""How long after its deadline the server may still say that it has passed."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Result]):
    """What the clients send and read."""

    method: str
    path: str
    read: Callable[[httpx.Response], Result]
    """Of a good answer."""
    read_error: Callable[[httpx.Response], Result] | None = None
    """Of any other answer, if it is more than an error to raise."""
    repeatable: bool = False
    """Whether doing it twice is as good as once."""
    params: Mapping[str, str | int | bool | None] = field(default_factory=dict)
    """The query; None leaves a parameter out."""
    body: Mapping[str, Any] = field(default_factory=dict)
    """`content`, `json`, `files` or `data` of `httpx.Client.build_request`."""
    timeout_s: float | None = None
    """For all attempts together; the server is told what is left of it."""
    retries: Retries | None = None
    """Instead of the client's."""

    def request(
        self, http: httpx.Client | httpx.AsyncClient, left_s: float | None
    ) -> httpx.Request:
        """The request that an HTTP client is to send.

        Args:
            http: knows the server's address and the key.
            left_s: of `timeout_s`; None without one.
        """
        params: dict[str, Any] = {k: v for k, v in self.params.items() if v is not None}
        timeout = http.timeout
        if left_s is not None:
            params["timeout_s"] = left_s
            timeout = httpx.Timeout(left_s + _GRACE_S)
        return http.build_request(
            self.method, self.path, params=params or None, timeout=timeout, **self.body
        )

    def attempts(self, retries: Retries) -> Attempts:
        """The attempts at this call.

        Args:
            retries: of the client.

        Raises:
            ValueError: if `timeout_s` is not above 0.
        """
        return Attempts(
            self.retries or retries, repeatable=self.repeatable, timeout_s=self.timeout_s
        )

    def result(self, response: httpx.Response) -> Result:
        """What the answer says.

        Args:
            response: read to its end.

        Raises:
            Refused: if it is an error.
            UnexpectedAnswer: if it cannot be read.
        """
        if not response.is_success:
            if self.read_error is None:
                raise error_of(response)
            return self.read_error(response)
        try:
            return self.read(response)
        except (KeyError, ValueError) as error:  # pydantic's is one
            raise UnexpectedAnswer(
                f"{response.url.host} answers {self.method} {self.path} with something that this "
                f"client cannot read. Update it, and check the address. {error}"
            ) from error


def segment(name: str) -> str:
    """A name as one segment of a path.

    Raises:
        ValueError: if it is none, and would lead to another route.
    """
    if name in ("", ".", ".."):
        raise ValueError(f"{name!r} is no name. Give that of a version or of an upload.")
    return quote(name, safe="")
