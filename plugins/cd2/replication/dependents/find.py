"""Which views depend on a table, in which order, and what forbids dropping and recreating them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

import asyncpg

from cd2.replication.errors import TableFailure
from cd2.replication.names import TableName

SHOWN = 20
"""At most this many obstacles are named in one message."""


@dataclass(frozen=True)
class Dependent:
    """A view or materialized view on a table.

    :param sql_name: qualified and quoted.
    :param lock: a statement that changes nothing and takes the strongest lock on it. LOCK TABLE would lock every table
        that the view reads, and rejects materialized views.
    :param rules: quoted names of the user's rules on it.
    """

    oid: int
    qualified_name: str
    sql_name: str
    kind: str
    owner: str
    lock: str
    rules: tuple[str, ...]


async def table_oid(connection: asyncpg.Connection, table: TableName) -> int | None:
    """The oid of a table; None if it does not exist."""
    oid: int | None = await connection.fetchval(
        "SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = $1 AND relname = $2",
        table.namespace,
        table.table,
    )
    return oid


async def find(connection: asyncpg.Connection, table: TableName, oid: int) -> list[Dependent]:
    """All views on a table, at any depth and in any schema; each comes after those that it selects from.

    :param oid: of the table.
    :raises TableFailure: views select from each other in a cycle.
    """
    rows = await connection.fetch(_FIND, oid)
    found = {
        row["oid"]: Dependent(**{key: row[key] for key in _FIND_COLUMNS}, rules=tuple(row["rules"])) for row in rows
    }
    sorter: TopologicalSorter[int] = TopologicalSorter({oid: set() for oid in found})
    for edge in await connection.fetch(_EDGES, list(found)):
        sorter.add(edge["view"], edge["used"])
    try:
        return [found[oid] for oid in sorter.static_order()]
    except CycleError as error:
        names = ", ".join(found[view].qualified_name for view in error.args[1])
        raise TableFailure(
            f"{table}: its schema changed, so the views on it must be dropped and recreated, but {names} select from "
            "each other in a cycle and can be neither used nor recreated. Drop them, then clear the task. Nothing was "
            "changed."
        ) from None


async def check_obstacles(connection: asyncpg.Connection, table: TableName, found: Sequence[Dependent]) -> None:
    """Check that these views of a table can be dropped, and recreated as they are.

    :raises TableFailure: they cannot; names everything that is in the way, and what to do.
    """
    oids = [dependent.oid for dependent in found]
    memberships = await connection.fetch(_MEMBERSHIPS.format(right=_right_to_become(connection)), oids)
    schemas = await connection.fetch(_SCHEMA_RIGHTS, oids)
    rights = [
        *(f"{row['views']} belongs to {row['owner']}: {row['command']}" for row in memberships),
        *(f"{row['views']} is in the schema {row['schema']}: {row['command']}" for row in schemas),
    ]
    others = [row["object"] for row in await connection.fetch(_OBSTACLES, oids)]
    sentences = []
    if rights:
        sentences.append(f"Rights are missing to recreate them. {_listed(rights)}.")
    if others:
        sentences.append(
            f"These objects are in the way, because they are neither views nor part of one: {_listed(others)}. "
            "Drop them, and recreate them after the sync."
        )
    if sentences:
        raise TableFailure(
            f"{table}: its schema changed, so the views on it must be dropped and recreated. {' '.join(sentences)} "
            "Then clear the task. Nothing was changed.",
            cause="InsufficientPrivilegeError" if rights else "DependentObjectsStillExistError",
            type="42501" if rights else "2BP01",
        )


def _right_to_become(connection: asyncpg.Connection) -> str:
    """The right that SET ROLE requires: up to PostgreSQL 15, any membership gives it."""
    return "SET" if connection.get_server_version().major >= 16 else "MEMBER"


def _listed(phrases: Sequence[str]) -> str:
    more = len(phrases) - SHOWN
    return "; ".join(phrases[:SHOWN]) + (f"; and {more} more" if more > 0 else "")


_FIND_COLUMNS = ("oid", "qualified_name", "sql_name", "kind", "owner", "lock")
# A table that inherits from `$1` changes with it.
_FIND = """
WITH RECURSIVE family(oid) AS (
    SELECT $1::oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid
), dependent(oid) AS (
    SELECT oid FROM family
  UNION
    SELECT view.oid
    FROM dependent
    JOIN pg_class used ON used.oid = dependent.oid
    LEFT JOIN pg_type row_type ON row_type.oid = used.reltype
    CROSS JOIN LATERAL (VALUES
        ('pg_class'::regclass, used.oid), ('pg_type'::regclass, row_type.oid), ('pg_type'::regclass, row_type.typarray)
    ) AS object(class, oid)
    JOIN pg_depend d ON d.refclassid = object.class AND d.refobjid = object.oid
    JOIN pg_rewrite rule ON d.classid = 'pg_rewrite'::regclass AND d.objid = rule.oid
    JOIN pg_class view ON view.oid = rule.ev_class AND view.relkind IN ('v', 'm')
)
SELECT c.oid, nspname || '.' || relname AS qualified_name, format('%I.%I', nspname, relname) AS sql_name,
       kind, pg_get_userbyid(relowner) AS owner,
       format('ALTER %s %I.%I OWNER TO %I', kind, nspname, relname, pg_get_userbyid(relowner)) AS lock,
       ARRAY(SELECT quote_ident(rulename) FROM pg_rewrite WHERE ev_class = c.oid AND rulename <> '_RETURN') AS rules
