"""`docker compose up`, a run of the DAG, and `docker compose run compare`: every command of the file, as processes."""

import platform
import re
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import requests

from local.airflow.api import AirflowApi
from local.aws import Aws
from local.simulator.control import SimulatorControl
from tests.compose.binary import ComposeProject
from tests.compose.conftest import LOCAL_EXECUTOR
from tests.compose.containers import LocalContainers

pytestmark = pytest.mark.slow

FEW = ["canvas.courses", "canvas.enrollment_states", "canvas.roles", "canvas.users", "canvas_logs.web_logs"]
PATIENCE_S = 600
CLIENT = "aiohttp/_http_parser"
"""A library of machine code that comes with the DAP client, as the kernel lists it among the files of a process."""


@pytest.fixture(scope="module", params=["celery", "local-executor"])
def containers(
    request: pytest.FixtureRequest, program: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalContainers]:
    """All services of a variant, up and healthy."""
    directory = tmp_path_factory.mktemp("compose")
    (directory / "project").mkdir()
    settings = {"ROWS": "30", "AIRFLOW_PASSWORD": "of the test", "TASKS_AT_ONCE": "4"}
    if request.param == "local-executor":
        settings |= LOCAL_EXECUTOR
    few = {"AIRFLOW__CD2__INCLUDE_TABLES": ",".join(FEW)}
    project = ComposeProject(program, directory / "project", settings, few)
    running = LocalContainers(project.config(), directory)
    running.up()
    try:
        yield running
    finally:
        running.down()


def api(containers: LocalContainers) -> AirflowApi:
    return AirflowApi(f"http://127.0.0.1:{containers.ports['api-server']}", "of the test")


def family(containers: LocalContainers, service: str) -> list[psutil.Process]:
    leader = psutil.Process(containers.supervisor.pid(service))
    return [leader, *leader.children(recursive=True)]


@pytest.mark.skipif(platform.system() != "Linux", reason="asks Linux which libraries a process has loaded")
def test_the_processes_that_fork_tasks_have_the_client_loaded_before_the_first_task(
    containers: LocalContainers,
) -> None:
    forking = "worker" if "worker" in containers.services else "scheduler"

    loaded = [
        any(CLIENT in file.path for file in process.memory_maps())
        for process in family(containers, forking)
        if "resource_tracker" not in " ".join(process.cmdline())
    ]

    assert len(loaded) > 4 or forking == "scheduler"
    assert all(loaded)
    # it is no library that everything in Airflow has loaded
    assert not any(CLIENT in file.path for process in family(containers, "triggerer") for file in process.memory_maps())


def test_runs_make_the_replica_equal_and_tell_of_it(containers: LocalContainers) -> None:
    airflow = api(containers)
    wait_until(lambda: airflow.dag() is not None, "the DAG is loaded")

    triggered = containers.exec("scheduler", "airflow", "dags", "trigger", "canvas_data_2", "--run-id", "first")

    assert triggered.returncode == 0, triggered.stderr
    assert ended(containers, "first") == "success"
    compared = containers.run("compare", "--tables", *FEW)
    assert compared.returncode == 0, compared.stdout + compared.stderr
    assert f"{len(FEW)} tables" in compared.stdout
    (notification,) = Aws(f"http://127.0.0.1:{containers.ports['aws']}").notifications()
    assert notification.attributes["status"] == "success"
    # the API server reads what a task logged in another container
    assert "canvas_logs.web_logs" in airflow.log("first", "list_tables", 1)

    # what the page in Airflow is made of
    assert requests.get(f"{airflow.base_url}/canvas-data/", timeout=PATIENCE_S).ok
    status = airflow.xcom("first", "notify", key="status")
    assert [table["table"] for table in status["tables"]] == sorted(FEW)

    edit_dag_and_plugins(containers)
    wait_until(lambda: (airflow.dag() or {})["description"] == "Edited", "the edited DAG file is loaded")
    simulator = SimulatorControl(f"http://127.0.0.1:{containers.ports['simulator']}")
    simulator.advance(0.5, FEW)
    assert containers.run("compare", "--tables", *FEW).returncode == 1
    second = airflow.trigger({})
    assert ended(containers, second) == "success"
    assert "replicator.py was edited" in airflow.log(second, "prepare_database", 1)
    compared = containers.run("compare", "--tables", *FEW)
    assert compared.returncode == 0, compared.stdout + compared.stderr


def test_starting_again_on_what_is_there_works(containers: LocalContainers) -> None:
    again = containers.run("prepare")

    assert again.returncode == 0, again.stdout + again.stderr
    assert "the DAP simulator at" in again.stdout
    assert containers.healthy("api-server").returncode == 0


def edit_dag_and_plugins(containers: LocalContainers) -> None:
    """As a developer does; the second is a file that every task process imports itself, from what its worker loaded."""
    project = containers.directory / "project"
    dag = project / "dags" / "canvas_data_2.py"
    dag.write_text(re.sub(r'description="Keep a .+"', 'description="Edited"', dag.read_text()))
    replicator = project / "plugins" / "cd2" / "replication" / "replicator.py"
    replicator.write_text(replicator.read_text() + '\nprint("replicator.py was edited")\n')


def wait_until(reached: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.5)


def ended(containers: LocalContainers, run_id: str) -> str:
    airflow = api(containers)

    def is_over() -> bool:
        containers.supervisor.check()
        return airflow.run(run_id)["state"] in ("success", "failed")

    wait_until(is_over, f"the run {run_id} ends")
    return str(airflow.run(run_id)["state"])
