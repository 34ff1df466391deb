"""What of users' objects on a table would keep the rows of a load from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cd2.replication.errors import TableFailure

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.names import TableName

# Of tgtype, bit 0 means FOR EACH ROW and bit 1 BEFORE.
_OBSTACLES = """
SELECT row_security_active(c.oid) AS row_security,
       ARRAY(SELECT rulename::text FROM pg_rewrite WHERE ev_class = c.oid ORDER BY 1) AS rules,
       ARRAY(SELECT DISTINCT tgname::text FROM pg_trigger
             WHERE (tgrelid = c.oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))
               AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 3 = 3 ORDER BY 1) AS triggers
FROM pg_class c WHERE c.oid = to_regclass($1::text)"""


async def find(connection: asyncpg.Connection, table: TableName) -> tuple[str, ...]:
    """Look before the rows are changed.

    :returns: names of the triggers that could keep rows from being written.
    :raises TableFailure: what is on the table makes its load impossible.
    """
    found = await connection.fetchrow(_OBSTACLES, table.quoted)
    if found is None:
        return ()
    if found["row_security"]:
        raise TableFailure(
            f"{table}: its policies (row level security) apply to the replication role, so rows could be missed. "
            "Nothing was changed. As a superuser, give the role BYPASSRLS (ALTER ROLE ... BYPASSRLS), or end FORCE ROW "
            "LEVEL SECURITY on the table; then clear the task.",
            type="42501",
        )
    if found["rules"]:
        raise TableFailure(
            f"{table}: PostgreSQL cannot MERGE into a table with rules, and it has {', '.join(found['rules'])}. "
            "Nothing was changed. Drop them (DROP RULE ... ON ...), or use triggers instead; then clear the task.",
            type="0A000",
        )
    return tuple(found["triggers"])
