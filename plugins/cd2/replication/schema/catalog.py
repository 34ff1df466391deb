"""PostgreSQL's catalog -> a table as pysqlsync sees it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from pysqlsync.dialect.postgresql.data_types import PostgreSQLJsonType
from pysqlsync.dialect.postgresql.discovery import to_default_expr
from pysqlsync.formation.data_types import SqlDiscovery, SqlDiscoveryOptions
from pysqlsync.formation.object_types import Column
from pysqlsync.model.data_types import (
    SqlArrayType,
    SqlDataType,
    SqlIntervalType,
    SqlJsonType,
    SqlUserDefinedType,
    SqlVariableCharacterType,
)
from pysqlsync.model.id_types import GlobalId, LocalId, QualifiedId

from cd2.replication.names import TableName, quote_identifier

if TYPE_CHECKING:
    from cd2.replication.schema.model import TableModel

RELATION = """
SELECT c.oid, c.relkind::text AS kind, obj_description(c.oid, 'pg_class') AS description,
       k.conname AS key_name,
       array(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS x(number, place)
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = x.number ORDER BY place) AS key
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'p'
WHERE n.nspname = $1 AND c.relname = $2"""

# held: PostgreSQL does not let it be without NOT NULL, because of what people made of it.
COLUMNS = """
SELECT a.attname AS name, CASE a.attgenerated WHEN '' THEN a.attnum END AS number,
       a.attnotnull AS required, a.attidentity <> '' AS identity,
       a.attidentity <> '' OR EXISTS (
           SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisreplident
               AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS held,
       format_type(a.atttypid, a.atttypmod) AS definition, a.attndims <> 0 OR t.typcategory = 'A' AS is_array,
       coalesce(e.typname, t.typname) AS type_name, n.nspname AS type_schema,
       coalesce(e.typtype, t.typtype) = 'e' AS enumerated,
       CASE WHEN a.attstorage <> t.typstorage THEN a.attstorage::text END AS storage,
       nullif(a.attcompression::text, '') AS compression,
       pg_get_expr(d.adbin, d.adrelid) AS default_value, col_description(a.attrelid, a.attnum) AS description
FROM pg_attribute a
JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
JOIN pg_namespace n ON n.oid = coalesce(e.typnamespace, t.typnamespace)
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""

# Which table it is, and its columns with their types and values: changes with whatever people do to them.
_STATE = """
SELECT string_agg(concat_ws(' ', attrelid, attnum, attname, atttypid, atttypmod, ARRAY(
    SELECT enumlabel::text FROM pg_enum WHERE enumtypid IN (t.oid, typelem) ORDER BY enumsortorder
)), '; ' ORDER BY attnum)
FROM pg_attribute a JOIN pg_type t ON t.oid = atttypid
WHERE attrelid = to_regclass($1::text) AND attnum > 0 AND NOT attisdropped"""

ENUMS = """
SELECT t.typname AS name, array_agg(e.enumlabel::text ORDER BY e.enumsortorder) AS labels
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid JOIN pg_namespace n ON n.oid = t.typnamespace
WHERE n.nspname = $1 AND t.typname = ANY($2::text[])
GROUP BY t.typname"""

# The official client's tables of values: `users__kind (id, value)` for an integer column `kind` of `users`.
_LOOKUPS = """
SELECT a.attname AS name, l.relname AS lookup, fk.conname AS reference
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_class l ON l.relnamespace = c.relnamespace AND l.relkind = 'r'
    AND l.relname = (c.relname || '__' || a.attname)::name
LEFT JOIN pg_constraint fk ON fk.conrelid = c.oid AND fk.confrelid = l.oid AND fk.conkey = ARRAY[a.attnum]
WHERE c.oid = $1 AND a.atttypid = 'integer'::regtype AND a.attname = ANY ($2::text[])
  AND ARRAY['id integer', 'value character varying'] = ARRAY(
      SELECT attname || ' ' || format_type(atttypid, NULL) FROM pg_attribute
      WHERE attrelid = l.oid AND attnum > 0 AND NOT attisdropped ORDER BY attnum)"""


_COLLATIONS = """
SELECT a.attname::text AS column, a.attcollation::regcollation::text AS name, c.collisdeterministic AS exact
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped AND a.attcollation <> t.typcollation"""

_CONSTANT = re.compile(r"('(?:[^']|'')*')::([^']+)")
_LIMITED = re.compile(r"interval\W.+|time\(.+")
_NUMBER = re.compile("smallint|integer|bigint|real|double|numeric")


@dataclass(frozen=True)
class Collation:
    """A collation that a user has given a column.

    :param name: quoted, for SQL.
    :param exact: only equal texts are equal. PostgreSQL calls that deterministic.
    """

    name: str
    exact: bool


async def state(connection: asyncpg.Connection, table: TableName) -> str | None:
    """A text that changes with the columns of a table, their types and values; None: there is no such table."""
    return await connection.fetchval(_STATE, table.quoted)  # type: ignore[no-any-return]


async def collations(connection: asyncpg.Connection, model: TableModel) -> dict[str, Collation]:
    """The collations that users have given those columns which the model has as texts, by column."""
    texts = {column.name for column in model.columns if column.text}
    rows = await connection.fetch(_COLLATIONS, model.name.quoted)
    return {row["column"]: Collation(row["name"], row["exact"]) for row in rows if row["column"] in texts}


@dataclass(frozen=True)
class Lookup:
    """A column for which the official client keeps numbers instead of values.

    :param column: its name.
    :param release: drops the column's reference to the table of values, if it has one.
    :param translate: makes the column a text with the values.
    :param drop: drops the table of values.
    :param incomplete: rows have numbers that are not in the table of values: only Canvas knows their values.
    """

    column: str
    release: str
    translate: str
    drop: str
    incomplete: bool


async def read_lookups(
    connection: asyncpg.Connection, table: TableName, relation: int, columns: Sequence[str]
) -> list[Lookup]:
    """Those of these columns for which the official client keeps numbers."""
    found = []
    for row in await connection.fetch(_LOOKUPS, relation, list(columns)):
        lookup, name = QualifiedId(table.namespace, row["lookup"]), quote_identifier(row["name"])
        # ALTER COLUMN ... USING takes no query, but a function; the table is then written once.
        function = f"cd2.look_up_{secrets.token_hex(8)}"
        release = f"ALTER TABLE {table.quoted} DROP CONSTRAINT {quote_identifier(row['reference'] or '')};"
        translate = (
            f"CREATE FUNCTION {function}(integer) RETURNS text LANGUAGE sql STABLE "
            f"AS $cd2$SELECT value::text FROM {lookup} WHERE id = $1$cd2$;\n"
            f"ALTER TABLE {table.quoted} ALTER COLUMN {name} TYPE text USING {function}({name});\n"
            f"DROP FUNCTION {function}(integer);"
        )
        incomplete = await connection.fetchval(
            f"SELECT EXISTS (SELECT {name} FROM {table.rows} WHERE {name} IS NOT NULL EXCEPT SELECT id FROM {lookup} "
            "WHERE value IS NOT NULL)"
        )
        release = release if row["reference"] else ""
        found.append(Lookup(row["name"], release, translate, f"DROP TABLE {lookup}", incomplete))
    return found


def unknown_numbers(table: TableName, lookups: Sequence[Lookup]) -> tuple[str, ...]:
    """Sentences about columns whose numbers are not all in the client's table of values."""
    return tuple(
        f"{table}: {lookup.column} had numbers of the official client that its table of values lacks: rows that DAP no "
        "longer has are without a value there."
        for lookup in lookups
        if lookup.incomplete
    )


_STORAGE = {"p": "PLAIN", "e": "EXTERNAL", "m": "MAIN", "x": "EXTENDED"}
_COMPRESSION = {"l": "lz4", "p": "pglz"}


def as_stored(table: TableName, row: Mapping[str, Any], data_type: SqlDataType) -> str | None:
    """A statement that stores a column as people wanted: with a new type PostgreSQL forgets that. None: they did not.

    :param row: of `COLUMNS`, before the change.
    :param data_type: its new type; only those of any length can be stored in several ways.
    """
    if not isinstance(data_type, SqlVariableCharacterType | SqlJsonType | SqlArrayType):
        return None
    column = f"ALTER COLUMN {quote_identifier(row['name'])}"
    wanted = [f"{column} SET STORAGE {_STORAGE[row['storage']]}"] if row["storage"] else []
    wanted += [f"{column} SET COMPRESSION {_COMPRESSION[row['compression']]}"] if row["compression"] else []
    return f"ALTER TABLE {table.quoted} {', '.join(wanted)};" if wanted else None


_DISCOVERY = SqlDiscovery(
    SqlDiscoveryOptions(
        substitutions={
            "jsonb": PostgreSQLJsonType(),
            "inet": SqlUserDefinedType(GlobalId("inet")),
            "interval": SqlIntervalType(),
        }
    )
)


def as_column(row: Mapping[str, Any]) -> Column:
    """A row of `COLUMNS`."""
    definition = row["definition"].removesuffix("[]")
    data_type = _DISCOVERY.sql_data_type_from_spec(
        type_name=row["type_name"], type_schema=row["type_schema"], type_def=definition
    )
    if limited := _LIMITED.match(definition):
        # The client does not see that it rounds: time(0), interval day to second. No type of ours has the name.
        data_type = SqlUserDefinedType(QualifiedId("pg_catalog", limited[0]))
    return Column(
        LocalId(row["name"]),
        SqlArrayType(data_type) if row["is_array"] else data_type,
        not row["required"],
        identity=row["identity"],
        default=_default(row["default_value"]),
        description=row["description"] or None,
    )


def _default(expression: str | None) -> str | None:
    """A column's default as the official client writes it: PostgreSQL adds the type, and quotes negative numbers."""
    default = to_default_expr(expression)
    if default and (constant := _CONSTANT.fullmatch(default)):
        text: str = constant[1]
        return text.strip("'") if _NUMBER.match(constant[2]) else text
    return default
