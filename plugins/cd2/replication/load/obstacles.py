"""What of users' objects on a table, or in its place, would keep the rows of a load from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cd2.replication.errors import TableFailure
from cd2.replication.names import quote_identifier
from cd2.replication.schema.taken import check_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from cd2.replication.database.connection import Replica
    from cd2.replication.names import TableName
    from cd2.replication.schema.catalog import Collation
    from cd2.replication.schema.model import TableModel

# Whoever owns a table obeys its policies only if they are forced.
_FORBIDS = """
       quote_ident(current_user) AS role, row_security_active(c.oid) AS row_security,
       pg_has_role(c.relowner, 'USAGE') AS owned,
       ARRAY(SELECT quote_ident(rulename) FROM pg_rewrite WHERE ev_class = c.oid ORDER BY 1) AS rules"""

# Of tgtype, bit 0 means FOR EACH ROW and bit 1 BEFORE.
_OBSTACLES = f"""
SELECT {_FORBIDS},
       ARRAY(SELECT DISTINCT tgname::text FROM pg_trigger
             WHERE (tgrelid = c.oid OR tgrelid IN (SELECT relid FROM pg_partition_tree(c.oid)))
               AND NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 3 = 3 ORDER BY 1) AS triggers,
       c.relreplident = 'n' OR c.relreplident = 'i' AND NOT EXISTS (
           SELECT FROM pg_index WHERE indrelid = c.oid AND indisreplident) AS unidentified
FROM pg_class c WHERE c.oid = to_regclass($1::text)"""

_TRIGGERS = """
SELECT tgname::text AS name FROM pg_trigger
WHERE tgrelid = to_regclass($1::text) AND NOT tgisinternal AND tgenabled <> 'D' ORDER BY 1"""

_INHERITING = """
WITH RECURSIVE family AS (
    SELECT to_regclass($1::text)::oid AS oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = oid
)
SELECT DISTINCT format('ALTER TABLE %I.%I NO INHERIT %I.%I', cn.nspname, c.relname, pn.nspname, p.relname) AS command
FROM family JOIN pg_inherits ON inhparent = family.oid
JOIN pg_class c ON c.oid = inhrelid JOIN pg_namespace cn ON cn.oid = c.relnamespace
JOIN pg_class p ON p.oid = inhparent JOIN pg_namespace pn ON pn.oid = p.relnamespace
ORDER BY 1"""

_IS_PUBLISHED = """
SELECT EXISTS (SELECT FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
               WHERE t.schemaname = $1 AND t.tablename = $2 AND (p.pubupdate OR p.pubdelete OR $3))"""
_NO_KEY = """
SELECT relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)
FROM pg_class c WHERE oid = to_regclass($1::text)"""

# A table has a type of its name; types of arrays make room for it.
_PLACE = f"""
SELECT coalesce(c.relkind::text, t.kind) AS kind, quote_ident($1) AS schema,
       has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE') AS may_create,
       {_FORBIDS}
FROM pg_namespace n
LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = $2
LEFT JOIN (SELECT typnamespace, typname, 't' AS kind FROM pg_type WHERE typrelid = 0 AND typcategory <> 'A') AS t
    ON t.typnamespace = n.oid AND t.typname = $2
