"""The manifests for Kubernetes: valid by their schemas, and in step with the configuration."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from dotenv import dotenv_values

from cluster.edge import DEFAULT_MAX_REQUESTS, MAX_REQUESTS_VARIABLE
from cluster.environment import ENVIRONMENT_FILE, SEVERAL_MACHINES
from serve_app.settings import ServeSettings
from tests.conftest import PROJECT

FOLDER = PROJECT / "cluster" / "kuberay"
CRD = PROJECT.parent / "shared" / "schemas" / "ray.io_rayservices.yaml"
KUBERNETES = "1.31"
FROM_OPERATORS = {"ServiceMonitor", "PodMonitor"}
"""Kinds of the Prometheus operator, whose schemas no package brings."""

CLUSTER = PROJECT / "configs" / "cluster.yaml"


def _kustomization() -> Any:
    return yaml.safe_load((FOLDER / "kustomization.yaml").read_text())


def _documents() -> Iterator[Any]:
    for name in _kustomization()["resources"]:
        yield from yaml.safe_load_all((FOLDER / name).read_text())


DOCUMENTS = {f"{each['kind']}/{each['metadata']['name']}": each for each in _documents()}


@pytest.fixture
def service() -> Any:
    """The RayService, without anchors: each part is its own."""
    return copy.deepcopy(yaml.safe_load(yaml.dump(DOCUMENTS["RayService/dermserve"], Dumper=_Flat)))


class _Flat(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@pytest.fixture
def cluster(service: Any) -> Any:
    return service["spec"]["rayClusterConfig"]


def _groups(cluster: Any) -> dict[str, Any]:
    return {"head": cluster["headGroupSpec"]} | {
        group["groupName"]: group for group in cluster["workerGroupSpecs"]
    }


def _pods(cluster: Any) -> dict[str, Any]:
    return {name: group["template"] for name, group in _groups(cluster).items()}


@pytest.fixture(scope="module")
def ray_schema() -> Any:
    """KubeRay's schema of a RayService, closed: a name that it does not know is an error."""
    if not CRD.exists():
        pytest.skip("KubeRay's schema is not beside the project")
    document = yaml.safe_load(CRD.read_text())
    (schema,) = [
        each["schema"]["openAPIV3Schema"]
        for each in document["spec"]["versions"]
        if each["name"] == "v1"
    ]
    return _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(each) for name, each in schema.items()}
    open_ = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("type") == "object" and "properties" in schema and not open_:
        closed["additionalProperties"] = False
    return closed


def test_every_file_is_part_of_it() -> None:
    files = {path.name for path in FOLDER.glob("*.yaml")}
    assert files == {"kustomization.yaml", "kustomizeconfig.yaml", *_kustomization()["resources"]}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_it_is_valid_by_the_schema_of_kubernetes(name: str) -> None:
    document = DOCUMENTS[name]
    if document["kind"] == "RayService":
        pytest.skip("it has a schema of its own")
    if document["kind"] in FROM_OPERATORS:
        with pytest.raises(kubernetes_validate.SchemaNotFoundError):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
        pytest.skip("no package brings the schema of the Prometheus operator")
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_a_wrong_manifest_is_not() -> None:
    document = copy.deepcopy(DOCUMENTS["Service/dermserve"])
    document["spec"]["prots"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="prots"):
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def test_the_ray_service_is_valid_by_kuberays_schema(service: Any, ray_schema: Any) -> None:
    jsonschema.validate(service, ray_schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda c: c.update(rayVerison="2"), "rayVerison"),
        (lambda c: c["authOptions"].update(mode="perhaps"), "perhaps"),
        (lambda c: c["workerGroupSpecs"][0].update(minReplicas="one"), "one"),
        (lambda c: c["headGroupSpec"]["template"]["spec"]["containers"][0].pop("name"), "name"),
    ],
)
def test_a_wrong_ray_service_is_not(
    service: Any, cluster: Any, ray_schema: Any, change: Callable[[Any], None], named: str
) -> None:
    change(cluster)
    with pytest.raises(jsonschema.ValidationError, match=named):
        jsonschema.validate(service, ray_schema, jsonschema.Draft202012Validator)


