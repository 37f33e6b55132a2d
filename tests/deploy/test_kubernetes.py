"""The Kustomize base and its example overlay: they build, and Headrace takes what they set."""

from __future__ import annotations

import base64
from functools import cache
from typing import Any, Final

import pytest
import yaml

from headrace.runtime.main import COMMANDS
from headrace.runtime.settings import read_settings
from tests.deploy.tools import DEPLOY, demand_success, kustomize, run

FOLDER: Final = DEPLOY / "kubernetes"
Manifest = dict[str, Any]
WORKLOADS: Final = {
    "headrace-migrate": "migrate",
    "headrace-collector": "collector",
    "headrace-processor": "processor",
}


@cache
def built(folder: str) -> tuple[Manifest, ...]:
    """What would be applied."""
    said = demand_success(run([*kustomize(), folder], cwd=FOLDER))
    return tuple(yaml.safe_load_all(said))


def example() -> tuple[Manifest, ...]:
    return built("overlays/example")


def one(kind: str, name: str) -> Manifest:
    """The manifest of that kind and name in the example."""
    return next(
        each for each in example() if each["kind"] == kind and each["metadata"]["name"] == name
    )


def pod(name: str) -> Manifest:
    """The pod of a workload."""
    found = next(
        each
        for each in example()
        if each["kind"] in {"Deployment", "Job"} and each["metadata"]["name"] == name
    )
    return dict(found["spec"]["template"]["spec"])


def environment(name: str) -> dict[str, str]:
    """What the process of a workload finds in its environment."""
    container = pod(name)["containers"][0]
    found: dict[str, str] = {}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            found |= one("ConfigMap", source["configMapRef"]["name"])["data"]
        else:
            data = one("Secret", source["secretRef"]["name"])["data"]
            found |= {key: base64.b64decode(value).decode() for key, value in data.items()}
    return found | {each["name"]: each["value"] for each in container.get("env", [])}


@pytest.mark.parametrize("folder", ["base", "overlays/example"])
def test_kustomize_builds_it(folder: str) -> None:
    """Every file is found, every patch meets something."""
    kinds = {each["kind"] for each in built(folder)}
    assert {"Deployment", "Job", "Service", "PodDisruptionBudget", "NetworkPolicy"} <= kinds
    assert "HorizontalPodAutoscaler" in kinds


@pytest.mark.parametrize("name", WORKLOADS)
def test_headrace_takes_the_settings(name: str) -> None:
    """Every variable exists, can be read, and all four services are set."""
    settings = read_settings(environment(name))
    assert settings.kafka
    assert settings.clickhouse is not None
    assert settings.redis
    assert settings.database


@pytest.mark.parametrize("name", WORKLOADS)
def test_kubernetes_adds_no_variables_of_its_own(name: str) -> None:
    """A service named headrace-… would set HEADRACE_…_SERVICE_HOST, which Headrace refuses."""
    assert pod(name)["enableServiceLinks"] is False


@pytest.mark.parametrize(("name", "command"), WORKLOADS.items())
def test_pods_run_commands_that_exist(name: str, command: str) -> None:
    """`headrace migrate`, `headrace collector`, `headrace processor`."""
    assert pod(name)["containers"][0]["args"][0] == command
    assert command in {each[0] for each in COMMANDS}


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_keep_the_restricted_standard(name: str) -> None:
    """Not root, nothing to gain, a root file system that is read only, and a HOME to write to."""
    found = pod(name)
    container = found["containers"][0]
    assert found["securityContext"]["runAsNonRoot"] is True
    assert found["securityContext"]["runAsUser"] == 10001
    assert found["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {"/var/lib/headrace", "/tmp"} <= mounted
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(
    ("name", "variable", "grace_seconds"),
    [
        ("headrace-collector", "HEADRACE_LISTEN", 20),
        ("headrace-processor", "HEADRACE_PROCESSOR_LISTEN", 10),
    ],
)
def test_probes_ask_where_the_process_listens(name: str, variable: str, grace_seconds: int) -> None:
    """Restarted when it hangs, left out when it is not ready, given time to end."""
    found = pod(name)
    container = found["containers"][0]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    port = container["ports"][0]["containerPort"]
    assert environment(name)[variable] == f"0.0.0.0:{port}"
    assert found["terminationGracePeriodSeconds"] > grace_seconds


@pytest.mark.parametrize("name", ["headrace-collector", "headrace-processor"])
def test_services_and_budgets_mean_the_pods(name: str) -> None:
    """Their selectors are part of the pods' labels."""
    labels = one("Deployment", name)["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one("Service", name)["spec"]["selector"],
        one("PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
        one("Deployment", name)["spec"]["selector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector.items() <= labels.items()
    assert one("PodDisruptionBudget", name)["spec"]["maxUnavailable"] == 1


def test_processors_follow_the_lag_of_the_group_that_they_are() -> None:
    """As many as there are partitions at most; nobody else sets their number."""
    settings = read_settings(environment("headrace-processor"))
    scaled = one("ScaledObject", "headrace-processor")["spec"]
    asked = scaled["triggers"][0]["metadata"]
    assert asked["consumerGroup"] == settings.kafka_group
    assert asked["topic"] == settings.kafka_topic
    assert scaled["maxReplicaCount"] == settings.kafka_partitions
    assert scaled["minReplicaCount"] >= 2
    assert "replicas" not in one("Deployment", "headrace-processor")["spec"]


def test_collectors_follow_their_cpu() -> None:
    """At least two; the deployment itself names no number that would fight with it."""
    scaler = one("HorizontalPodAutoscaler", "headrace-collector")["spec"]
    assert scaler["scaleTargetRef"]["name"] == "headrace-collector"
    assert scaler["minReplicas"] >= 2
    assert "replicas" not in one("Deployment", "headrace-collector")["spec"]


def test_policies_let_in_what_listens_and_out_what_is_used() -> None:
    """Ports in the policies are those of the pods and of the services that are set."""
    inward = {
        port["port"]
        for each in example()
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"]["ingress"]
        for port in rule["ports"]
    }
    outward = {
        port["port"]
        for rule in one("NetworkPolicy", "headrace")["spec"]["egress"]
        for port in rule["ports"]
    }
    assert inward == {8080, 9090}
    settings = read_settings(environment("headrace-processor"))
    assert {broker.port for broker in settings.kafka} <= outward
    assert {53, 8443, 6379, 5432} <= outward


def test_no_secret_is_in_the_repository() -> None:
    """The example's are placeholders, and say so."""
    for line in (FOLDER / "overlays/example/secrets.env").read_text().splitlines():
        assert line.startswith("#") or "CHANGE-ME" in line
