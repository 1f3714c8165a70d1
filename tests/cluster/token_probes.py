"""A program that a test runs: asks the services of a small Ray for something.

It prints one JSON object: what was asked, and the answers without a token, with a wrong one and
with the right one.
"""

from __future__ import annotations

import json
import os
from typing import Any

import grpc
import httpx
import psutil
import ray
from ray import serve

HTTP = "HTTP "


@serve.deployment
class Nothing:
    def __call__(self) -> None:
        pass


def over_grpc(address: str, method: str, metadata: tuple[tuple[str, str], ...]) -> str:
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(method)(b"", timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def over_http(method: str, url: str, headers: dict[str, str]) -> str:
    return HTTP + str(httpx.request(method, url, headers=headers, timeout=10).status_code)


def ports_of(name: str) -> list[int]:
    """What the processes of a name listen on; Ray changes their titles while they work."""
    processes = psutil.Process().children(recursive=True)
    return [
        connection.laddr.port
        for process in processes
        if name in " ".join(process.cmdline())
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]


def main() -> None:
    context = ray.init(address="local", num_cpus=1, include_dashboard=True, log_to_driver=False)
    serve.start(proxy_location="Disabled")
    serve.run(Nothing.bind(), route_prefix=None)
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    raylet = f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
    objects = f"{node['NodeManagerAddress']}:{node['ObjectManagerPort']}"
    gcs = ray.get_runtime_context().gcs_address
    dashboard = f"http://{context.dashboard_url}"
    asked: list[tuple[Any, ...]] = [
        (over_grpc, gcs, "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo"),
        (over_grpc, gcs, "/ray.rpc.InternalKVGcsService/InternalKVKeys"),
        (over_grpc, gcs, "/ray.rpc.JobInfoGcsService/GetAllJobInfo"),
        (over_grpc, raylet, "/ray.rpc.NodeManagerService/GetNodeStats"),
        (over_grpc, objects, "/ray.rpc.ObjectManagerService/Pull"),
        (over_http, "GET", f"{dashboard}/api/version"),
        (over_http, "GET", f"{dashboard}/api/jobs/"),
        (over_http, "POST", f"{dashboard}/api/jobs/"),
        (over_http, "GET", f"{dashboard}/api/serve/applications/"),
    ]
    for port in ports_of("ray::ServeReplica"):
        for method in (
            "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
            "/ray.serve.ASGIService/HandleRequest",
        ):
            asked.append((over_grpc, f"127.0.0.1:{port}", method))
    for port in ports_of("ray::RuntimeEnvAgent"):
        url = f"http://127.0.0.1:{port}/get_or_create_runtime_env"
        asked.append((over_http, "POST", url))
    for port in ports_of("ray::DashboardAgent"):
        asked.append((over_grpc, f"127.0.0.1:{port}", "/ray.rpc.ReporterService/GetTraceback"))
    with open(os.environ["RAY_AUTH_TOKEN_PATH"]) as file:
        token = file.read().strip()
    answers: dict[str, list[str]] = {}
    for ask, first, second in asked:
        said = []
        for value in (None, "Bearer wrong", f"Bearer {token}"):
            headers = {} if value is None else {"authorization": value}
            credentials: Any = tuple(headers.items()) if ask is over_grpc else headers
            said.append(ask(first, second, credentials))
        answers[f"{first} {second}"] = said
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
