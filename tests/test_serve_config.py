"""The Serve configurations are valid, complete and in step with the code."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.serve._private.build_app import build_app
from ray.serve.config import AutoscalingConfig, gRPCOptions
from ray.serve.schema import ServeDeploySchema

from cluster.environment import ray_environment
from configs import FOLDER
from models.errors import InvalidConfiguration
from serve_app.app import build
from serve_app.classifier_config import ClassifierConfig
from serve_app.open_inference.servicer import add_procedures_to_server
from serve_app.settings import ServeSettings
from tests.conftest import PROJECT
from training.retraining.app import build as build_trainer
from training.settings import TrainingSettings

DEFAULT = PROJECT / "serve_config.yaml"
CLUSTER = FOLDER / "cluster.yaml"
GPU = FOLDER / "gpu.yaml"

CHAIN = ["ingress", "preprocessor", "classifier"]
SMALLEST_MACHINE_CPUS = 2


@pytest.fixture(params=[DEFAULT, CLUSTER, GPU], ids=lambda path: path.stem)
def document(request: pytest.FixtureRequest) -> Any:
    return yaml.safe_load(request.param.read_text())


def _deployments(document: Any) -> dict[str, Any]:
    application = document["applications"][0]
    assert application["name"] == "dermserve"
    return {deployment["name"]: deployment for deployment in application["deployments"]}


def _blocks(document: Any) -> dict[str, dict[str, Any]]:
    return {name: each["autoscaling_config"] for name, each in _deployments(document).items()}


def _settings(document: Any) -> ServeSettings:
    return ServeSettings.model_validate(document["applications"][0]["args"])


def _replica_cpus(document: Any) -> dict[str, float]:
    """Logical CPUs that Ray sets aside for a replica of each deployment in the code."""
    built = build_app(build(document["applications"][0]["args"]), name="dermserve")
    return {each.name: (each.ray_actor_options or {})["num_cpus"] for each in built.deployments}


def test_its_word_on_logs_reaches_every_replica(document: Any) -> None:
    assert document["logging_config"] == {"encoding": "TEXT", "enable_access_log": False}
    for application, compose in zip(document["applications"], (build, build_trainer), strict=True):
        built = build_app(compose(application["args"]), name=application["name"])
        # What a deployment says itself would hide all of what the file says.
        assert [each._deployment_config.logging_config for each in built.deployments] == [
            None for _ in built.deployments
        ]
        assert "logging_config" not in application
        for deployment in application.get("deployments", ()):
            assert "logging_config" not in deployment


def test_serve_accepts_it(document: Any) -> None:
    # Ray calls the interval by which counts are reported deprecated in favour of environment
    # variables, which this release does not read yet.
    with pytest.warns(DeprecationWarning, match="metrics_interval_s"):
        ServeDeploySchema.model_validate(document)


def test_it_bounds_every_request(document: Any) -> None:
    assert document["http_options"]["request_timeout_s"] > 0


@pytest.mark.parametrize("path", [DEFAULT, GPU], ids=lambda path: path.stem)
def test_on_one_machine_it_listens_on_loopback(path: Any) -> None:
    assert yaml.safe_load(path.read_text())["http_options"]["host"] == "127.0.0.1"


def test_grpc_offers_the_open_inference_protocol(document: Any) -> None:
    options = gRPCOptions.model_validate(document["grpc_options"])
    assert options.grpc_servicer_func_callable == [add_procedures_to_server]
    assert options.request_timeout_s == document["http_options"]["request_timeout_s"]


def test_proxies_take_the_messages_that_replicas_take() -> None:
    largest = int(ray_environment()["RAY_SERVE_GRPC_MAX_MESSAGE_SIZE"])
    assert largest == ServeSettings().max_grpc_bytes


def test_every_deployment_is_named_and_carries_its_autoscaling_block(document: Any) -> None:
    assert list(_deployments(document)) == [*CHAIN, "explainer", "archive"]
    assert _deployments(document).keys() == _replica_cpus(document).keys()
    for deployment in _deployments(document).values():
        assert deployment["autoscaling_config"]["min_replicas"] >= 1
        # These would replace what build() derives from the largest batch or, with the options
        # of the replicas' processes, their environment.
        assert not deployment.keys() & {
            "max_ongoing_requests",
            "max_queued_requests",
            "ray_actor_options",
        }


def test_the_trainer_is_beside_it(document: Any) -> None:
    trainer = document["applications"][1]
    assert trainer["route_prefix"] is None
    built = build_app(build_trainer(trainer["args"]), name=trainer["name"])
    assert [each.name for each in built.deployments] == ["trainer"]


def test_the_autoscaling_target_follows_from_the_largest_batch(document: Any) -> None:
    settings = _settings(document)
    targets = {name: block["target_ongoing_requests"] for name, block in _blocks(document).items()}
    assert targets == {
        "ingress": settings.ingress_target,
        "preprocessor": settings.stage_target,
        "classifier": settings.stage_target,
        "explainer": settings.stage_target,
        "archive": settings.stage_target,
    }


def test_the_target_can_be_reached(document: Any) -> None:
    settings = _settings(document)
    # By the requests that Serve lets in, and by the batches that one replica keeps in flight.
    assert settings.ingress_target < settings.ingress_ongoing_requests
    assert settings.stage_target < min(settings.stage_ongoing_requests, settings.hop_lanes)


def test_every_replica_of_a_stage_finds_a_lane_to_it(document: Any) -> None:
    blocks, lanes = _blocks(document), _settings(document).hop_lanes
    assert max(blocks[stage]["max_replicas"] for stage in ("preprocessor", "classifier")) <= lanes


def test_it_scales_as_the_autoscaling_tests_say(document: Any) -> None:
    """Those take the classifier's block of one file; in pace, all are alike."""
    counts = {"min_replicas", "max_replicas", "target_ongoing_requests"}
    (expected, *_) = _blocks(yaml.safe_load(CLUSTER.read_text())).values()
    for block in _blocks(document).values():
        assert block.keys() == expected.keys()
        assert block.keys() <= AutoscalingConfig.model_fields.keys()
        for name in block.keys() - counts:
            assert block[name] == expected[name]


