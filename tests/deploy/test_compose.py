"""The compose file: Docker's tools take it, and Headrace takes what it sets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from headrace.runtime.main import COMMANDS
from headrace.runtime.settings import read_settings
from tests.deploy.tools import DEPLOY, ROOT, demand_success, find, find_or_none, run

OURS: Final = ("migrate", "collector", "processor")
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*)|:\?[^}]*)?\}")


def compose() -> dict[str, Any]:
    """The file with every variable at its default."""
    text = (DEPLOY / "compose.yaml").read_text()
    filled = _VARIABLE.sub(lambda found: found[2] or "", text)
    return dict(yaml.safe_load(filled))


def environment(service: str) -> dict[str, str]:
    """What a service's processes find in their environment."""
    return dict(compose()["services"][service]["environment"])


@pytest.mark.parametrize(
    "files", [["compose.yaml"], ["compose.yaml", "compose.tls.yaml"]], ids="+".join
)
def test_docker_compose_takes_the_files(files: list[str], tmp_path: Path) -> None:
    """`config` resolves anchors and variables, and checks against the schema."""
    services = yaml.safe_load(_config(files, tmp_path))["services"]
    assert set(OURS) < set(services)
    assert len(services["balancer"]["ports"]) == len(files)


@pytest.mark.parametrize("service", OURS)
def test_headrace_takes_the_settings(service: str) -> None:
    """Every variable exists, can be read, and all four services are set."""
    settings = read_settings(environment(service))
    assert settings.kafka
    assert settings.clickhouse is not None
    assert settings.redis
    assert settings.database


@pytest.mark.parametrize("service", OURS)
def test_services_run_commands_that_exist(service: str) -> None:
    """`headrace migrate`, `headrace collector`, `headrace processor`."""
    command = compose()["services"][service]["command"]
    assert command == [service]
    assert service in {each[0] for each in COMMANDS}


@pytest.mark.parametrize("service", OURS)
def test_our_containers_may_do_little(service: str) -> None:
    """A root file system that is read only, no capabilities, no new privileges."""
    found = compose()["services"][service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]


def test_two_of_each_wait_for_the_preparation_and_are_given_time_to_end() -> None:
    """And the preparation waits for the services it prepares."""
    services = compose()["services"]
    for name, seconds in (("collector", 20), ("processor", 10)):
        assert services[name]["deploy"]["replicas"] == 2
        waits = services[name]["depends_on"]["migrate"]
        assert waits == {"condition": "service_completed_successfully"}
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > seconds
    assert set(services["migrate"]["depends_on"]) == {"kafka", "clickhouse", "redis", "postgres"}
    assert services["migrate"]["restart"] == "no"


def test_everything_lasting_is_watched_restarted_and_of_a_named_version() -> None:
    """A health check (the balancer's is that of its collectors), a restart policy, a tag."""
    for name, service in compose()["services"].items():
        assert re.search(r":v?\d|:local$", service["image"]), name
        if name != "migrate":
            assert service["restart"] == "unless-stopped", name
        if name not in {"migrate", "balancer"}:
            assert service["healthcheck"]["test"], name


def test_what_holds_data_holds_it_in_a_volume() -> None:
    """A container that is made anew finds it again."""
    found = compose()
    for name in ("kafka", "clickhouse", "redis", "postgres", "prometheus", "grafana"):
        volumes = [volume.split(":")[0] for volume in found["services"][name]["volumes"]]
        assert name in volumes
        assert name in found["volumes"]


def test_files_that_are_mounted_exist() -> None:
    """Docker would make an empty folder of each that does not."""
    for name, service in compose()["services"].items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), (name, source)


def test_ports_are_published_on_this_machine_alone() -> None:
    """The passwords are ones that everybody knows."""
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name


def test_no_password_is_fixed() -> None:
    """Each comes from the environment; the default says what it is."""
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / ".env.example").read_text()
    passwords = set(re.findall(r"\$\{(\w+_PASSWORD)", text))
    assert passwords == {
        f"{each}_PASSWORD" for each in ("CLICKHOUSE", "GRAFANA", "POSTGRES", "REDIS")
    }
    for name in passwords:
        assert re.search(rf"^{name}=$", example, re.MULTILINE)
        assert set(re.findall(rf"\$\{{{name}:-([^}}]*)\}}", text)) == {"local-only"}


def test_variables_of_the_file_are_in_the_example() -> None:
    """Whoever copies .env.example sees all there is to choose."""
    text = (DEPLOY / "compose.yaml").read_text() + (DEPLOY / "compose.tls.yaml").read_text()
    example = (DEPLOY / ".env.example").read_text()
    for name in set(re.findall(r"(?<!\$)\$\{(\w+)", text)):
        assert re.search(rf"^(# )?{name}=", example, re.MULTILINE), name


def test_redis_and_kafka_are_set_as_headrace_needs_them() -> None:
    """Keys are neither dropped for room nor lost with the process; no topic is made by chance."""
    services = compose()["services"]
    command = " ".join(services["redis"]["command"])
    assert "--maxmemory-policy noeviction" in command
    assert "--appendonly yes" in command
    assert services["kafka"]["environment"]["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


def test_the_broker_is_the_one_the_tests_ran_with() -> None:
    """The image's version is that of the jars in tests/services."""
    pom = (ROOT / "tests" / "services" / "pom.xml").read_text()
    version = re.search(r"kafka_2\.13</artifactId>\s*<version>([\d.]+)<", pom)
    assert version is not None
    assert compose()["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"


def test_prometheus_asks_every_collector_and_processor() -> None:
    """Where they listen, at as many addresses as their name has."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for service, variable in (
        ("collector", "HEADRACE_LISTEN"),
        ("processor", "HEADRACE_PROCESSOR_LISTEN"),
    ):
        found = jobs[f"headrace-{service}"]["dns_sd_configs"][0]
        assert found["names"] == [service]
        assert environment(service)[variable] == f"0.0.0.0:{found['port']}"


def _config(files: list[str], folder: Path) -> str:
    """What `config` says of the files together."""
    environment = {"TLS_PEM": "/tls/server.pem"}
    if find_or_none("docker") and run(["docker", "compose", "version"]).returncode == 0:
        command, paths = ["docker", "compose"], [DEPLOY / file for file in files]
    else:
        command = [find("docker-compose", "apt-get install docker-compose")]
        paths = [_without_name(DEPLOY / file, folder) for file in files]
    chosen = [word for path in paths for word in ("--file", str(path))]
    return demand_success(
        run([*command, "--project-directory", ".", *chosen, "config"], environment=environment)
    )


def _without_name(file: Path, folder: Path) -> Path:
    """Debian's docker-compose 1.29 knows all of the file but its first key."""
    copy = folder / file.name
    copy.write_text(re.sub(r"^name: .*$", "", file.read_text(), flags=re.MULTILINE))
    return copy
