"""PostgreSQL's catalog -> the statements that recreate the views on a table.

Read in a `view_session`, so that names come out qualified and constants mean the same in every session.
"""

from __future__ import annotations

import asyncpg

from cd2.replication.dependents.view import Privilege, Step, View


async def read_views(connection: asyncpg.Connection, oids: list[int], table: int) -> list[View]:
    """Everything about these views of a table, in the order of `oids`; requires a `view_session` and locks on them."""
    tables: dict[int, list[str]] = {}
    for row in await connection.fetch(_TABLES, oids, table):
        tables.setdefault(row["view"], []).append(row["name"])
    steps: dict[int, list[Step]] = {}
    for row in await connection.fetch(_STEPS, oids):
        steps.setdefault(row["oid"], []).append(Step(row["sql"], row["kind"]))
    detach: dict[int, list[str]] = {}
    for row in await connection.fetch(_DETACH, oids):
        detach.setdefault(row["oid"], []).append(row["sql"])
    privileges: dict[int, list[Privilege]] = {}
    for row in await connection.fetch(_PRIVILEGES, oids):
        privileges.setdefault(row["oid"], []).append(Privilege(**{k: v for k, v in row.items() if k != "oid"}))
    rows = {row["oid"]: row for row in await connection.fetch(_VIEWS, oids)}
    return [
        View(
            **{key: rows[oid][key] for key in ("schema", "name", "sql_name", "kind", "owner", "create")},
            tables=tuple(tables.get(oid, ())),
            detach=tuple(detach.get(oid, ())),
            steps=tuple(steps.get(oid, ())),
            privileges=tuple(privileges.get(oid, ())),
        )
        for oid in oids
    ]


async def read_privileges(connection: asyncpg.Connection, sql_name: str) -> list[Privilege]:
    """The current access control list of a relation."""
    rows = await connection.fetch(_PRIVILEGES, [await oid_of(connection, sql_name)])
    return [Privilege(**{key: value for key, value in row.items() if key != "oid"}) for row in rows]


async def oid_of(connection: asyncpg.Connection, sql_name: str) -> int | None:
    """The oid of a relation by its quoted and qualified name; None if it does not exist."""
    oid: int | None = await connection.fetchval("SELECT pg_catalog.to_regclass($1)::oid", sql_name)
    return oid


_NAMED = """
WITH view AS MATERIALIZED (
    SELECT c.*, n.nspname, format('%I.%I', n.nspname, c.relname) AS sql_name,
           CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END AS kind
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY ($1::oid[])
)"""

# An explicit column list, because a definition does not always name the columns (VALUES, renamed columns).
_VIEWS = f"""{_NAMED}
SELECT view.oid, nspname AS schema, relname AS name, sql_name, kind, pg_get_userbyid(relowner) AS owner,
       concat(
           'CREATE ', kind, ' ', sql_name,
           (SELECT ' (' || string_agg(quote_ident(attname), ', ' ORDER BY attnum) || ')'
            FROM pg_attribute WHERE attrelid = view.oid AND attnum > 0 AND NOT attisdropped),
           (SELECT ' USING ' || quote_ident(amname) FROM pg_am WHERE pg_am.oid = relam),
           (SELECT ' WITH (' || string_agg(format(
                        '%s%I=%L', prefix, split_part(option, '=', 1), substr(option, strpos(option, '=') + 1)
                    ), ', ') || ')'
            FROM (SELECT '' AS prefix, unnest(view.reloptions) AS option
                  UNION ALL
                  SELECT 'toast.', unnest(toast.reloptions) FROM pg_class toast WHERE toast.oid = view.reltoastrelid
                 ) AS options),
           (SELECT ' TABLESPACE ' || quote_ident(spcname) FROM pg_tablespace s WHERE s.oid = reltablespace),
           ' AS', chr(10), rtrim(pg_get_viewdef(view.oid), ';'),
           CASE relkind WHEN 'm' THEN chr(10) || 'WITH NO DATA' END
       ) AS create
FROM view"""

