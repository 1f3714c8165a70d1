"""Flags of Ray and of ours: whether all processes of the server were started with the same."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dotenv import dotenv_values

from cluster.doctor.finding import Finding, ok, warning, wrong
from cluster.doctor.processes import ServerProcess
from cluster.doctor.subject import Subject
from cluster.doctor.surroundings import Surroundings
from cluster.doctor.unseen import Unseen, seen
from cluster.environment import ENVIRONMENT_FILE
from cluster.places import FINDERS
from models.errors import InvalidConfiguration

_SERVES = frozenset({"controller", "proxy", "haproxy manager", "raylet", "gcs"})
_PREFIXES = ("RAY_SERVE_", "DERMSERVE_")
_OTHERS = frozenset(
    {
        "RAY_AUTH_MODE",
        "RAY_AUTH_TOKEN_PATH",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
        "RAY_REDIS_ADDRESS",
        "RAY_TRAIN_ENABLE_STATE_TRACKING",
        "RAY_USAGE_STATS_ENABLED",
        "RAY_memory_usage_threshold",
        "RAY_worker_niceness",
        "MLFLOW_TRACKING_URI",
    }
)
_OF_THE_MACHINE = "RAY_SERVE_ENABLE_HA_PROXY"  # off where HAProxy does not run; see haproxy.py


@dataclass(frozen=True)
class ProcessFlags:
    """Flags of one process."""

    pid: int
    role: str
    flags: Mapping[str, str]
    overrides: Mapping[str, str]
    """What the deployment sets for its replicas on purpose."""


@dataclass(frozen=True)
class FlagFacts:
    """Flags of all."""

    processes: tuple[ProcessFlags, ...]
    recommended: Mapping[str, str]
    """Of `cluster/ray.env`."""
    elsewhere: tuple[str, ...] = ()
    """Variables of places by which commands in this shell reach others than the server."""


def gather(surroundings: Surroundings) -> FlagFacts:
    """From /proc, through psutil."""
    try:
        deployments = surroundings.application["deployments"]
    except Unseen as reason:
        raise Unseen(
            f"Which flags replicas are given on purpose is not known. {reason}"
        ) from reason
    overrides = {name: _overrides(each["deployment_config"]) for name, each in deployments.items()}
    return FlagFacts(
        processes=flags_of(seen(surroundings.processes), overrides),
        recommended={k: v or "" for k, v in dotenv_values(ENVIRONMENT_FILE).items()},
        elsewhere=_elsewhere(surroundings),
    )


def flags_of(
    processes: Iterable[ServerProcess], overrides: Mapping[str, Mapping[str, str]]
) -> tuple[ProcessFlags, ...]:
    """The flags of the processes that serve; idle workers and agents do not."""
    return tuple(
        ProcessFlags(
            each.pid,
            each.role,
            {k: v for k, v in each.environment.items() if _is_flag(k)},
            overrides.get(each.role, {}) if each.is_replica else {},
        )
        for each in processes
        if each.is_replica or each.role in _SERVES
    )


def check(facts: FlagFacts) -> list[Finding]:
    """Hold the processes against each other, ray.env and this shell."""
    found = [*_stale(facts.processes), *_differing(facts.processes)]
    if not found:
        found.append(ok(f"All {len(facts.processes)} processes have the same flags."))
    if facts.elsewhere:
        found.append(
            warning(
                f"{', '.join(facts.elsewhere)} of this shell and of the server differ, so commands "
                "such as `dermserve keys` and `dermserve models` do not reach what it uses.",
                "Set in this shell what the server has.",
            )
        )
    return [*found, *_unusual(facts)]


def _stale(processes: tuple[ProcessFlags, ...]) -> list[Finding]:
    """Replicas that lack what their deployment sets."""
    return [
        wrong(
            f"Process {each.pid} ({each.role}) has {name}={_shown(each.flags.get(name))}, and its "
            f"deployment sets {_shown(value)}.",
            "Restart the application: `serve shutdown`, then `serve deploy`.",
        )
        for each in processes
        for name, value in each.overrides.items()
        if _is_flag(name) and each.flags.get(name) != value
    ]


def _differing(processes: tuple[ProcessFlags, ...]) -> list[Finding]:
    names = sorted({name for each in processes for name in each.flags})
    found = []
    for name in names:
        values: dict[str | None, list[str]] = {}
        for each in processes:
            if name not in each.overrides:
                values.setdefault(each.flags.get(name), []).append(each.role)
        if len(values) > 1:
            said = "; ".join(
                f"{_shown(value)} in {', '.join(sorted(set(roles)))}"
                for value, roles in values.items()
            )
            found.append(
                wrong(
                    f"{name} differs: {said}.",
                    "Stop Ray on all nodes, set the same environment, and start it again.",
                )
            )
    return found


def _unusual(facts: FlagFacts) -> list[Finding]:
    """What differs from ray.env in all processes alike; somebody may want it so."""
    names = facts.recommended.keys() - {_OF_THE_MACHINE}
    differ = {
        f"{name}={_shown(value)}"
        for name in names
        for each in facts.processes
        if name not in each.overrides and (value := each.flags.get(name)) != facts.recommended[name]
    }
    if not differ:
        return []
    return [
        warning(
            f"Other than cluster/ray.env says: {', '.join(sorted(differ))}.",
            "Start Ray with cluster/ray.env, unless this is meant.",
        )
    ]


def _elsewhere(surroundings: Surroundings) -> tuple[str, ...]:
    here = _places()
    with surroundings.in_place():
        there = _places()
    return tuple(name for name in here if here[name] != there[name])


def _places() -> dict[str, str]:
    """Where things are kept, by this process's environment."""
    found = {}
    for name, find in FINDERS.items():
        try:
            found[name] = find()
        except InvalidConfiguration as error:
            found[name] = error.message
    return found


def _is_flag(name: str) -> bool:
    return name.startswith(_PREFIXES) or name in _OTHERS


def _overrides(deployment: Mapping[str, object]) -> Mapping[str, str]:
    options = deployment.get("ray_actor_options") or {}
    environment = options.get("runtime_env") or {} if isinstance(options, dict) else {}
    variables: Mapping[str, str] = environment.get("env_vars") or {}
    return variables


def _shown(value: str | None) -> str:
    """A value without a password."""
    return "(not set)" if value is None else re.sub(r"//[^/@]*@", "//***@", value)


SUBJECT = Subject("Flags", gather, check)
