"""Fixtures shared by all tests: a real PostgreSQL, and a fresh database on it."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest

from local.postgres import EmbeddedPostgres

# Before anything imports Airflow: it writes a configuration and a database there, and reads the developer's settings.
AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="cd2-airflow-home-")
os.environ["AIRFLOW_HOME"] = AIRFLOW_HOME.name
for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_"))]:
    del os.environ[name]
# What a developer gives `make test` is not meant for the programs that tests start: make also hands on its variables,
# and `make smoke` of a test would read the ARGS of `make test-infra ARGS=tests/infra/deployed`.
FOR_PROGRAMS = (
    "ALARM", "ARGS", "CHATBOT", "CHECK", "ENV", "FULL_REFRESH", "HELP", "NAMESPACES", "OUT", "PACE", "PER_MINUTE",
    "PLAN", "PLAN_ONLY", "PORT", "REGION", "REPEATS", "ROWS", "ROWS_LIST", "SERVE", "TABLES", "VERIFY", "WAIT", "YES",
)  # fmt: skip
for name in ("MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", *FOR_PROGRAMS):
    os.environ.pop(name, None)
# What tests talk to is on this machine, whatever proxy it has.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"


LONG_FILES = (
    # Four processes: two begin with the stories of tests/e2e, which share a stack; two with tests that mostly wait.
    "test_waiting",
    "test_stories",
    "test_pacing_slow",
    "test_object_urls",
    # Then come what has nothing to share for those that have waited, and the other stories for those with a stack.
    "test_run_command",
    "test_kill_anywhere",
    "test_remedies",
    "test_clearing",
    "test_many_tables",
    "test_processes",
    "test_verification",
    "test_trigger_form",
    # The longest first.
    "test_page_airflow",
    "test_compose_run",
    "test_killed_stack",
    "test_same_as_client",
    "test_refresh_benchmark",
    "test_schema_between",
    "test_faults",
    "test_mwaa_install",
    "test_simulator_scale",
    "test_verification_kills",
    "test_setup_script",
    "test_dictionary_page",
    "test_kill_stages",
    "test_verification_moving",
    "test_benchmarks_run",
    "test_peoples_constraints",
    "test_users_code",
    "test_simulator_official_client",
)
"""Files with minutes of tests. A process takes whole files: one that gets such a file last lets the others wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files."""
    place = {name: number for number, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


MEMORY = Path("/dev/shm")
ROOM_IN_MEMORY = 6 * 2**30


def in_memory() -> Path | None:
    """A new folder in memory, if there is room.

    A test makes and removes hundreds of small files, for which a file system on a disk needs twice the time.
    """
    if not os.access(MEMORY, os.W_OK) or shutil.disk_usage(MEMORY).free < ROOM_IN_MEMORY:
        return None
    for left in MEMORY.glob("cd2-tests-*-*"):
        if not psutil.pid_exists(int(left.name.split("-")[2])):
            shutil.rmtree(left, ignore_errors=True)  # its tests were killed
    return Path(tempfile.mkdtemp(prefix=f"cd2-tests-{os.getpid()}-", dir=MEMORY))


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL server for the whole test session."""
    directory = in_memory() or tmp_path_factory.mktemp("postgres")
    with EmbeddedPostgres(directory, durable=False) as server:
        yield server
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of a fresh, empty database, dropped after the test."""
    name = f"test_{secrets.token_hex(6)}"
    postgres.create_database(name)
    yield postgres.dsn(name)
    postgres.drop_database(name)


@pytest.fixture
def database(empty_database: str) -> str:
    """The same; in tests/replication it is a prepared one instead."""
    return empty_database


@pytest.fixture(scope="session")
def aws_endpoint() -> Iterator[str]:
    """The address of a moto server, which speaks AWS's protocols, for all tests of a process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(aws_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets AWS's clients of the test's process, and Airflow's connection to AWS, talk to that server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """Say in a line for each reason, after everything else, what was not tested."""
    yield
    reasons: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons.setdefault(reason.removeprefix("Skipped: "), []).append(report.nodeid.split("::")[0])
    for reason, files in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {len(files)}: {reason}: {', '.join(sorted(set(files)))}")
