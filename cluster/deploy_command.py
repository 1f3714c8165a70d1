"""`dermserve deploy`: a Serve configuration put to a running server, and followed until it runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from cluster.addresses import DASHBOARD_URL
from cluster.exit_code import CommandFailed, ExitCode
from cluster.printable import printable, say

if TYPE_CHECKING:
    from cluster.deployment_plan import DeploymentPlan
    from training.promotion.serve_config import ServeConfig

_POLL_S = 0.5


def deploy(
    config: Annotated[Path, typer.Argument(help="Serve configuration.")] = Path(
        "serve_config.yaml"
    ),
    dashboard: Annotated[
        str | None,
        typer.Option(
            envvar="RAY_DASHBOARD_ADDRESS",
            help="Ray's dashboard, which takes the configuration. The token for it is where Ray "
            "looks: RAY_AUTH_TOKEN, or ~/.ray/auth_token.",
            show_default="that of `dermserve up`",
        ),
    ] = None,
    pin: Annotated[
        bool,
        typer.Option("--pin", help="Let a version in the file replace the one that serves."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only check the file, and say what it changes.")
    ] = False,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds until all has to run.")] = 300.0,
) -> None:
    """Apply a Serve configuration to a running server, as `serve deploy` does.

    The file is checked before it is sent. What only numbers change in goes on without a restart.
    The model that serves is left alone: what the trainer has rolled out stays, and a version that
    the file pins is refused without --pin. Exit code 1 if an application fails to start, and 3 if
    nobody listens.

    Example: dermserve deploy configs/cluster.yaml --dry-run
    """
    from cluster.environment import ray_environment

    # Ray reads its environment when it is imported: whether it asks for a token.
    os.environ.update(ray_environment())
    from cluster.deployment_plan import plan_deployment, read_deployment
    from training.promotion.serve_config import ServeConfig

    document = read_deployment(config)
    dashboard = dashboard or _dashboard_here()
    serve = ServeConfig(dashboard)
    before = _details(serve, dashboard)
    plan = plan_deployment(document, before, pin=pin)
    _say_plan(plan)
    if dry_run:
        say("Nothing was sent.")
        return
    serve.write(plan.document)
    _follow(serve, plan, before, timeout)
    say(f"Running: {', '.join(plan.applications)}.", error=False)


def _dashboard_here() -> str:
    """The dashboard of the server that this user has started; else where Ray has it."""
    from cluster.running_server import running_servers

    servers = running_servers()
    return servers[0].record.dashboard_url if len(servers) == 1 else DASHBOARD_URL


def _details(serve: ServeConfig, dashboard: str) -> dict[str, Any]:
    from training.promotion.serve_config import ServeUnreachable

    try:
        return serve.details()
    except ServeUnreachable as error:
        raise CommandFailed(
            f"{error.message} Asked at {dashboard}; --dashboard names another address.",
            ExitCode.NO_SERVER,
        ) from error


def _say_plan(plan: DeploymentPlan) -> None:
    for sentence in plan.notes:
        say(sentence, style="yellow")
    for verb, names in (("Starts", plan.added), ("Ends", plan.removed)):
        if names:
            say(f"{verb} the application {' and '.join(names)}.", style="yellow")


def _follow(
    serve: ServeConfig,
    plan: DeploymentPlan,
    before: dict[str, Any],
    timeout_s: float,
) -> None:
    """Wait until every application has taken the configuration and runs.

    Raises:
        CommandFailed: if one fails to, or the time is over.
    """
    earlier = {
        name: each.get("last_deployed_time_s", 0)
        for name, each in (before.get("applications") or {}).items()
    }
    from training.promotion.serve_config import ServeUnreachable

    deadline, told = time.monotonic() + timeout_s, ""
    console = Console(stderr=True)
    with console.status("Deploying ...") as spinner:
        while True:
            try:
                applications = serve.details().get("applications") or {}
            except ServeUnreachable:  # its controller may be starting again
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL_S)
                continue
            taken = {
                name: applications[name]
                for name in plan.applications
                if name in applications
                and applications[name].get("last_deployed_time_s", 0) > earlier.get(name, 0)
            }
            _require_no_failure(taken)
            gone = not any(name in applications for name in plan.removed)
            if len(taken) == len(plan.applications) and gone and all(map(_runs, taken.values())):
                return
            now = _states(applications)
            if now != told and not console.is_terminal:
                say(now)
            told = now
            spinner.update(printable(f"Deploying: {now or 'waiting for Serve'} ..."))
            if time.monotonic() > deadline:
                raise CommandFailed(
                    f"Not all of it runs after {timeout_s:g} s: {now}. Serve goes on trying; "
                    "`serve status` and its logs in /tmp/ray/session_latest/logs/serve say more."
                )
            time.sleep(_POLL_S)


def _runs(application: dict[str, Any]) -> bool:
    deployments = (application.get("deployments") or {}).values()
    return application["status"] == "RUNNING" and all(
        each["status"] == "HEALTHY" for each in deployments
    )


def _require_no_failure(applications: dict[str, dict[str, Any]]) -> None:
    for name, application in applications.items():
        if application["status"] in ("DEPLOY_FAILED", "UNHEALTHY"):
            raise CommandFailed(
                f"The application {name} did not start ({application['status']}). What served "
                f"before goes on where it could.\n{_reason(application)}"
            )


def _reason(application: dict[str, Any]) -> str:
    """Why it failed: of a traceback, the lines that name the error."""
    said = [str(application.get("message") or "")]
    for name, deployment in (application.get("deployments") or {}).items():
        if deployment["status"] in ("DEPLOY_FAILED", "UNHEALTHY") and deployment.get("message"):
            said.append(f"{name}: {deployment['message']}")
    lines = [line for text in said for line in text.splitlines()]
    return "\n".join(line for line in lines if line.strip() and not line.startswith("  "))


def _states(applications: dict[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"{name} {deployment['status'].lower()}"
        for application in applications.values()
        for name, deployment in (application.get("deployments") or {}).items()
    )