def test_the_smallest_machine_holds_it_and_a_retraining(document: Any) -> None:
    recipe = yaml.safe_load((FOLDER / "training.yaml").read_text())
    workers = TrainingSettings.model_validate(recipe).retrain
    blocks = _blocks(document)
    cpus = sum(
        blocks[name]["min_replicas"] * cpus for name, cpus in _replica_cpus(document).items()
    )
    cpus += workers.workers * workers.resources_per_worker["CPU"]
    assert cpus <= SMALLEST_MACHINE_CPUS


def test_in_a_cluster_each_classifier_has_two_cores_to_itself() -> None:
    document = yaml.safe_load(CLUSTER.read_text())
    assert _settings(document).threads == SMALLEST_MACHINE_CPUS
    assert 2 * _replica_cpus(document)["classifier"] > SMALLEST_MACHINE_CPUS


def test_in_a_cluster_proxies_reach_the_replicas_of_other_machines() -> None:
    assert yaml.safe_load(CLUSTER.read_text())["http_options"]["host"] == "0.0.0.0"


def test_a_classifier_that_has_the_only_gpu_can_be_replaced() -> None:
    document = yaml.safe_load(GPU.read_text())
    assert _settings(document).classifier_gpus == 1
    assert _deployments(document)["classifier"]["max_surge_percent"] == 0


def test_our_deadline_comes_before_serve_hangs_up(document: Any) -> None:
    assert _settings(document).deadline_s < document["http_options"]["request_timeout_s"]


def test_the_classifier_serves_the_champion(document: Any) -> None:
    config = ClassifierConfig.model_validate(_deployments(document)["classifier"]["user_config"])
    assert config.model == "champion"


def test_the_explainer_explains_the_classifiers_model(document: Any) -> None:
    deployments = _deployments(document)
    assert deployments["explainer"]["user_config"] == deployments["classifier"]["user_config"]


@pytest.mark.parametrize(
    ("args", "named"),
    [
        ({"max_batch_size": 0}, "max_batch_size"),
        ({"engine": "tensorrt"}, "engine"),
        ({"batch": 8}, "batch"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(args: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidConfiguration, match=named):
        build(args)
