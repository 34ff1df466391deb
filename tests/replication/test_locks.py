"""The lock of a table: one session at a time, for as long as its block, and who waits too long learns for whom."""

from __future__ import annotations

import asyncpg
import pytest

from cd2.replication.database.connection import DatabaseTarget, connected
from cd2.replication.database.locks import LOCK_WAIT_S, table_lock
from cd2.replication.errors import TransientError
from cd2.replication.names import TableName
from tests.replication.replica import run

USERS, COURSES = TableName("canvas", "users"), TableName("canvas", "courses")
SHORT_S = 0.2
"""How long a session waits that is to wait in vain."""


async def lock_timeout_s(connection: asyncpg.Connection) -> float:
    setting = "SELECT extract(epoch FROM current_setting('lock_timeout')::interval)"
    return float(await connection.fetchval(setting))


def test_a_table_that_is_worked_on_for_too_long_says_by_whom(target: DatabaseTarget) -> None:
    async def work() -> None:
        async with connected(target) as holder, connected(target) as other, table_lock(holder, USERS):
            with pytest.raises(TransientError, match=r"session \d+ \(cd2 canvas.users from 127.0.0.1, since 20"):
                async with table_lock(other, USERS, wait_s=SHORT_S):
                    pass

    run(work())


def test_another_table_is_free_meanwhile(target: DatabaseTarget) -> None:
    async def work() -> None:
        async with (
            connected(target) as one,
            connected(target) as other,
            table_lock(one, USERS),
            table_lock(other, COURSES, wait_s=SHORT_S),
        ):
            pass

    run(work())


@pytest.mark.parametrize("fails", [False, True], ids=["the-block-ends", "the-block-fails"])
def test_the_lock_is_free_at_the_end_of_the_block_though_the_connection_lives(
    fails: bool, target: DatabaseTarget
) -> None:
    async def block(connection: asyncpg.Connection) -> None:
        async with table_lock(connection, USERS):
            if fails:
                raise LookupError

    async def work() -> None:
        async with connected(target) as first, connected(target) as second:
            try:
                await block(first)
            except LookupError:
                assert fails
            # The limit counts the wait for the lock only, however busy the machine is.
            async with table_lock(second, USERS, wait_s=SHORT_S):
                assert await first.fetchval("SELECT 1") == 1

    run(work())


@pytest.mark.parametrize("wait_s", [SHORT_S, 2 * LOCK_WAIT_S])
def test_other_locks_are_waited_for_as_long_as_documented_whatever_the_limit_for_this_one(
    wait_s: float, target: DatabaseTarget
) -> None:
    async def work() -> None:
        async with connected(target) as connection:
            async with table_lock(connection, USERS, wait_s=wait_s):
                assert await lock_timeout_s(connection) == LOCK_WAIT_S
            assert await lock_timeout_s(connection) == LOCK_WAIT_S

    run(work())
