"""One local stack for all stories of a process: PostgreSQL, simulator, AWS server, Airflow.

It ends with the last of them: an idle Airflow takes a third of a core from the tests that follow.

A story begins with nothing under way, whatever the one before has left, and ends with a search for secrets in all that
it has left behind.
"""

from collections.abc import Iterator

import pytest

from local.stack import Stack
from tests.e2e.secrets_search import Search, secrets_of
from tests.e2e.story import forget_what_is_under_way, run

MOST_TABLES = 95
"""Of one list, in the stack of the stories; Airflow's own default is 1,024."""


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Running, with two triggerers as on MWAA; it misses a worker that is gone after seconds instead of minutes."""
    impatient = {
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__CORE__MAX_MAP_LENGTH": str(MOST_TABLES),
        "AIRFLOW__CD2__DICTIONARY_S3_URI": "s3://dictionaries/canvas/dictionary.html",
    }
    with Stack(tmp_path_factory.mktemp("stack"), rows=30, environment=impatient, triggerers=2) as running:
        yield running


@pytest.fixture(scope="package")
def search(stack: Stack) -> Search:
    """Searches what the stack's runs leave behind."""
    return Search(stack)


@pytest.fixture(scope="package")
def filled_once(stack: Stack) -> None:
    """Every table of the stories is in the replica, whichever story comes first."""
    forget_what_is_under_way(stack)
    assert run(stack)[1] == "success"


@pytest.fixture
def fresh(stack: Stack, search: Search) -> Iterator[Stack]:
    """The stack with nothing under way; what a story leaves behind is searched for secrets."""
    forget_what_is_under_way(stack)
    yield stack
    assert search.places_of(secrets_of(stack)) == []


@pytest.fixture
def filled(filled_once: None, fresh: Stack) -> Stack:
    """As `fresh`, with a replica that later runs go on with."""
    return fresh
