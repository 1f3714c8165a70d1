"""What other machines reach of a running server, and whether it asks them for anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from cluster.doctor.catalogue import has_keys
from cluster.doctor.finding import Finding, continued, not_checked, ok, warning, wrong
from cluster.doctor.processes import CLIENT_SERVER, ServerProcess
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen, seen
from cluster.tls import DEFAULT_PORT as TLS_PORT
from cluster.tls import PORT_VARIABLE as TLS_PORT_VARIABLE

_FIREWALL = "Hide the port behind a firewall; SECURITY.md has one."
_TOKEN = (
    "Stop Ray, set RAY_AUTH_MODE=token on every node (cluster/ray.env does), write a token with "
    "`ray get-auth-token --generate`, and start Ray again."
)
_KEY = "Make a key with `dermserve keys create --name NAME --role predict`, or listen on 127.0.0.1."
_DRIVER = "dermserve up"
_RAYS = frozenset(
    {"gcs", "raylet", "idle workers", "controller", "haproxy manager", CLIENT_SERVER, _DRIVER}
)


@dataclass(frozen=True)
class OpenPort:
    """A socket that other machines reach."""

    ip: str
    port: int
    role: str
    replica: bool
    token: bool
    """Whether its process asks callers for Ray's token."""


@dataclass(frozen=True)
class ListeningFacts:
    """All that is open."""

    ports: tuple[OpenPort, ...]
    users: tuple[int, ...]
    """Ports for users: HTTP first, gRPC and HTTPS."""
    keys: bool | Unseen
    """Whether there is an API key."""
    asks_for_token: bool | None
    """Whether the dashboard refused who came without a token; None if nobody tried."""
    several_nodes: bool
    """Whether Ray was told to listen for other machines."""


def gather(surroundings: Surroundings) -> ListeningFacts:
    """From the sockets of the server's processes."""
    processes = seen(surroundings.processes)
    environment, serve = surroundings.environment, surroundings.serve
    declared = surroundings.declared
    tls = int(environment.get(TLS_PORT_VARIABLE) or TLS_PORT)
    http = declared.http_options.get("port", 8000)
    grpc = declared.grpc_options.get("port", 9000)
    with surroundings.in_place():
        keys = has_keys()
    return ListeningFacts(
        ports=open_ports(processes, environment.get("RAY_AUTH_MODE") == "token"),
        users=(http, grpc, tls),
        keys=keys,
        asks_for_token=None if isinstance(serve, Unseen) else serve.asks_for_token,
        several_nodes=environment.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER") == "1",
    )


def open_ports(processes: tuple[ServerProcess, ...], driver_token: bool) -> tuple[OpenPort, ...]:
    """The sockets of processes that are open to others.

    Args:
        processes: of the server.
        driver_token: whether `dermserve up` asks for a token, which it decides after its start.
    """
    return tuple(
        OpenPort(
            ip=listener.ip,
            port=listener.port,
            role=each.role,
            replica=each.is_replica,
            token=driver_token
            if each.role == _DRIVER
            else each.environment.get("RAY_AUTH_MODE") == "token",
        )
        for each in processes
        for listener in each.listeners
        if listener.is_public
    )


def check(facts: ListeningFacts) -> list[Finding]:
    """Judge every open socket by what it asks for."""
    found = []
    left = list(facts.ports)

    def take(which: Callable[[OpenPort], bool]) -> list[OpenPort]:
        taken = [each for each in left if which(each)]
        left[:] = [each for each in left if each not in taken]
        return taken

    # The gRPC of Serve's own proxy is open wherever HTTP listens; replicas refuse strangers there.
    users = take(
        lambda each: (
            (each.role == "haproxy" and each.port in facts.users)
            or (each.role == "proxy" and each.port == facts.users[0])
        )
    )
    if users:
        found.append(_users(users, facts.keys))
    admin = take(lambda each: each.role == "haproxy")
    if admin:
        found.append(
            wrong(
                f"HAProxy shows its statistics and metrics to everybody ({_listed(admin)}).",
                "Have Ray start dermserve-haproxy (RAY_SERVE_HAPROXY_BINARY_PATH, see "
                "cluster/ray.env), and leave DERMSERVE_EDGE_ADMIN_HOST out; or "
                + continued(_FIREWALL),
            )
        )
    found += _dashboard(take(lambda each: each.role == "dashboard"), facts)
    agents = take(lambda each: each.role in ("agents", "monitors"))
    found += _metrics(agents, facts)
    stages = take(lambda each: each.replica or each.role == "proxy")
    found += _guarded(
        stages, "Replicas and Serve's proxy, for which Ray 2.60 opens every interface,"
    )
    found += _guarded(take(lambda each: each.role in _RAYS or each.token), "Ray's own processes")
    if left:
        found.append(
            wrong(
                f"Nobody knows why these are open to other machines: {_listed(left)}.",
                f"Find out what listens there. {_FIREWALL}",
            )
        )
    return found or [ok("Nothing of the server listens for other machines.")]


def _users(ports: list[OpenPort], keys: bool | Unseen) -> Finding:
    where = f"Users of other machines reach {_listed(ports)}"
    if isinstance(keys, Unseen):
        return not_checked(f"{where}; whether there are API keys cannot be seen. {keys}")
    if not keys:
        return wrong(f"{where}, and there is no API key.", _KEY)
    return ok(f"{where}, with an API key.")


def _dashboard(ports: list[OpenPort], facts: ListeningFacts) -> list[Finding]:
    if not ports:
        return []
    guarded = facts.asks_for_token
    if guarded is None:
        guarded = all(each.token for each in ports)
    local = "Start Ray with --dashboard-host=127.0.0.1 and reach it through SSH."
    if guarded:
        said = f"Ray's dashboard and job API are open to other machines ({_listed(ports)})"
        return [warning(f"{said}; they ask for Ray's token, and do not encrypt it.", local)]
    return [
        wrong(
            "Whoever reaches Ray's dashboard runs code on this machine: it is open to others "
            f"({_listed(ports)}) and asks for no token.",
            f"{local} {_TOKEN}",
        )
    ]


def _metrics(ports: list[OpenPort], facts: ListeningFacts) -> list[Finding]:
    if not ports:
        return []
    said = f"Ray's agents answer other machines on {_listed(ports)}, metrics without a question"
    if facts.several_nodes and all(each.token for each in ports):
        return [warning(f"{said}, as nodes need it.", f"{_FIREWALL} Let only the nodes through.")]
    return [wrong(f"{said}.", f"{_FIREWALL} On one machine, start Ray with cluster/ray.env.")]


def _guarded(ports: list[OpenPort], who: str) -> list[Finding]:
    if not ports:
        return []
    bare = [each for each in ports if not each.token]
    if bare:
        danger = "and ask for no token: whoever reaches them runs code here"
        return [wrong(f"{who} listen on {_listed(bare)}, {danger}.", _TOKEN)]
    return [ok(f"{who} listen on {_listed(ports)}, and answer to Ray's token or a key alone.")]


def _listed(ports: list[OpenPort]) -> str:
    """As "classifier 41233, ingress 40000 and 35485"."""
    roles: dict[str, set[int]] = {}
    for each in ports:
        roles.setdefault(each.role, set()).add(each.port)
    return ", ".join(
        f"{role} {' and '.join(map(str, sorted(numbers)))}" for role, numbers in roles.items()
    )


SUBJECT = Subject("Listening", gather, check)