# The tables below the views, at any depth; `$2` is included even if only its row type is used.
_TABLES = """
WITH RECURSIVE uses(view, relation) AS (
    SELECT oid, oid FROM unnest($1::oid[]) AS oid
  UNION
    SELECT uses.view, d.refobjid
    FROM uses
    JOIN pg_rewrite r ON r.ev_class = uses.relation
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
)
SELECT DISTINCT uses.view, format('%I.%I', n.nspname, c.relname) AS name
FROM (SELECT view, relation FROM uses UNION SELECT oid, $2::oid FROM unnest($1::oid[]) AS oid) AS uses
JOIN pg_class c ON c.oid = uses.relation AND c.relkind IN ('r', 'p', 'f')
JOIN pg_namespace n ON n.oid = c.relnamespace
ORDER BY 1, 2"""

# Sequences would be dropped with the view that owns them, but people see them as separate objects.
_OWNED_SEQUENCES = """
    SELECT view.oid, view.sql_name, a.attname, a.attnum, format('%I.%I', sn.nspname, s.relname) AS sequence
    FROM view
    JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = view.oid
        AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
    JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_namespace sn ON sn.oid = s.relnamespace
    JOIN pg_attribute a ON a.attrelid = view.oid AND a.attnum = d.refobjsubid"""

_DETACH = (
    _NAMED
    + "SELECT oid, format('ALTER SEQUENCE %s OWNED BY NONE', sequence) AS sql FROM ("
    + _OWNED_SEQUENCES
    + ") AS s"
)