WHERE n.nspname = $1"""

# Whether a table has rows that are not Canvas's. The official client and we name keys like this, and comment columns.
_FOREIGN = """
SELECT pg_relation_size(c.oid) > 0 AND NOT EXISTS (
    SELECT FROM instructure_dap.table_sync WHERE source_namespace = $1 AND source_table = $2
) AND NOT EXISTS (
    SELECT FROM cd2.freshness WHERE namespace = $1 AND table_name = $2 AND checked_at IS NOT NULL
) AND NOT (
    EXISTS (SELECT FROM pg_constraint WHERE conrelid = c.oid AND contype = 'p' AND conname LIKE 'pk\\_%')
    AND EXISTS (SELECT FROM pg_description WHERE classoid = 'pg_class'::regclass AND objoid = c.oid AND objsubid > 0)
) AS rows
FROM pg_class c WHERE c.oid = to_regclass($3::text)"""


async def check_place(replica: Replica, table: TableName) -> None:
    """Look before DAP is asked for a snapshot, which costs a turn, and which DAP may refuse to repeat.

    :raises TableFailure: it could not be loaded: something other than a table has its name, or a user's table; a right
        is missing; or what is on the table makes its load impossible.
    """
    found = await replica.row(_PLACE, table.namespace, table.table)
    if found is None:
        return  # there is no such schema yet
    check_kind(table, found["kind"])
    foreign = await replica.row(_FOREIGN, table.namespace, table.table, table.quoted) if found["kind"] == "r" else None
    if foreign and foreign["rows"]:
        raise TableFailure(
            f"{table}: a user-created table of that name has rows, which would be overwritten: rename it (ALTER TABLE "
            f"{table.quoted} RENAME TO ...) or drop it; if its rows are Canvas's, empty it (TRUNCATE {table.quoted}). "
            "Then clear the task.",
            type="42P07",
        )
    if found["kind"] is None and not found["may_create"]:
        raise TableFailure(
            f"{table}: the role {found['role']} may not create tables in the schema {found['schema']}: "
            f"GRANT CREATE, USAGE ON SCHEMA {found['schema']} TO {found['role']}, then clear the task.",
            type="42501",
        )
    _check(table, found)


async def find(connection: asyncpg.Connection, table: TableName) -> tuple[str, ...]:
    """Look before the rows are changed.

    :returns: names of the triggers that could keep rows from being written.
    :raises TableFailure: what is on the table makes its load impossible.
    """
    found = await connection.fetchrow(_OBSTACLES, table.quoted)
    if found is None:
        return ()
    _check(table, found)
    if found["unidentified"] and await is_published(connection, table, changes=True):
        raise TableFailure(
            f"{table}: it is published with its updates and deletes, but has no replica identity, so PostgreSQL "
            f"refuses both. Nothing was changed. Run ALTER TABLE {table.quoted} REPLICA IDENTITY DEFAULT, then clear "
            "the task.",
            type="55000",
        )
    return tuple(found["triggers"])


async def has_triggers(connection: asyncpg.Connection, table: TableName) -> bool:
    """Whether users' triggers may change rows of the table when we do."""
    return bool(await connection.fetch(_TRIGGERS, table.quoted))


def still_different(table: TableName, rows: int) -> TableFailure:
    """A repair did not make a table equal.

    :param rows: how many differ.
    """
    return TableFailure(
        f"{table}: {rows:,} row(s) still differ after the repair: a user's trigger changes them. Nothing was changed. "
        "Disable the trigger, then clear the task; or leave the table as it is."
    )


def check_collations(model: TableModel, given: Mapping[str, Collation]) -> None:
    """Check that the key's collation tells all texts apart.

    :param given: what users have given the columns.
    :raises TableFailure: it does not.
    """
    vague = [name for name in model.key if name in given and not given[name].exact]
    if vague:
        changes = ", ".join(
            f'ALTER COLUMN {quote_identifier(column.name)} TYPE {column.type} COLLATE "default"'
            for column in model.columns
            if column.name in vague
        )
        raise TableFailure(
            f"{model.name}: in the collation of its key ({', '.join(vague)}) different texts are equal, so one row "
            "would be taken for another. Nothing was changed. Give it a deterministic one (ALTER TABLE "
            f"{model.name.quoted} {changes}), then clear the task.",
            type="42P22",
        )


async def swallowed(
    connection: asyncpg.Connection, table: TableName, triggers: Sequence[str], missing: int, left: int = 0
) -> TableFailure:
    """Statements of the load changed fewer rows than they had to; the caller must roll back.

    :param triggers: what `find` has found.
    :param missing: how many rows were not written.
    :param left: how many rows were not deleted.
    """
    return TableFailure(
        f"{table}: {missing:,} row(s) were not written and {left:,} not deleted, although PostgreSQL reported no "
        f"error. Nothing was changed. {await cause(connection, table, triggers)}"
    )


