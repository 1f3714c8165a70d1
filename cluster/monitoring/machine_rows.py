"""The rows of the machinery: replicas with their models, and the nodes that they run on."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Panel

from cluster.monitoring.panels import BAD, GOOD, WARNING, Query, graph, states

_DEPLOYMENT_STATUS = {
    "0": "unknown",
    "1": "deploy failed",
    "2": "unhealthy",
    "3": "updating",
    "4": "upscaling",
    "5": "downscaling",
    "6": "healthy",
}


def replica_panels() -> list[Panel]:
    """Which replicas there are, and which models they hold."""
    return [
        graph(
            "Replicas",
            "Healthy replicas of each deployment.",
            Query("sum by (deployment) (ray_serve_deployment_replica_healthy)"),
        ),
        graph(
            "Wanted",
            "Replicas that the autoscaling policy asks for, before its bounds.",
            Query("max by (deployment) (ray_serve_autoscaling_desired_replicas)"),
        ),
        states(
            "Deployments",
            "What Serve says of each deployment.",
            Query("max by (deployment) (ray_serve_deployment_status)"),
            texts=_DEPLOYMENT_STATUS,
            steps=((3, WARNING), (6, GOOD)),
            below=BAD,
        ),
        graph(
            "Versions",
            "Replicas that hold each version: to answer with it, or warm beside that.",
            Query(
                "count by (version, role) (ray_dermserve_model_held)",
                "{{version}}: {{role}}",
            ),
        ),
        graph(
            "Models not loaded",
            "Replicas that could not load the model of their configuration.",
            Query("sum by (deployment) (ray_dermserve_model_load_failed)"),
        ),
        graph(
            "Starts",
            "Replicas started in five minutes, by deployment; kills, rollouts of code and "
            "autoscaling all start some.",
            Query(
                "count by (deployment) (ray_serve_deployment_replica_starts_total "
                "unless ray_serve_deployment_replica_starts_total offset 5m)"
            ),
        ),
    ]


def node_panels() -> list[Panel]:
    """What the machines have left."""
    return [
        graph(
            "Processors",
            "Share of each node's processors that work.",
            Query("max by (ip) (ray_node_cpu_utilization) / 100"),
            unit="percentunit",
            width=6,
        ),
        graph(
            "Memory",
            "Share of each node's memory that is used.",
            Query("max by (ip) (ray_node_mem_used / ray_node_mem_total)"),
            unit="percentunit",
            limit=0.9,
            width=6,
        ),
        graph(
            "Disk left",
            "Share of each node's disk that is free.",
            Query("min by (ip) (ray_node_disk_free / (ray_node_disk_free + ray_node_disk_usage))"),
            unit="percentunit",
            limit=0.1,
            width=6,
        ),
        graph(
            "Memory of processes",
            "Resident memory, by what the processes are; shared pages count in each.",
            Query("sum by (Component) (ray_component_rss_bytes)"),
            unit="bytes",
            stacked=True,
            width=6,
        ),
    ]
