"""Redis, in which Ray keeps the cluster's state if it is told to, so that a head may restart."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings

VARIABLE = "RAY_REDIS_ADDRESS"
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class RedisFacts:
    """What Redis answered."""

    address: str | None
    """Without a password; None if none is configured."""
    answer: str
    """To PING: `PONG`, or what went wrong."""
    nodes: int


def gather(surroundings: Surroundings) -> RedisFacts:
    """Ping every Redis that the environment names."""
    configured = surroundings.environment.get(VARIABLE)
    if not configured:
        return RedisFacts(None, "", surroundings.machines)
    address = configured.split(",")[0]
    parts = urlsplit(address if "://" in address else f"redis://{address}")
    shown = f"{parts.hostname}:{parts.port or 6379}"
    try:
        answer = ping(
            parts.hostname or "",
            parts.port or 6379,
            tls=parts.scheme == "rediss",
            login=_login(surroundings.environment),
        )
    except OSError as error:
        answer = f"no answer ({type(error).__name__}: {error})"
    return RedisFacts(shown, answer, surroundings.machines)


def ping(host: str, port: int, *, tls: bool, login: tuple[str, ...]) -> str:
    """The answer of a Redis to PING, after AUTH if there is a login.

    Raises:
        OSError: if it does not answer in time.
    """
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
        if tls:
            context = ssl.create_default_context()
            connection = context.wrap_socket(connection, server_hostname=host)
        with connection, connection.makefile("rwb") as stream:
            for command in (("AUTH", *login),) if login else ():
                _send(stream, command)
                if not (said := stream.readline()).startswith(b"+"):
                    return said.decode(errors="replace").strip("-\r\n")
            _send(stream, ("PING",))
            return stream.readline().decode(errors="replace").strip("+-\r\n")


def check(facts: RedisFacts) -> list[Finding]:
    """Judge the answer."""
    if facts.address is None:
        if facts.nodes > 1:
            return [
                warning(
                    "The cluster's state is in the head's memory alone: when the head restarts, "
                    "all applications are gone until they are deployed again.",
                    f"Set {VARIABLE} before Ray starts on the head.",
                )
            ]
        return [ok(f"Not used ({VARIABLE} is not set).")]
    if facts.answer == "PONG":
        return [ok(f"Redis at {facts.address} answers; Ray keeps the cluster's state there.")]
    return [
        wrong(
            f"Redis at {facts.address} does not do its work: {facts.answer}.",
            f"Start Redis, or correct {VARIABLE} and RAY_REDIS_PASSWORD; Ray's head does not start "
            "without it.",
        )
    ]


def _login(environment: Mapping[str, str]) -> tuple[str, ...]:
    password = environment.get("RAY_REDIS_PASSWORD")
    user = environment.get("RAY_REDIS_USERNAME")
    if not password:
        return ()
    return (user, password) if user else (password,)


def _send(stream: object, words: tuple[str, ...]) -> None:
    encoded = [word.encode() for word in words]
    body = b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
    stream.write(b"*%d\r\n%s" % (len(words), body))  # type: ignore[attr-defined]
    stream.flush()  # type: ignore[attr-defined]


SUBJECT = Subject("Redis", gather, check)