async def cause(connection: asyncpg.Connection, table: TableName, triggers: Sequence[str]) -> str:
    """A sentence: why rows may not be as they were written.

    :param triggers: what `find` has found.
    """
    what = "that runs BEFORE each row" if triggers else "that changes rows of its own table"
    named = triggers or [row["name"] for row in await connection.fetch(_TRIGGERS, table.quoted)]
    if not named:
        return "Please report this as a bug."
    return (
        f"A trigger {what} can do that, and the table has {', '.join(named)}: drop or disable it, then clear the task."
    )


async def inheriting(connection: asyncpg.Connection, table: TableName) -> list[str]:
    """Tables that users let inherit from one of Canvas, as statements that end that."""
    return [row["command"] for row in await connection.fetch(_INHERITING, table.quoted)]


def children_misfit(table: TableName, commands: Sequence[str]) -> TableFailure:
    """The schema of a table changed, and what inherits from it must follow, but cannot.

    :param commands: of `inheriting`.
    """
    return TableFailure(
        f"{table}: its schema changed, and rows of a table that a user let inherit from it do not fit the new one. "
        f"Nothing was changed. Correct them, or end the inheritance ({'; '.join(commands)}), then clear the task.",
        type="2BP01",
    )


def children_lack(table: TableName, columns: Sequence[str], commands: Sequence[str]) -> str:
    """A sentence: columns are required, but rows of what inherits from the table have no value.

    :param commands: of `inheriting`.
    """
    return (
        f"{table}: {', '.join(columns)} must now have a value in every row, and all rows of Canvas have one, but rows "
        "of a table that a user let inherit from it have none: NULL stays allowed. Give them values, or end the "
        f"inheritance ({'; '.join(commands)})."
    )


async def is_published(connection: asyncpg.Connection, table: TableName, *, changes: bool = False) -> bool:
    """Whether the table is in a publication of logical replication.

    :param changes: only those count that publish updates or deletes.
    """
    return bool(await connection.fetchval(_IS_PUBLISHED, table.namespace, table.table, not changes))


async def let_delete(connection: asyncpg.Connection, table: TableName) -> str | None:
    """Let rows be deleted from a table that is published and has no key to tell them apart.

    :returns: the statement that undoes it; None: nothing was necessary.
    """
    if not await connection.fetchval(_NO_KEY, table.quoted) or not await is_published(connection, table, changes=True):
        return None
    await connection.execute(f"ALTER TABLE {table.quoted} REPLICA IDENTITY FULL")
    return f"ALTER TABLE {table.quoted} REPLICA IDENTITY DEFAULT;"


def _check(table: TableName, found: asyncpg.Record) -> None:
    if found["row_security"]:
        other = (
            f"end FORCE ROW LEVEL SECURITY on the table (ALTER TABLE {table.quoted} NO FORCE ROW LEVEL SECURITY)"
            if found["owned"]
            else f"make it the table's owner (ALTER TABLE {table.quoted} OWNER TO {found['role']})"
        )
        raise TableFailure(
            f"{table}: its policies (row level security) apply to the replication role, so rows could be missed. "
            f"Nothing was changed. As a superuser, give the role BYPASSRLS (ALTER ROLE {found['role']} BYPASSRLS), or "
            f"{other}; then clear the task.",
            type="42501",
        )
    if found["rules"]:
        commands = "; ".join(f"DROP RULE {rule} ON {table.quoted}" for rule in found["rules"])
        raise TableFailure(
            f"{table}: PostgreSQL cannot MERGE into a table with rules, and it has {', '.join(found['rules'])}. "
            f"Nothing was changed. Drop what is named ({commands}), or use triggers instead; then clear the task.",
            type="0A000",
        )
