"""What else of users makes PostgreSQL refuse a load: domains of their columns, publications, and who owns what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cd2.replication.errors import TableFailure

if TYPE_CHECKING:
    import asyncpg

    from cd2.replication.names import TableName


async def domain(
    connection: asyncpg.Connection, table: TableName, error: asyncpg.IntegrityConstraintViolationError
) -> TableFailure | None:
    """The failure if a domain refused a value; no column of Canvas has one."""
    if not error.data_type_name or error.context:
        return None
    names = (error.schema_name, error.data_type_name, error.constraint_name)
    row = await connection.fetchrow(_DOMAIN, *names)
    if row is None:
        return None
    return TableFailure.because_of(
        error,
        f"{table}: the domain {row['name']}, which a user created and {row['owner']} owns, refuses what rows of Canvas "
        "get in a column of it. Nothing was changed. Give that column a default that fits, or run "
        f"{row['command']}, then clear the task.",
    )


async def publication(
    connection: asyncpg.Connection, table: TableName, error: asyncpg.PostgresError
) -> TableFailure | None:
    """The failure if a publication does not let rows be updated or deleted: subscribers could not find them."""
    row = await connection.fetchrow(_PUBLISHED, table.quoted) if error.sqlstate == "42P10" else None
    if row is None or not row["names"]:
        return None
    return TableFailure.because_of(
        error,
        f"{table}: PostgreSQL refuses updates and deletes, because the row filter or the list of columns of the "
        f"publication {row['names']} does not fit the table's replica identity. Nothing was changed. Run "
        f"{row['commands']}, then clear the task. When you add the table again, let the filter use only columns of "
        "the replica identity (its key, unless you changed that), and let the list have all of these.",
    )


async def unidentified(
    connection: asyncpg.Connection, table: TableName, error: asyncpg.PostgresError
) -> TableFailure | None:
    """The failure if a foreign key changes rows of a table that is published, and has nothing that tells them apart."""
    rows = await connection.fetch(_UNIDENTIFIED, table.quoted) if error.sqlstate == "55000" else []
    if not rows:
        return None
    names = " and ".join(row["name"] for row in rows)
    return TableFailure.because_of(
        error,
        f"{table}: foreign keys change {names} together with this table, but PostgreSQL refuses that, because of a "
        "publication and because no replica identity tells its rows apart. Nothing was changed. Give it a primary "
        f"key, or run {'; '.join(row['command'] for row in rows)}, then clear the task.",
    )


async def owners(
    connection: asyncpg.Connection, table: TableName, error: asyncpg.PostgresError, meaning: TableFailure
) -> TableFailure | None:
    """The failure if a right is missing, and the table or a type of it is not ours: no GRANT lets us change it.

    :param meaning: the failure without that.
    """
    rows = await connection.fetch(_OWNED_BY_OTHERS, table.quoted) if error.sqlstate == "42501" else []
    if not rows:
        return None
    owned = " and ".join(f"{row['name']} ({row['owner']})" for row in rows)
    return TableFailure(
        f"{meaning.message} Other roles own {owned}, and only an owner may change them: run "
        f"{'; '.join(row['command'] for row in rows)}, then clear the task.",
        cause=meaning.cause,
        type=meaning.type,
    )


_DOMAIN = """
SELECT format('%I.%I', nspname, typname) AS name, pg_get_userbyid(typowner)::text AS owner,
       format('ALTER DOMAIN %I.%I DROP ', nspname, typname)
           || coalesce('CONSTRAINT ' || quote_ident($3::text), 'NOT NULL') AS command
FROM pg_type t JOIN pg_namespace n ON n.oid = typnamespace WHERE typtype = 'd' AND nspname = $1 AND typname = $2"""

# A publication may name the table, or a partitioned one that it belongs to.
_PUBLISHED = r"""
WITH loaded AS (
    SELECT oid, CASE relreplident WHEN 'f' THEN ARRAY(SELECT attnum FROM pg_attribute WHERE attrelid = c.oid)
           ELSE (SELECT indkey::int2[] FROM pg_index WHERE indrelid = c.oid
                 AND CASE relreplident WHEN 'i' THEN indisreplident ELSE indisprimary END) END AS keys
    FROM pg_class c WHERE oid = to_regclass($1::text)
)
SELECT string_agg(DISTINCT quote_ident(pubname), ', ') AS names,
       string_agg(format('ALTER PUBLICATION %I DROP TABLE %I.%I', pubname, nspname, relname), '; ') AS commands
FROM loaded, pg_publication_rel r JOIN pg_publication p ON p.oid = prpubid
JOIN pg_class c ON c.oid = prrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE (pubupdate OR pubdelete) AND (prqual IS NOT NULL OR prattrs IS NOT NULL)
  AND (prrelid IN (SELECT pg_partition_ancestors(loaded.oid)) OR prrelid = loaded.oid)
  AND (prrelid <> loaded.oid OR NOT keys <@ prattrs::int2[] OR EXISTS (
      SELECT FROM pg_attribute WHERE attrelid = prrelid AND attnum > 0 AND NOT attisdropped AND attnum <> ALL (keys)
      AND pg_get_expr(prqual, prrelid) ~ concat('\m', regexp_replace(attname, '\W', '\\\&', 'g'), '\M')))"""

# Tables whose rows change with those of ours, at any depth.
_UNIDENTIFIED = """
WITH RECURSIVE changed AS (
    SELECT to_regclass($1::text)::oid AS oid
  UNION
    SELECT conrelid FROM pg_constraint JOIN changed ON confrelid = changed.oid
    WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
)
SELECT format('%I.%I', nspname, relname) AS name,
       format('ALTER TABLE %I.%I REPLICA IDENTITY FULL', nspname, relname) AS command
FROM changed JOIN pg_class c ON c.oid = changed.oid JOIN pg_namespace n ON n.oid = relnamespace
WHERE c.oid <> to_regclass($1::text) AND relkind = 'r' AND relreplident <> 'f' AND NOT EXISTS (
    SELECT FROM pg_index WHERE indrelid = c.oid
    AND CASE relreplident WHEN 'd' THEN indisprimary WHEN 'i' THEN indisreplident END
) AND EXISTS (
    SELECT FROM pg_publication_tables t JOIN pg_publication p ON p.pubname = t.pubname
    WHERE t.schemaname = nspname AND t.tablename = relname AND (pubupdate OR pubdelete)
) ORDER BY 1"""

# Only an owner may change a table or a type, whatever is granted.
_OWNED_BY_OTHERS = """
SELECT lower(kind) || ' ' || name AS name, pg_get_userbyid(owner)::text AS owner,
       format('ALTER %s %s OWNER TO %I', kind, name, current_user) AS command
FROM (
    SELECT 'TABLE' AS kind, format('%I.%I', nspname, relname) AS name, relowner AS owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid = to_regclass($1::text)
  UNION
    SELECT 'TYPE', format('%I.%I', nspname, t.typname), t.typowner
    FROM pg_attribute JOIN pg_type used ON used.oid = atttypid JOIN pg_type t ON t.oid IN (used.oid, used.typelem)
    JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped AND t.typtype = 'e'
) AS found
WHERE NOT pg_has_role(owner, 'USAGE') ORDER BY kind, name"""
