"""How fresh each table is, for people and reports: `SELECT * FROM cd2.freshness`.

A quiet table's data may be old and right all the same: what tells is when it was last found equal to DAP.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import asyncpg

from cd2.errors import Cd2Error, ReinitRequired, TableFailure
from cd2.results import Freshness

REINIT_EVERY = timedelta(hours=24)
"""A table is initialised again without a person asking for it once in this time: DAP may refuse repeated snapshots."""

CREATE_FRESHNESS = """
CREATE TABLE IF NOT EXISTS cd2.freshness (
    namespace text NOT NULL,
    table_name text NOT NULL,
    checked_at timestamptz,
    data_as_of timestamptz,
    reinitialized_at timestamptz,
    failing_since timestamptz,
    error text,
    PRIMARY KEY (namespace, table_name)
);
COMMENT ON TABLE cd2.freshness IS 'How fresh each replicated table is';
COMMENT ON COLUMN cd2.freshness.checked_at IS 'When the table was last brought up to date with DAP';
COMMENT ON COLUMN cd2.freshness.data_as_of IS 'The state of Canvas Data 2 that the table holds';
COMMENT ON COLUMN cd2.freshness.reinitialized_at IS 'When it last got a new snapshot because DAP had no increments';
COMMENT ON COLUMN cd2.freshness.failing_since IS 'Since when every attempt failed; NULL: the last one did not';
COMMENT ON COLUMN cd2.freshness.error IS 'What the last failed attempt met';
"""

_UP_TO_DATE = """
INSERT INTO cd2.freshness AS f (namespace, table_name, checked_at, data_as_of, reinitialized_at)
VALUES ($1, $2, clock_timestamp(), $3, CASE WHEN $4 THEN clock_timestamp() END)
ON CONFLICT (namespace, table_name) DO UPDATE SET checked_at = excluded.checked_at, data_as_of = excluded.data_as_of,
    reinitialized_at = coalesce(excluded.reinitialized_at, f.reinitialized_at), failing_since = NULL, error = NULL"""

_FAILED = """
INSERT INTO cd2.freshness AS f (namespace, table_name, failing_since, error) VALUES ($1, $2, clock_timestamp(), $3)
ON CONFLICT (namespace, table_name) DO UPDATE
    SET failing_since = coalesce(f.failing_since, excluded.failing_since), error = excluded.error"""


async def up_to_date(
    connection: asyncpg.Connection, namespace: str, table: str, as_of: datetime, reinitialized: bool = False
) -> None:
    """Note that a table was brought up to date, in the caller's transaction.

    :param reinitialized: with a snapshot that nobody but the program asked for.
    """
    await connection.execute(_UP_TO_DATE, namespace, table, as_of, reinitialized)


async def failed(connection: asyncpg.Connection, namespace: str, table: str, error: Cd2Error) -> None:
    """Note that an attempt at a table failed."""
    await connection.execute(_FAILED, namespace, table, error.message)


async def read(connection: asyncpg.Connection) -> dict[str, Freshness]:
    """How fresh each table is, by qualified name."""
    rows = await connection.fetch("SELECT namespace, table_name, checked_at, failing_since FROM cd2.freshness")
    return {f"{row[0]}.{row[1]}": Freshness(row[2], row[3]) for row in rows}


async def check_reinit(connection: asyncpg.Connection, namespace: str, table: str, required: ReinitRequired) -> None:
    """Whether the table may get a new snapshot without a person asking for it.

    :raises TableFailure: it got one within the last `REINIT_EVERY`.
    """
    last = await connection.fetchval(
        "SELECT reinitialized_at FROM cd2.freshness WHERE namespace = $1 AND table_name = $2 "
        "AND reinitialized_at > clock_timestamp() - $3::interval",
        namespace,
        table,
        REINIT_EVERY,
    )
    if last is not None:
        raise TableFailure(
            f"{required.message} It got one by itself at {last:%Y-%m-%d %H:%M} UTC already, and that is done once in "
            f"{REINIT_EVERY // timedelta(hours=1)} h only, because DAP may refuse repeated snapshots: trigger the DAG "
            f"with this table and full_refresh to do it now.",
            cause=required.cause,
            type=required.type,
            uuid=required.uuid,
        )
