"""One local stack for all stories: real PostgreSQL, simulator, AWS server, Airflow scheduler and API server."""

from collections.abc import Iterator

import pytest

from local.stack import Stack

MOST_TABLES = 95
"""Of one list, in the stack of the stories; Airflow's own default is 1,024."""
TABLES = ["users", "roles", "courses", "enrollment_states", "web_logs"]
NAMES = ["canvas.courses", "canvas.enrollment_states", "canvas.roles", "canvas.users", "canvas_logs.web_logs"]


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Running; it misses a worker that is gone after seconds instead of minutes."""
    impatient = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__CORE__MAX_MAP_LENGTH": str(MOST_TABLES),
    }
    with Stack(tmp_path_factory.mktemp("stack"), rows=30, environment=impatient) as running:
        yield running


@pytest.fixture
def fresh(stack: Stack) -> Stack:
    """The stack without faults and without messages of the story before."""
    stack.simulator.clear_faults()
    stack.notifications()
    return stack


@pytest.fixture(scope="session")
def filled_once(stack: Stack) -> None:
    """Every table of the stories is in the replica, whichever story comes first."""
    conf = {"namespaces": ["canvas", "canvas_logs"], "tables": NAMES}
    assert stack.wait(stack.trigger(conf), 240) == "success"


@pytest.fixture
def filled(filled_once: None, fresh: Stack) -> Stack:
    """As `fresh`, with a replica that later runs go on with."""
    return fresh
