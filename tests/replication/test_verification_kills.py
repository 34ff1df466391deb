"""A verification that is killed anywhere leaves a table that is synced or not, and repaired wholly or not at all."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.replication.killing import wait_until_gone
from tests.replication.replica import assert_equal
from tests.replication.replica_state import assert_same, assert_tidy
from tests.replication.verifying import differences, verify
from tests.replication.victims import World

DAMAGE = """
DELETE FROM canvas.victims WHERE id IN (SELECT id FROM canvas.victims ORDER BY id LIMIT 3);
INSERT INTO canvas.victims (id, name) SELECT id + 1000000, 'never there' FROM canvas.victims ORDER BY id LIMIT 2;
UPDATE canvas.victims SET legacy = 'damaged' WHERE id IN (SELECT id FROM canvas.victims ORDER BY id OFFSET 5 LIMIT 4)
"""
DAMAGED = "SELECT count(*) FROM canvas.victims WHERE name = 'never there' OR legacy = 'damaged'"
NOTED = "SELECT count(*) FROM cd2.verifications"


def number(world: World, query: str) -> int:
    with psycopg.connect(world.database) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def ready(world: World) -> tuple[int, int]:
    """Damage the table, and let it change; how many rows are plainly damaged, how many verifications are noted."""
    world.execute(DAMAGE)
    world.control.advance(tables=[world.table], inserts=3, updates=2)
    return number(world, DAMAGED), number(world, NOTED)


def killed_at(world: World, message: int, delivered: bool) -> str:
    """Kill a repair at its n-th message; whether it has repaired nothing (`old`), all (`new`), or was `done` before."""
    damaged, noted = ready(world)
    with world.proxy(number=message, delivered=delivered) as killer:
        worker = world.start("repair", through=killer)
        answer = worker.wait()
    assert worker.killed == killer.struck
    assert worker.killed or "result" in answer, answer
    wait_until_gone(world.database)
    world.state()  # nothing is left behind
    repaired = number(world, NOTED) > noted
    if repaired:
        assert_equal(world.control, world.database, world.table)
        assert_tidy(world.database, world.table)
        assert any(differences(world.database, world.table).values())
    else:
        # An update of the sync may have touched a damaged row.
        assert damaged - 2 <= number(world, DAMAGED) <= damaged
    found = verify(world.replicator, world.table, repair=True).verification
    assert found is not None
    assert_same("outcome", found.outcome, "equal" if repaired else "repaired")
    assert_equal(world.control, world.database, world.table)
    return ("new" if repaired else "old") if worker.killed else "done"


def messages_of(world: World) -> int:
    ready(world)
    with world.proxy() as counter:
        world.start("repair", through=counter).result()
        return counter.messages


def test_a_repair_that_is_killed_is_wholly_done_or_not_at_all(world: World) -> None:
    dice = random.Random(20263)
    count = messages_of(world)
    outcomes = [killed_at(world, place, dice.random() < 0.5) for place in (dice.randint(count // 2, count - 2), count)]
    assert set(outcomes) <= {"old", "new", "done"}
    assert outcomes[0] != "done"


@pytest.mark.slow
@pytest.mark.parametrize(("delivered", "step"), [(False, 7), (True, 11)], ids=["before-every-7th", "after-every-11th"])
def test_a_repair_that_is_killed_at_its_messages_in_turn_is_wholly_done_or_not_at_all(
    world: World, delivered: bool, step: int
) -> None:
    outcomes: list[str] = []
    message = 1
    while not outcomes or outcomes[-1] != "done":
        assert message < 600, "a verification grows as fast as we count"
        outcomes.append(killed_at(world, message, delivered))
        message += step
    assert outcomes.count("old") > 10
