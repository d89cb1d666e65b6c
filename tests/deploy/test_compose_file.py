"""What the production compose file promises, read from the YAML itself: no Docker is needed."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from persistence.settings import Settings
from tests.deploy.compose import ALL, COMPOSE, OURS, example_environment, example_names, services

SECRETS = ("POSTGRES_PASSWORD", "REDIS_PASSWORD")
TEXT = COMPOSE.read_text(encoding="utf-8")


def test_every_process_of_the_design_is_a_service() -> None:
    assert set(services()) == set(ALL)


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_has_no_default_and_says_how_to_make_one(secret: str) -> None:
    uses = re.findall(r"\$\{" + secret + r"([^}]*)\}", TEXT)
    assert uses
    assert all(use.startswith(":?set " + secret) and "openssl rand" in use for use in uses)


def test_the_example_sets_every_required_variable_and_nothing_that_looks_like_a_real_secret() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", TEXT))
    example = example_environment()
    assert required == set(SECRETS)
    assert all(example[name].startswith("replace-me") for name in required)


def test_the_example_names_every_variable_that_the_file_reads_and_no_other() -> None:
    interpolated = set(re.findall(r"(?<!\$)\$\{(\w+)", TEXT))
    handed_on = {
        name for service in services().values() for name, value in _environment(service).items() if value is None
    }
    assert example_names() == interpolated | handed_on | {"COMPOSE_PROFILES"}


@pytest.mark.parametrize("name", OURS)
def test_every_setting_of_the_service_can_be_set(name: str) -> None:
    # The image sets the data folder; devices mean something to workers only.
    wanted = {f"MASKTUNE_{field.upper()}" for field in Settings.model_fields} - {"MASKTUNE_HOME", "MASKTUNE_DEVICES"}
    assert wanted <= set(_environment(services()[name]))


@pytest.mark.parametrize("name", [name for name in ALL if name != "migrate"])
def test_a_service_that_stays_up_has_a_health_check_and_is_restarted(name: str) -> None:
    service = services()[name]
    assert service["healthcheck"]["test"]
    assert service["healthcheck"]["retries"] >= 2
    assert service["restart"] == "unless-stopped"


def test_the_migration_runs_once() -> None:
    assert services()["migrate"]["restart"] == "no"
    assert services()["migrate"]["command"] == ["python", "-m", "migrations", "upgrade"]


@pytest.mark.parametrize("name", [name for name in OURS if name != "migrate"])
def test_our_processes_wait_for_the_database_the_broker_and_the_migration(name: str) -> None:
    conditions = {other: wait["condition"] for other, wait in services()[name]["depends_on"].items()}
    assert conditions == {
        "postgres": "service_healthy",
        "redis": "service_healthy",
        "migrate": "service_completed_successfully",
    }


@pytest.mark.parametrize("name", ALL)
def test_every_container_is_confined(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory", "pids"} <= set(limits)


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_foreign_image_does_not_run_as_root(name: str) -> None:
    assert services()[name]["user"] not in ("", "root", "0")


@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_foreign_image_is_pinned_to_a_version(name: str) -> None:
    assert re.search(r":\d+(\.\d+)*-\w+$", services()[name]["image"])


def test_only_the_api_is_reachable_from_outside_and_by_default_only_from_the_machine_itself() -> None:
    published = {name: service["ports"] for name, service in services().items() if service.get("ports")}
    assert published == {"api": ["${MASKTUNE_BIND:-127.0.0.1}:${MASKTUNE_PORT:-8000}:8000"]}


def test_postgres_and_redis_are_on_a_network_without_a_way_out() -> None:
    assert yaml.safe_load(TEXT)["networks"]["backend"]["internal"] is True
    assert services()["postgres"]["networks"] == services()["redis"]["networks"] == ["backend"]


def test_postgres_18_keeps_its_data_on_a_named_volume() -> None:
    # The image's data folder moved below /var/lib/postgresql in version 18; a mount on …/data stops it.
    assert services()["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]


def test_every_mounted_volume_is_declared() -> None:
    declared = set(yaml.safe_load(TEXT)["volumes"])
    mounted = {volume.split(":")[0] for service in services().values() for volume in service.get("volumes", [])}
    assert mounted == declared


def test_the_object_store_is_shared_by_all_that_read_or_write_objects() -> None:
    sharing = {name for name, service in services().items() if "objects:/srv/objects" in service.get("volumes", [])}
    assert sharing == {"api", "worker-gpu", "worker-cpu", "worker-intake", "worker-control"}


def test_the_gpu_worker_reserves_gpus_and_the_others_do_not() -> None:
    assert _devices("worker-gpu") == [
        {"driver": "nvidia", "count": "${MASKTUNE_GPU_COUNT:-all}", "capabilities": ["gpu"]}
    ]
    assert all(_devices(name) is None for name in ALL if name != "worker-gpu")


def test_a_profile_picks_the_training_worker_and_nothing_else() -> None:
    profiles = {name: service.get("profiles") for name, service in services().items() if service.get("profiles")}
    assert profiles == {"worker-gpu": ["gpu"], "worker-cpu": ["cpu"]}
    assert example_environment()["COMPOSE_PROFILES"] == "gpu"


def test_every_queue_has_a_worker_and_sweeps_wait_behind_nothing_else() -> None:
    queues = {name: _option(services()[name]["command"], "--queues") for name in services() if "worker-" in name}
    assert queues == {
        "worker-gpu": "jobs",
        "worker-cpu": "jobs",
        "worker-intake": "intake",
        "worker-control": "control",
    }


def test_there_is_one_beat_and_no_worker_carries_another() -> None:
    commands = {name: service.get("command", []) for name, service in services().items()}
    assert "beat" in commands["beat"]
    assert not any({"-B", "--beat"} & set(command) for command in commands.values())


@pytest.mark.parametrize("name", ["worker-gpu", "worker-cpu", "worker-intake", "worker-control"])
def test_a_worker_has_threads_time_to_stop_and_a_health_check_that_asks_for_itself(name: str) -> None:
    service = services()[name]
    assert _option(service["command"], "--pool") == "threads"
    node = _option(service["command"], "--hostname").removesuffix("@%h")
    assert f'--destination="{node}@$$HOSTNAME"' in service["healthcheck"]["test"][1]
    assert int(service["stop_grace_period"].removesuffix("s")) >= 30


def test_what_a_read_only_container_writes_is_on_a_volume_or_in_memory() -> None:
    for name in OURS:
        service = services()[name]
        mounts = [volume.split(":")[1] for volume in service.get("volumes", [])]
        mounts += [mount.split(":")[0] for mount in service["tmpfs"]]
        assert {"/tmp", "/var/lib/masktune"} <= set(mounts), name


def _environment(service: dict[str, Any]) -> dict[str, str | None]:
    environment: dict[str, str | None] = service.get("environment", {})
    return environment


def _devices(name: str) -> Any:
    return services()[name]["deploy"]["resources"].get("reservations", {}).get("devices")


def _option(command: list[str], option: str) -> str:
    return next(part.split("=", 1)[1] for part in command if part.startswith(option + "="))