_STEPS = (
    _NAMED
    + """, index AS (
    SELECT view.oid AS view, view.sql_name AS view_name, view.kind, i.*, c.relname, c.reltablespace,
           format('%I.%I', view.nspname, c.relname) AS sql_name
    FROM view JOIN pg_index i ON i.indrelid = view.oid JOIN pg_class c ON c.oid = i.indexrelid
    WHERE i.indisvalid
), statistic AS (
    SELECT view.oid AS view, s.*, to_jsonb(s) ->> 'stxstattarget' AS target,
           format('%I.%I', n.nspname, s.stxname) AS sql_name
    FROM view JOIN pg_statistic_ext s ON s.stxrelid = view.oid JOIN pg_namespace n ON n.oid = s.stxnamespace
), col AS (
    SELECT view.oid AS view, view.sql_name AS view_name, view.kind, a.attname, a.attnum, a.attoptions, a.attstorage,
           t.typstorage, to_jsonb(a) ->> 'attcompression' AS compression,
           coalesce((to_jsonb(a) ->> 'attstattarget')::int, -1) AS target, a.attrelid
    FROM view
    JOIN pg_attribute a ON a.attrelid = view.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
)
SELECT oid, kind, sql FROM (
    -- how a materialized view keeps its columns
    SELECT view AS oid, 10 AS phase, attnum::bigint AS place, 'detail' AS kind,
           format('ALTER MATERIALIZED VIEW %s ALTER COLUMN %I SET STATISTICS %s', view_name, attname, target) AS sql
    FROM col WHERE target >= 0 AND kind <> 'VIEW'
  UNION ALL
    SELECT view, 11, attnum, 'detail', format(
        'ALTER MATERIALIZED VIEW %s ALTER COLUMN %I SET STORAGE %s', view_name, attname,
        CASE attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END)
    FROM col WHERE kind <> 'VIEW' AND attstorage <> typstorage
  UNION ALL
    SELECT view, 12, attnum, 'detail', format(
        'ALTER MATERIALIZED VIEW %s ALTER COLUMN %I SET COMPRESSION %s', view_name, attname,
        CASE compression WHEN 'l' THEN 'lz4' ELSE 'pglz' END)
    FROM col WHERE kind <> 'VIEW' AND compression IN ('l', 'p')
  UNION ALL
    SELECT view, 13, attnum, 'detail', format(
        'ALTER MATERIALIZED VIEW %s ALTER COLUMN %I SET (%s)', view_name, attname,
        (SELECT string_agg(format('%I=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', ')
         FROM unnest(attoptions) AS o))
    FROM col WHERE kind <> 'VIEW' AND attoptions IS NOT NULL
  UNION ALL
    SELECT oid, 20, 0, 'refresh', format('REFRESH MATERIALIZED VIEW %s', sql_name)
    FROM view WHERE relkind = 'm' AND relispopulated
    -- indexes; an invalid one is the leftover of a failed CREATE INDEX CONCURRENTLY
  UNION ALL
    SELECT view, 30, indexrelid::bigint, 'detail', concat(
        (SELECT format('SET LOCAL default_tablespace = %L; ', spcname) FROM pg_tablespace WHERE oid = reltablespace),
        pg_get_indexdef(indexrelid),
        CASE WHEN reltablespace <> 0 THEN '; SET LOCAL default_tablespace = ''''' END)
    FROM index
  UNION ALL
    SELECT index.view, 31, a.attnum, 'detail', format(
        'ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', index.sql_name, a.attnum, to_jsonb(a) ->> 'attstattarget')
    FROM index JOIN pg_attribute a ON a.attrelid = indexrelid AND (to_jsonb(a) ->> 'attstattarget')::int >= 0
  UNION ALL
    SELECT view, 32, indexrelid::bigint, 'detail', format('ALTER %s %s CLUSTER ON %I', kind, view_name, relname)
    FROM index WHERE indisclustered
  UNION ALL
    SELECT view, 33, indexrelid::bigint, 'detail',
           format('COMMENT ON INDEX %s IS %L', sql_name, obj_description(indexrelid, 'pg_class'))
    FROM index WHERE obj_description(indexrelid, 'pg_class') IS NOT NULL
  UNION ALL
    SELECT view.oid, 34, 0, 'detail', format(
        'ALTER %s %s REPLICA IDENTITY %s', kind, sql_name,
        CASE relreplident WHEN 'f' THEN 'FULL' WHEN 'i' THEN (
            SELECT format('USING INDEX %I', relname) FROM index WHERE view = view.oid AND indisreplident
        ) ELSE 'NOTHING' END)
    FROM view WHERE relkind = 'm' AND relreplident <> 'd'
  UNION ALL
    SELECT coalesce(view.oid, index.view), 35, 0, 'detail', format(
        'ALTER %s %s DEPENDS ON EXTENSION %I',
        CASE WHEN index.view IS NULL THEN 'MATERIALIZED VIEW' ELSE 'INDEX' END,
        coalesce(view.sql_name, index.sql_name), e.extname)
    FROM pg_depend d
    JOIN pg_extension e ON e.oid = d.refobjid
    LEFT JOIN view ON view.oid = d.objid
    LEFT JOIN index ON index.indexrelid = d.objid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.classid = 'pg_class'::regclass AND d.deptype = 'x'
        AND (view.oid IS NOT NULL OR index.view IS NOT NULL)
    -- extended statistics
  UNION ALL
    SELECT view, 40, oid::bigint, 'detail', pg_get_statisticsobjdef(oid) FROM statistic
  UNION ALL
    SELECT view, 41, oid::bigint, 'detail', format('ALTER STATISTICS %s SET STATISTICS %s', sql_name, target)
    FROM statistic WHERE target::int >= 0
  UNION ALL
    SELECT view, 42, oid::bigint, 'detail',
           format('COMMENT ON STATISTICS %s IS %L', sql_name, obj_description(oid, 'pg_statistic_ext'))
    FROM statistic WHERE obj_description(oid, 'pg_statistic_ext') IS NOT NULL
  UNION ALL
    SELECT view, 43, oid::bigint, 'detail',
           format('ALTER STATISTICS %s OWNER TO %I', sql_name, pg_get_userbyid(stxowner))
    FROM statistic
    -- what makes a view writable
  UNION ALL
    SELECT col.view, 50, attnum, 'detail', format(
        'ALTER %s %s ALTER COLUMN %I SET DEFAULT %s', kind, view_name, attname, pg_get_expr(d.adbin, d.adrelid))
    FROM col JOIN pg_attrdef d ON d.adrelid = col.attrelid AND d.adnum = col.attnum
  UNION ALL
    SELECT view.oid, 51, t.oid::bigint, 'detail', pg_get_triggerdef(t.oid)
    FROM view JOIN pg_trigger t ON t.tgrelid = view.oid AND NOT t.tgisinternal
  UNION ALL
    SELECT view.oid, 52, t.oid::bigint, 'detail', format(
        'ALTER TABLE %s %s TRIGGER %I', sql_name,
        CASE t.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, t.tgname)
    FROM view JOIN pg_trigger t ON t.tgrelid = view.oid AND NOT t.tgisinternal AND t.tgenabled <> 'O'
  UNION ALL
    SELECT view.oid, 53, t.oid::bigint, 'detail',
           format('COMMENT ON TRIGGER %I ON %s IS %L', t.tgname, sql_name, obj_description(t.oid, 'pg_trigger'))
    FROM view JOIN pg_trigger t ON t.tgrelid = view.oid AND NOT t.tgisinternal
    WHERE obj_description(t.oid, 'pg_trigger') IS NOT NULL
  UNION ALL
    SELECT view.oid, 54, t.oid::bigint, 'detail',
           format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION %I', t.tgname, sql_name, e.extname)
    FROM view
    JOIN pg_trigger t ON t.tgrelid = view.oid AND NOT t.tgisinternal
    JOIN pg_depend d ON d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'x'
    JOIN pg_extension e ON e.oid = d.refobjid
  UNION ALL
    SELECT oid, 55, attnum, 'detail', format('ALTER SEQUENCE %s OWNED BY %s.%I', sequence, sql_name, attname)
    FROM ("""
    + _OWNED_SEQUENCES
    + """) AS owned
    -- what people wrote on it
  UNION ALL
    SELECT oid, 60, 0, 'detail', format('COMMENT ON %s %s IS %L', kind, sql_name, obj_description(oid, 'pg_class'))
    FROM view WHERE obj_description(oid, 'pg_class') IS NOT NULL
  UNION ALL
    SELECT oid, 61, 0, 'detail', format('COMMENT ON TYPE %s IS %L', sql_name, obj_description(reltype, 'pg_type'))
    FROM view WHERE obj_description(reltype, 'pg_type') IS NOT NULL
  UNION ALL
    SELECT view, 61, attnum, 'detail',
           format('COMMENT ON COLUMN %s.%I IS %L', view_name, attname, col_description(view, attnum))
    FROM col WHERE col_description(view, attnum) IS NOT NULL
  UNION ALL
    SELECT view.oid, 62, l.objsubid, 'detail', format(
        'SECURITY LABEL FOR %I ON %s IS %L', l.provider,
        CASE WHEN l.objsubid = 0 THEN kind || ' ' || sql_name ELSE format('COLUMN %s.%I', sql_name, a.attname) END,
        l.label)
    FROM view
    JOIN pg_seclabel l ON l.classoid = 'pg_class'::regclass AND l.objoid = view.oid
    LEFT JOIN pg_attribute a ON a.attrelid = view.oid AND a.attnum = l.objsubid AND l.objsubid > 0
    -- rules, which may name views above their own
  UNION ALL
    SELECT view.oid, 70, r.oid::bigint, 'rule', pg_get_ruledef(r.oid)
    FROM view JOIN pg_rewrite r ON r.ev_class = view.oid AND r.rulename <> '_RETURN'
  UNION ALL
    SELECT view.oid, 71, r.oid::bigint, 'rule', format(
        'ALTER TABLE %s %s RULE %I', sql_name,
        CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, r.rulename)
    FROM view JOIN pg_rewrite r ON r.ev_class = view.oid AND r.ev_enabled <> 'O'
  UNION ALL
    SELECT view.oid, 72, r.oid::bigint, 'rule',
           format('COMMENT ON RULE %I ON %s IS %L', r.rulename, sql_name, obj_description(r.oid, 'pg_rewrite'))
    FROM view JOIN pg_rewrite r ON r.ev_class = view.oid
    WHERE obj_description(r.oid, 'pg_rewrite') IS NOT NULL
) AS step
ORDER BY oid, phase, place"""
)

# A list that was never set means the default. PostgreSQL keeps no entries of dropped roles.
_PRIVILEGES = f"""{_NAMED}, entry AS (
    SELECT oid, relowner, '' AS "column", (aclexplode(coalesce(relacl, acldefault('r', relowner)))).* FROM view
  UNION ALL
    SELECT view.oid, relowner, quote_ident(attname), (aclexplode(attacl)).*
    FROM view JOIN pg_attribute a ON a.attrelid = view.oid AND a.attnum > 0 AND NOT a.attisdropped
)
SELECT entry.oid, "column",
       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee,
       CASE grantee WHEN 0 THEN '' ELSE pg_get_userbyid(grantee) END AS grantee_role,
       pg_get_userbyid(grantor) AS grantor, privilege_type AS privilege, is_grantable AS grantable
FROM entry ORDER BY entry.oid"""