FROM dependent
JOIN pg_class c ON c.oid = dependent.oid AND c.relkind IN ('v', 'm')
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (SELECT CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind) AS k
ORDER BY c.oid"""

_EDGES = """
SELECT DISTINCT rule.ev_class AS view, used.oid AS used
FROM pg_rewrite rule
JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = rule.oid
LEFT JOIN pg_type t ON d.refclassid = 'pg_type'::regclass AND t.oid = d.refobjid
LEFT JOIN pg_type element ON element.oid = t.typelem
JOIN pg_class used ON (d.refclassid = 'pg_class'::regclass AND used.oid = d.refobjid)
    OR used.oid IN (t.typrelid, element.typrelid)
WHERE rule.ev_class = ANY ($1::oid[]) AND rule.rulename = '_RETURN'
  AND used.oid = ANY ($1::oid[]) AND used.oid <> rule.ev_class
ORDER BY 1, 2"""

# A member without the right to SET ROLE (PostgreSQL 16) needs the option spelled out. Nobody should become a superuser
# for a view.
_MEMBERSHIPS = """
SELECT rolname AS owner, string_agg(nspname || '.' || relname, ', ' ORDER BY c.oid) AS views,
       CASE WHEN rolsuper THEN string_agg(
           format('ALTER %s "%s"."%s" OWNER TO "%s"', CASE relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END,
                  replace(nspname, '"', '""'), replace(relname, '"', '""'), replace(session_user, '"', '""')),
           '; ' ORDER BY c.oid)
       ELSE format('GRANT "%s" TO "%s"%s', replace(rolname, '"', '""'), replace(session_user, '"', '""'),
                   CASE WHEN pg_has_role(session_user, relowner, 'MEMBER') THEN ' WITH SET TRUE' END) END AS command
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_roles owner ON owner.oid = relowner
WHERE c.oid = ANY ($1::oid[]) AND rolname <> current_user AND NOT pg_has_role(session_user, relowner, '{right}')
GROUP BY relowner, rolname, rolsuper ORDER BY 1"""

_SCHEMA_RIGHTS = """
SELECT nspname AS schema, string_agg(nspname || '.' || relname, ', ' ORDER BY c.oid) AS views,
       format('GRANT %s ON SCHEMA "%s" TO "%s"',
              concat_ws(', ', CASE WHEN NOT may_create THEN 'CREATE' END, CASE WHEN NOT may_use THEN 'USAGE' END),
              replace(nspname, '"', '""'), replace(pg_get_userbyid(relowner), '"', '""')) AS command
