"""The dashboard of serving: from the requests through the stages to the machines."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard

from cluster.monitoring.board import board
from cluster.monitoring.panels import (
    BAD,
    GOOD,
    WARNING,
    Query,
    graph,
    histogram,
    number,
    rows,
    states,
)

_TOTAL = 'ray_dermserve_phase_seconds_bucket{stage="ingress",phase="total"}'
_DEPLOYMENT_STATUS = {
    "0": "unknown",
    "1": "deploy failed",
    "2": "unhealthy",
    "3": "updating",
    "4": "upscaling",
    "5": "downscaling",
    "6": "healthy",
}


def _quantile(share: float, buckets: str, by: str = "le") -> str:
    return f"histogram_quantile({share}, sum by ({by}) (rate({buckets}[$__rate_interval])))"


def _per_second(counter: str, by: str = "") -> str:
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped} (rate({counter}[$__rate_interval]))"


def serving_board() -> Dashboard:
    """The dashboard."""
    return board(
        "dermserve-serving",
        "DermServe: serving",
        "Predictions: how many, how fast, in which batches, by which replicas and versions.",
        "now-1h",
        {
            "Now": [
                number(
                    "Server",
                    "Whether Prometheus reaches GET /metrics of the server.",
                    Query('min(up{job="dermserve"})'),
                    texts={"0": "down", "1": "up"},
                    steps=((1, GOOD),),
                    below=BAD,
                ),
                number(
                    "Requests",
                    "HTTP requests a second, whatever their answer.",
                    Query("sum(dermserve:http_requests:rate5m)"),
                    unit="reqps",
                ),
                number(
                    "Errors",
                    "Share of requests that end in an error of the server, over five minutes; "
                    "503, 504 and 507 are counted apart.",
                    Query("dermserve:http_errors:ratio5m or vector(0)"),
                    unit="percentunit",
                    steps=((0.001, WARNING), (0.01, BAD)),
                ),
                number(
                    "Slowest of a hundred",
                    "99 of 100 predictions take less, over five minutes.",
                    Query("dermserve:latency_seconds:p99_5m"),
                    unit="s",
                    steps=((0.5, WARNING), (1, BAD)),
                ),
                number(
                    "Version",
                    "Versions of the model that answer; more than one while a rollout goes on.",
                    Query(
                        'count by (version) (ray_dermserve_model_held{role="serving"})',
                        "{{version}}",
                    ),
                    named=True,
                ),
                number(
                    "Waiting",
                    "Images that were admitted and are not answered.",
                    Query('sum(ray_dermserve_waiting_images{stage="ingress"})'),
                ),
                rows(
                    "Alerts",
                    "What is firing now; OPERATIONS.md has a section for each.",
                    Query('ALERTS{alertstate="firing"}'),
                    hidden=("__name__", "alertstate", "Value"),
                    width=24,
                ),
            ],
            "Requests": [
                graph(
                    "Answers",
                    "HTTP answers a second, by status; those that HAProxy gives itself included.",
                    Query(_per_second("ray_serve_num_http_requests_total", "status_code")),
                    unit="reqps",
                    stacked=True,
                ),
                graph(
                    "Latency",
                    "Seconds from the arrival of a prediction's image to its answer.",
                    Query(_quantile(0.5, _TOTAL), "half take less"),
                    Query(_quantile(0.9, _TOTAL), "9 of 10 take less"),
                    Query(_quantile(0.99, _TOTAL), "99 of 100 take less"),
                    unit="s",
                ),
                graph(
                    "Rejections",
                    "Images a second that no model saw: rejected by a full server, expired past "
                    "their deadline, cancelled by a client that left.",
                    Query(
                        _per_second(
                            'ray_dermserve_images_total{outcome!="taken"}', "stage, outcome"
                        ),
                        "{{stage}}: {{outcome}}",
                    ),
                    unit="cps",
                ),
                graph(
                    "Routes",
                    "Requests a second, by route.",
                    Query(_per_second("ray_serve_num_http_requests_total", "method, route")),
                    unit="reqps",
                    width=12,
                ),
                graph(
                    "Errors by kind",
                    "Share of requests answered with an error of the server, with 503 (no room or "
                    "no model) and with 504 (too late), over five minutes.",
                    Query("dermserve:http_errors:ratio5m", "error"),
                    Query("dermserve:http_unavailable:ratio5m", "503"),
                    Query("dermserve:http_late:ratio5m", "504"),
                    unit="percentunit",
                    width=12,
                ),
            ],
            "Stages": [
                graph(
                    "Decode and forward",
                    "Seconds that one batch takes: decoded, and through the network.",
                    Query(
                        _quantile(
                            0.5,
                            'ray_dermserve_phase_seconds_bucket{phase!="total"}',
                            "le, phase",
                        ),
                        "{{phase}}: half take less",
                    ),
                    Query(
                        _quantile(
                            0.99,
                            'ray_dermserve_phase_seconds_bucket{phase!="total"}',
                            "le, phase",
                        ),
                        "{{phase}}: 99 of 100 take less",
                    ),
                    unit="s",
                ),
                graph(
                    "Busy",
                    "Batches under way on average, by phase; at the number of lanes, a stage is "
                    "full.",
                    Query(
                        _per_second(
                            'ray_dermserve_busy_seconds_total{phase!="total"}', "stage, phase"
                        ),
                        "{{stage}}: {{phase}}",
                    ),
                ),
                graph(
                    "Queues",
                    "Images that wait in each stage; of the ingress, those not answered yet.",
                    Query("sum by (stage) (ray_dermserve_waiting_images)"),
                ),
                graph(
                    "Time in the queue",
                    "Mean seconds that an image waits until the next step takes it.",
                    Query(
                        _per_second("ray_dermserve_queue_wait_seconds_total", "stage")
                        + " / "
                        + _per_second('ray_dermserve_images_total{outcome="taken"}', "stage")
                    ),
                    unit="s",
                ),
                graph(
                    "Images",
                    "Images a second that each stage passes on.",
                    Query(_per_second('ray_dermserve_images_total{outcome="taken"}', "stage")),
                    unit="cps",
                ),
                graph(
                    "Mean batch",
                    "Images in a batch, on average.",
                    Query(
                        _per_second('ray_dermserve_images_total{outcome="taken"}', "stage")
                        + " / "
                        + _per_second("ray_dermserve_batches_total", "stage")
                    ),
                ),
                histogram(
                    "Batches of the network",
                    "How many batches of which size the classifier ran.",
                    Query(
                        "sum by (le) (increase("
                        'ray_dermserve_batch_images_bucket{stage="classifier"}[$__rate_interval]))',
                        "{{le}}",
                    ),
                    width=12,
                ),
                histogram(
                    "Batches of the decoder",
                    "How many batches of which size the preprocessor decoded.",
                    Query(
                        "sum by (le) (increase("
                        'ray_dermserve_batch_images_bucket{stage="preprocessor"}[$__rate_interval]))',
                        "{{le}}",
                    ),
                    width=12,
                ),
            ],
            "Replicas and versions": [
                graph(
                    "Replicas",
                    "Healthy replicas of each deployment.",
                    Query("sum by (deployment) (ray_serve_deployment_replica_healthy)"),
                ),
                graph(
                    "Wanted",
                    "Replicas that autoscaling aims at.",
                    Query("max by (deployment) (ray_serve_autoscaling_target_replicas)"),
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
                        "sum by (deployment) "
                        "(increase(ray_serve_deployment_replica_starts_total[5m]))"
                    ),
                ),
            ],
            "Nodes": [
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
                    Query(
                        "min by (ip) (ray_node_disk_free "
                        "/ (ray_node_disk_free + ray_node_disk_usage))"
                    ),
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
            ],
        },
    )