def test_pods_are_valid_by_the_schema_of_kubernetes(cluster: Any) -> None:
    for template in _pods(cluster).values():
        pod = {"apiVersion": "v1", "kind": "Pod", **template}
        pod["metadata"] = {"name": "node", **template["metadata"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_kubectl_puts_them_together() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    result = subprocess.run([kubectl, "kustomize", FOLDER], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    built = list(yaml.safe_load_all(result.stdout))
    assert {each["metadata"]["name"] for each in built} == {
        each["metadata"]["name"] for each in DOCUMENTS.values()
    }
    assert {each["metadata"].get("namespace", "dermserve") for each in built} == {"dermserve"}
    (service,) = [each for each in built if each["kind"] == "RayService"]
    pods = _pods(service["spec"]["rayClusterConfig"])
    images = {name: pod["spec"]["containers"][0]["image"] for name, pod in pods.items()}
    assert images == {"head": "dermserve:cpu", "cpu": "dermserve:cpu", "gpu": "dermserve:gpu"}


def test_it_serves_the_configuration_for_several_machines(service: Any) -> None:
    ours = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert ours == yaml.safe_load(CLUSTER.read_text())


def test_that_is_the_default_one_but_for_addresses_and_numbers() -> None:
    """`serve_config.yaml` listens on 127.0.0.1, where no other pod would reach it."""
    ours, default = (
        yaml.safe_load(path.read_text()) for path in (CLUSTER, PROJECT / "serve_config.yaml")
    )
    assert ours["http_options"].pop("host") == "0.0.0.0"
    default["http_options"].pop("host")
    for document in (ours, default):
        args = document["applications"][0]["args"]
        for name in ("threads", "classifier_cpus"):
            args.pop(name, None)
        for deployment in document["applications"][0]["deployments"]:
            # A block of its own: anchors make one object of several.
            scaling = deployment["autoscaling_config"]
            deployment["autoscaling_config"] = scaling | {"max_replicas": ...}
    assert ours == default


def test_the_environment_is_that_of_every_ray_process() -> None:
    ours = dict(DOCUMENTS["ConfigMap/dermserve-ray-env"]["data"])
    assert ours.pop("RAY_SERVE_HAPROXY_BINARY_PATH") == "/opt/dermserve/bin/dermserve-haproxy"
    assert ours.pop(MAX_REQUESTS_VARIABLE) == str(DEFAULT_MAX_REQUESTS)
    assert ours.pop("HOME") == "/home/dermserve"
    expected = dotenv_values(ENVIRONMENT_FILE)
    assert expected.pop("RAY_AUTH_MODE") == "token"  # KubeRay sets it, with the token
    assert ours == expected | SEVERAL_MACHINES
    assert ServeSettings().max_waiting == DEFAULT_MAX_REQUESTS


def test_it_asks_for_the_token(cluster: Any) -> None:
    assert cluster["authOptions"] == {"mode": "token", "secretName": "dermserve-ray"}


def test_the_release_of_ray_is_the_one_that_is_installed(cluster: Any) -> None:
    assert cluster["rayVersion"] == version("ray")


def test_the_head_takes_no_replica(cluster: Any) -> None:
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"


def test_workers_come_and_go(cluster: Any) -> None:
    assert cluster["enableInTreeAutoscaling"] is True
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    assert groups.keys() == {"cpu", "gpu"}
    for group in groups.values():
        assert group["minReplicas"] == group["replicas"] < group["maxReplicas"]
    (container,) = groups["gpu"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_every_node_has_probes_that_the_image_can_run(cluster: Any) -> None:
    for pod in _pods(cluster).values():
        (container,) = pod["spec"]["containers"]
        for probe in ("readinessProbe", "livenessProbe", "startupProbe"):
            command = container[probe]["exec"]["command"]
            assert command[:2] == ["python", "/usr/local/lib/dermserve/health.py"]
            assert len(command) > 2
            assert container[probe]["timeoutSeconds"] > 8  # health.py's own


def test_pods_are_shut_in(cluster: Any) -> None:
    specs = [pod["spec"] for pod in _pods(cluster).values()]
    specs.append(DOCUMENTS["Deployment/dermserve-mlflow"]["spec"]["template"]["spec"])
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounted >= {"/tmp", "/home/dermserve", "/srv/dermserve/var"}
            assert "/srv/dermserve/shared" in mounted


def test_what_pods_name_is_there(cluster: Any) -> None:
    text = yaml.dump_all([*_pods(cluster).values(), *DOCUMENTS.values()], Dumper=_Flat)
    claims = set(re.findall(r"claimName: (\S+)", text))
    assert claims == {
        name.partition("/")[2] for name in DOCUMENTS if name.startswith("PersistentVolumeClaim/")
    }
    for pod in _pods(cluster).values():
        for source in pod["spec"]["containers"][0]["envFrom"]:
            assert f"ConfigMap/{source['configMapRef']['name']}" in DOCUMENTS


def test_selectors_find_what_they_are_for(cluster: Any) -> None:
    """KubeRay adds `ray.io/node-type` and, to what serves, `ray.io/serve`."""
    by_kuberay = {
        "head": {"ray.io/node-type": "head", "ray.io/serve": "true"},
        "cpu": {"ray.io/node-type": "worker", "ray.io/serve": "true"},
        "gpu": {"ray.io/node-type": "worker", "ray.io/serve": "true"},
    }
    labels = {
        name: pod["metadata"]["labels"] | by_kuberay[name] for name, pod in _pods(cluster).items()
    }
    registry = DOCUMENTS["Deployment/dermserve-mlflow"]["spec"]["template"]["metadata"]["labels"]
    labels["registry"] = registry

    def found(selector: dict[str, str]) -> set[str]:
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    def selected(name: str) -> set[str]:
        spec = DOCUMENTS[name]["spec"]
        selector = spec.get("selector") or spec["podSelector"]
        return found(selector.get("matchLabels", selector))

    nodes = {"head", "cpu", "gpu"}
    assert selected("Service/dermserve") == nodes
    assert selected("Service/dermserve-metrics") == {"head"}
    assert selected("Service/dermserve-mlflow") == {"registry"}
    assert selected("PodDisruptionBudget/dermserve-head") == {"head"}
    assert selected("PodDisruptionBudget/dermserve-workers") == {"cpu", "gpu"}
    assert selected("NetworkPolicy/dermserve-nodes") == nodes
    assert selected("NetworkPolicy/dermserve-registry") == {"registry"}
    assert selected("PodMonitor/dermserve-nodes") == nodes


def test_the_monitor_finds_its_service() -> None:
    monitor, service = DOCUMENTS["ServiceMonitor/dermserve"], DOCUMENTS["Service/dermserve-metrics"]
    selector = monitor["spec"]["selector"]["matchLabels"]
    assert selector.items() <= service["metadata"]["labels"].items()
    others = [each for name, each in DOCUMENTS.items() if name.startswith("Service/")]
    others.remove(service)
    assert not any(
        selector.items() <= each["metadata"].get("labels", {}).items() for each in others
    )
    assert monitor["spec"]["endpoints"][0]["port"] in {
        port["name"] for port in service["spec"]["ports"]
    }


def test_the_registry_and_what_it_needs_can_be_applied_first() -> None:
    """There the keys are made, without which no replica starts."""
    chosen = {
        name
        for name, each in DOCUMENTS.items()
        if each["metadata"].get("labels", {}).get("app.kubernetes.io/component") == "registry"
    }
    assert chosen == {
        "ConfigMap/dermserve-places",
        "PersistentVolumeClaim/dermserve-models",
        "Deployment/dermserve-mlflow",
        "Service/dermserve-mlflow",
    }
    text = yaml.dump(DOCUMENTS["Deployment/dermserve-mlflow"], Dumper=_Flat)
    assert set(re.findall(r"(?:claimName|configMapRef:\n *name): (\S+)", text)) == {
        "dermserve-models",
        "dermserve-places",
    }


def test_only_nodes_reach_rays_ports() -> None:
    rules = DOCUMENTS["NetworkPolicy/dermserve-nodes"]["spec"]["ingress"]
    (unlimited,) = [rule for rule in rules if "ports" not in rule]
    (source,) = unlimited["from"]
    assert source["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "node"
    assert "namespaceSelector" not in source
    for rule in rules:
        ports = {port["port"] for port in rule.get("ports", [])}
        assert 6379 not in ports
        if {8265, 52365} & ports:
            (source,) = rule["from"]
            operator = source["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            assert operator == "kuberay-operator"


def test_no_secret_stands_in_them() -> None:
    assert not any(name.startswith("Secret/") for name in DOCUMENTS)
    text = "".join(path.read_text() for path in Path(FOLDER).glob("*.yaml"))
    assert not re.search(r"://\w+:\w+@", text)
