"""The dashboard of serving: from the requests through the stages to the machines."""

from __future__ import annotations

from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from cluster.monitoring.board import board
from cluster.monitoring.machine_rows import node_panels, replica_panels
from cluster.monitoring.panels import BAD, GOOD, WARNING, Query, graph, histogram, number, rows
from cluster.monitoring.promql import per_second, quantile

_TOTAL = 'ray_dermserve_phase_seconds_bucket{stage="ingress",phase="total"}'
_OF_BATCHES = 'ray_dermserve_phase_seconds_bucket{phase!="total"}'


def serving_board() -> Dashboard:
    """The dashboard."""
    return board(
        "dermserve-serving",
        "DermServe: serving",
        "Predictions: how many, how fast, in which batches, by which replicas and versions.",
        "now-1h",
        {
            "Now": _now(),
            "Requests": _requests(),
            "Stages": _stages(),
            "Replicas and versions": replica_panels(),
            "Nodes": node_panels(),
        },
    )


def _now() -> list[Panel]:
    """What a glance is for."""
    return [
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
            Query("dermserve:http_errors:ratio5m"),
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
    ]


def _requests() -> list[Panel]:
    """What comes and what is answered."""
    return [
        graph(
            "Answers",
            "HTTP answers a second, by status; those that HAProxy gives itself included.",
            Query(per_second("ray_serve_num_http_requests_total", "status_code")),
            unit="reqps",
            stacked=True,
        ),
        graph(
            "Latency",
            "Seconds from the arrival of a prediction's image to its answer.",
            Query(quantile(0.5, _TOTAL), "half take less"),
            Query(quantile(0.9, _TOTAL), "9 of 10 take less"),
            Query(quantile(0.99, _TOTAL), "99 of 100 take less"),
            unit="s",
        ),
        graph(
            "Rejections",
            "Images a second that no model saw: rejected by a full server, expired past "
            "their deadline, cancelled by a client that left.",
            Query(
                per_second('ray_dermserve_images_total{outcome!="taken"}', "stage, outcome"),
                "{{stage}}: {{outcome}}",
            ),
            unit="cps",
        ),
        graph(
            "Routes",
            "Requests a second, by route. Each deployment on a request's way counts it or its "
            "batch; the first of them, which this shows, counts most.",
            Query(
                "max by (route) ("
                + per_second(
                    'ray_serve_deployment_request_counter_total{route=~"/.*"}',
                    "deployment, route",
                )
                + ")"
            ),
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
    ]


def _stages() -> list[Panel]:
    """How images pass through the stages, and in which batches."""
    return [
        graph(
            "Decode and forward",
            "Seconds that one batch takes: decoded, and through the network.",
            Query(
                quantile(
                    0.5,
                    _OF_BATCHES,
                    "le, phase",
                ),
                "{{phase}}: half take less",
            ),
            Query(
                quantile(
                    0.99,
                    _OF_BATCHES,
                    "le, phase",
                ),
                "{{phase}}: 99 of 100 take less",
            ),
            unit="s",
        ),
        graph(
            "Busy",
            "Batches under way on average, by phase; at the number of lanes, a stage is full.",
            Query(
                per_second('ray_dermserve_busy_seconds_total{phase!="total"}', "stage, phase"),
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
                per_second("ray_dermserve_queue_wait_seconds_total", "stage")
                + " / "
                + per_second('ray_dermserve_images_total{outcome="taken"}', "stage")
            ),
            unit="s",
        ),
        graph(
            "Images",
            "Images a second that each stage passes on.",
            Query(per_second('ray_dermserve_images_total{outcome="taken"}', "stage")),
            unit="cps",
        ),
        graph(
            "Mean batch",
            "Images in a batch, on average.",
            Query(
                per_second('ray_dermserve_images_total{outcome="taken"}', "stage")
                + " / "
                + per_second("ray_dermserve_batches_total", "stage")
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
    ]
