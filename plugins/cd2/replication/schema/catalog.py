"""PostgreSQL's catalog -> a table as pysqlsync sees it."""

from __future__ import annotations

import asyncpg
from pysqlsync.dialect.postgresql.data_types import PostgreSQLJsonType
from pysqlsync.dialect.postgresql.discovery import to_default_expr
from pysqlsync.formation.data_types import SqlDiscovery, SqlDiscoveryOptions
from pysqlsync.formation.object_types import Column
from pysqlsync.model.data_types import SqlArrayType, SqlUserDefinedType
from pysqlsync.model.id_types import GlobalId, LocalId

RELATION = """
SELECT c.oid, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS description,
       k.conname AS key_name,
       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS x(number, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.number ORDER BY place) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = $1 AND c.relname = $2"""

COLUMNS = """
SELECT a.attname AS name, a.attnotnull AS required, a.attidentity <> '' AS identity,
       format_type(a.atttypid, a.atttypmod) AS definition, a.attndims <> 0 OR t.typcategory = 'A' AS is_array,
       coalesce(e.typname, t.typname) AS type_name, n.nspname AS type_schema,
       coalesce(e.typtype, t.typtype) = 'e' AS enumerated,
       pg_get_expr(d.adbin, d.adrelid) AS default_value, col_description(a.attrelid, a.attnum) AS description
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
JOIN pg_namespace n ON n.oid = coalesce(e.typnamespace, t.typnamespace)
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""

ENUMS = """
SELECT t.typname AS name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = $1 AND t.typname = ANY($2)
GROUP BY t.typname"""

_DISCOVERY = SqlDiscovery(
    SqlDiscoveryOptions(substitutions={"jsonb": PostgreSQLJsonType(), "inet": SqlUserDefinedType(GlobalId("inet"))})
)


def as_column(row: asyncpg.Record) -> Column:
    """A row of `COLUMNS`."""
    data_type = _DISCOVERY.sql_data_type_from_spec(
        type_name=row["type_name"], type_schema=row["type_schema"], type_def=row["definition"].removesuffix("[]")
    )
    return Column(
        LocalId(row["name"]),
        SqlArrayType(data_type) if row["is_array"] else data_type,
        not row["required"],
        identity=row["identity"],
        default=to_default_expr(row["default_value"]),
        description=row["description"] or None,
    )