FROM pg_class c
JOIN pg_namespace n ON n.oid = relnamespace
CROSS JOIN LATERAL (SELECT has_schema_privilege(relowner, n.oid, 'CREATE') AS may_create,
                           has_schema_privilege(relowner, n.oid, 'USAGE') AS may_use) AS has
WHERE c.oid = ANY ($1::oid[]) AND NOT (may_create AND may_use)
  AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
GROUP BY nspname, relowner, may_create, may_use ORDER BY 1"""

# `dropped`: everything that is dropped with the views. Sequences are detached first; the other kinds can be recreated.
_OBSTACLES = """
WITH RECURSIVE dropped(class, oid) AS (
    SELECT 'pg_class'::regclass::oid, oid FROM unnest($1::oid[]) AS oid
  UNION
    SELECT d.classid, d.objid
    FROM dropped
    JOIN pg_depend d ON d.refclassid = dropped.class AND d.refobjid = dropped.oid AND d.deptype IN ('a', 'i')
    WHERE NOT EXISTS (
        SELECT FROM pg_class WHERE d.classid = 'pg_class'::regclass AND pg_class.oid = d.objid AND relkind = 'S'
    )
)
SELECT format('%s uses %s (%s)', pg_describe_object(classid, objid, objsubid),
              string_agg(DISTINCT pg_describe_object(refclassid, refobjid, refobjsubid), ', '), command) AS object
FROM dropped JOIN pg_depend d ON d.refclassid = dropped.class AND d.refobjid = dropped.oid AND d.deptype = 'n'
CROSS JOIN LATERAL pg_identify_object(classid, objid, objsubid) AS known
LEFT JOIN pg_constraint con ON classid = 'pg_constraint'::regclass AND con.oid = objid
LEFT JOIN pg_attrdef def ON classid = 'pg_attrdef'::regclass AND def.oid = objid
LEFT JOIN pg_attribute a ON attrelid = coalesce(adrelid, CASE classid WHEN 'pg_class'::regclass THEN objid END)
    AND attnum = coalesce(adnum, objsubid) AND attnum > 0
LEFT JOIN pg_class c ON c.oid = attrelid
CROSS JOIN LATERAL (SELECT CASE
    WHEN adnum IS NOT NULL AND attgenerated = ''
        THEN format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', attrelid::regclass, attname)
    WHEN conrelid <> 0 THEN format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
    WHEN contypid <> 0 THEN format('ALTER DOMAIN %s DROP CONSTRAINT %I', contypid::regtype, conname)
    WHEN relkind = 'c' THEN format('ALTER TYPE %s DROP ATTRIBUTE %I', attrelid::regclass, attname)
    WHEN attname IS NOT NULL THEN format('ALTER TABLE %s DROP COLUMN %I', attrelid::regclass, attname)
    ELSE format('DROP %s %s', upper(known.type), known.identity) END AS command) AS how
WHERE (classid, objid) NOT IN (SELECT class, oid FROM dropped)
GROUP BY classid, objid, objsubid, command
UNION
SELECT format('%s would be lost', pg_describe_object(class, oid, 0))
FROM dropped
WHERE class NOT IN ('pg_class'::regclass, 'pg_type'::regclass, 'pg_rewrite'::regclass, 'pg_trigger'::regclass,
                    'pg_attrdef'::regclass, 'pg_statistic_ext'::regclass)
UNION
SELECT format('%s belongs to the extension %I (ALTER EXTENSION %2$I DROP %3$s)',
              pg_describe_object(d.classid, d.objid, 0), extname,
              (SELECT upper(type) || ' ' || identity FROM pg_identify_object(d.classid, d.objid, 0)))
FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
WHERE d.classid = 'pg_class'::regclass AND d.objid = ANY ($1::oid[]) AND d.deptype = 'e'
UNION
SELECT format('temporary view %I is another session''s and ends with it', relname)
FROM pg_class WHERE oid = ANY ($1::oid[]) AND relpersistence = 't'
ORDER BY 1"""
