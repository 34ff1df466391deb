"""What people do to the tables of Canvas, and whether these are right nevertheless."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import psycopg
import pytest

from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from cd2.replication.results import TableResult
from local.compare import compare
from local.simulator.control import SimulatorControl
from tests.steps import init, sync

Load = Callable[[Replicator, str], Coroutine[Any, Any, TableResult]]
BOXES = "canvas.boxes"


def by_each_load(whats: Iterable[str]) -> pytest.MarkDecorator:
    """For `what` and `load`: each by an increment and by a snapshot, one of them, in turn, in the slow tests."""
    pairs = []
    for number, what in enumerate(whats):
        for place, load in enumerate((sync, init)):
            marks = pytest.mark.slow if (number + place) % 2 else ()
            pairs.append(pytest.param(what, load, id=f"{what}-{load.__name__}", marks=marks))
    return pytest.mark.parametrize(("what", "load"), pairs)


def admin(database: str, statements: str) -> None:
    """Run statements as the owner of the server."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(statements.encode())


def equal(simulator: SimulatorControl, database: str) -> bool:
    """Whether all values of Canvas in `BOXES` are right; people may have columns of their own."""
    (found,) = compare(simulator.base_url, database, [BOXES])
    return not (found.missing or found.superfluous or found.changed)


def statement_in(failure: TableFailure, beginning: str) -> str:
    """The statement that a sentence has in parentheses."""
    found = re.search(rf"\(({re.escape(beginning)}[^()]*)\)", failure.message)
    assert found, failure.message
    return found[1]
