"""PostgreSQL's catalog -> what people hung on columns of a table: how it is dropped and recreated, or only dropped.

Read in a `view_session`, so that names come out qualified and constants mean the same in every session.
"""

from __future__ import annotations

# `$1`: the table; `$2`: names of columns; `$3`: of those that are dropped. A table that inherits from it counts.
_TOUCHED = """
WITH RECURSIVE family AS (
    SELECT $1::oid AS oid UNION SELECT inhrelid FROM pg_inherits JOIN family ON inhparent = family.oid
), col AS (
    SELECT attrelid, attnum, atttypid, attname, attname = ANY ($3::text[]) AS gone
    FROM family JOIN pg_attribute ON attrelid = oid
    WHERE attname = ANY ($2::text[]) AND attnum > 0 AND NOT attisdropped
), used_type AS (
    SELECT t.oid FROM col JOIN pg_type c ON c.oid = col.atttypid
    JOIN pg_type t ON t.oid IN (c.oid, c.typelem, c.typarray) AND t.typtype = 'e' OR t.oid = c.typarray
        AND c.typtype = 'e'
), usage AS (
    SELECT classid, objid, bool_or(gone) AS gone FROM (
        SELECT d.classid, d.objid, col.gone FROM col JOIN pg_depend d
        ON d.refclassid = 'pg_class'::regclass AND d.refobjid = attrelid AND d.refobjsubid = attnum
      UNION ALL
        SELECT d.classid, d.objid, false FROM used_type u JOIN pg_depend d
        ON d.refclassid = 'pg_type'::regclass AND d.refobjid = u.oid
    ) AS d GROUP BY 1, 2
)"""

# One row for each object that is dropped and recreated.
#   plain: PostgreSQL itself rebuilds it with a new type.   strict: without it data would be shown or lost.
_PARTS = (
    _TOUCHED
    + """, named AS (
    SELECT c.oid, c.relkind, pg_get_userbyid(c.relowner) AS owner, n.nspname, c.relname, c.reltablespace,
           format('%I.%I', n.nspname, c.relname) AS sql_name
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
), idx AS (
    SELECT i.*, named.relname, named.nspname, named.reltablespace, named.sql_name AS index_name, gone,
           t.sql_name AS table_name, t.owner, con.oid AS constraint_oid, con.conname, con.contype,
           i.indexprs IS NULL AND i.indpred IS NULL AND am.amname = 'btree' AND NOT EXISTS (
               SELECT FROM unnest(i.indclass::oid[]) AS used JOIN pg_opclass o ON o.oid = used WHERE NOT o.opcdefault
           ) AS plain
    FROM usage
    LEFT JOIN pg_constraint owning ON classid = 'pg_constraint'::regclass AND owning.oid = objid
        AND owning.contype IN ('u', 'x')
    JOIN pg_index i ON i.indexrelid = CASE WHEN classid = 'pg_class'::regclass THEN objid ELSE owning.conindid END
    JOIN named ON named.oid = i.indexrelid AND named.relkind = 'i'
    JOIN pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_am am ON am.oid = ic.relam
    JOIN named t ON t.oid = i.indrelid AND t.relkind IN ('r', 'p')
    LEFT JOIN pg_constraint con ON con.conindid = i.indexrelid AND con.contype IN ('p', 'u', 'x')
    WHERE NOT i.indisprimary
), con AS (
    SELECT c.*, t.sql_name AS table_name, t.owner, u.gone
    FROM pg_constraint c JOIN named t ON t.oid = c.conrelid
    JOIN (
        SELECT objid, bool_or(gone) AS gone FROM (
            SELECT objid, gone FROM usage WHERE classid = 'pg_constraint'::regclass
          UNION ALL
            SELECT c.oid, idx.gone FROM pg_constraint c JOIN idx ON idx.indexrelid = c.conindid AND c.contype = 'f'
        ) AS d GROUP BY 1
    ) AS u ON u.objid = c.oid
    WHERE c.contype IN ('c', 'f') AND c.conparentid = 0 AND c.conislocal
)
SELECT rank, label, owner, strict, plain, gone, drop, steps FROM (
    SELECT 20 AS rank, format('index %s', index_name) AS label, owner, false AS strict, plain, gone,
        concat('DROP INDEX ', index_name,
               CASE WHEN indisreplident THEN format('; ALTER TABLE %s REPLICA IDENTITY DEFAULT', table_name) END
        ) AS drop,
        array_remove(ARRAY[
            concat((SELECT format('SET LOCAL default_tablespace = %L; ', spcname)
                    FROM pg_tablespace WHERE oid = reltablespace),
                   pg_get_indexdef(indexrelid),
                   CASE WHEN reltablespace <> 0 THEN '; SET LOCAL default_tablespace = ''''' END)]
        || ARRAY(SELECT format('ALTER INDEX %s ALTER COLUMN %s SET STATISTICS %s', index_name, a.attnum,
                               to_jsonb(a) ->> 'attstattarget')
                 FROM pg_attribute a WHERE a.attrelid = indexrelid AND (to_jsonb(a) ->> 'attstattarget')::int >= 0)
        || CASE WHEN indisclustered THEN format('ALTER TABLE %s CLUSTER ON %I', table_name, relname) END
        || CASE WHEN indisreplident
                THEN format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', table_name, relname) END
        || (format('COMMENT ON INDEX %s IS ', index_name)
         || quote_literal(obj_description(indexrelid, 'pg_class'))), NULL) AS steps
    FROM idx WHERE constraint_oid IS NULL
  UNION ALL
    SELECT 21, format('constraint %I on %s', conname, table_name), owner, false, plain, gone,
        concat(format('ALTER TABLE %s DROP CONSTRAINT %I', table_name, conname),
               CASE WHEN indisreplident THEN format('; ALTER TABLE %s REPLICA IDENTITY DEFAULT', table_name) END),
        array_remove(ARRAY[
            concat((SELECT format('SET LOCAL default_tablespace = %L; ', spcname)
                    FROM pg_tablespace WHERE oid = reltablespace),
                   format('ALTER TABLE %s ADD CONSTRAINT %I %s', table_name, conname,
                          pg_get_constraintdef(constraint_oid)),
                   CASE WHEN reltablespace <> 0 THEN '; SET LOCAL default_tablespace = ''''' END)]
        || (SELECT format('ALTER INDEX %s SET (%s)', index_name, string_agg(
                format('%I=%L', split_part(o, '=', 1), substr(o, strpos(o, '=') + 1)), ', '))
            FROM pg_class c, unnest(c.reloptions) AS o WHERE c.oid = indexrelid HAVING count(*) > 0)
        || CASE WHEN indisclustered THEN format('ALTER TABLE %s CLUSTER ON %I', table_name, relname) END
        || CASE WHEN indisreplident
                THEN format('ALTER TABLE %s REPLICA IDENTITY USING INDEX %I', table_name, relname) END
        || (format('COMMENT ON INDEX %s IS ', index_name)
         || quote_literal(obj_description(indexrelid, 'pg_class')))
        || (format('COMMENT ON CONSTRAINT %I ON %s IS ', conname, table_name)
         || quote_literal(obj_description(constraint_oid, 'pg_constraint'))), NULL)
    FROM idx WHERE contype IN ('u', 'x')
  UNION ALL
    SELECT CASE contype WHEN 'c' THEN 30 ELSE 40 END, format('constraint %I on %s', conname, table_name), owner, false,
        false, gone, format('ALTER TABLE %s DROP CONSTRAINT %I', table_name, conname),
        array_remove(ARRAY[
            format('ALTER TABLE %s ADD CONSTRAINT %I %s', table_name, conname, pg_get_constraintdef(oid)),
            (format('COMMENT ON CONSTRAINT %I ON %s IS ', conname, table_name)
             || quote_literal(obj_description(oid, 'pg_constraint')))], NULL)
    FROM con
  UNION ALL
    SELECT 10, format('default of %s.%I', t.sql_name, a.attname), t.owner, false, false, usage.gone,
        format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', t.sql_name, a.attname),
        ARRAY[format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', t.sql_name, a.attname,
                     pg_get_expr(d.adbin, d.adrelid))]
    FROM usage JOIN pg_attrdef d ON classid = 'pg_attrdef'::regclass AND d.oid = objid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated = ''
    JOIN col ON col.attrelid = a.attrelid AND col.attnum = a.attnum
    JOIN named t ON t.oid = a.attrelid
    WHERE NOT usage.gone
  UNION ALL
    SELECT 11, format('generated column %s.%I', t.sql_name, a.attname), t.owner, false, false, usage.gone,
        format('ALTER TABLE %s ALTER COLUMN %I SET EXPRESSION AS (NULL)', t.sql_name, a.attname),
        ARRAY[format('ALTER TABLE %s ALTER COLUMN %I SET EXPRESSION AS (%s)', t.sql_name, a.attname,
                     pg_get_expr(d.adbin, d.adrelid))]
    FROM usage JOIN pg_attrdef d ON classid = 'pg_attrdef'::regclass AND d.oid = objid
    JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum AND a.attgenerated <> ''
    JOIN named t ON t.oid = a.attrelid
    WHERE current_setting('server_version_num')::int >= 170000
        AND NOT EXISTS (SELECT FROM col WHERE col.attrelid = a.attrelid AND col.attnum = a.attnum)
  UNION ALL
    SELECT 50, format('statistics %I.%I', n.nspname, s.stxname), t.owner, false,
        to_jsonb(s) ->> 'stxexprs' IS NULL, gone,
        format('DROP STATISTICS %I.%I', n.nspname, s.stxname),
        array_remove(ARRAY[
            pg_get_statisticsobjdef(s.oid),
            CASE WHEN (to_jsonb(s) ->> 'stxstattarget')::int >= 0 THEN
                format('ALTER STATISTICS %I.%I SET STATISTICS %s', n.nspname, s.stxname,
                       to_jsonb(s) ->> 'stxstattarget') END,
            (format('COMMENT ON STATISTICS %I.%I IS ', n.nspname, s.stxname)
             || quote_literal(obj_description(s.oid, 'pg_statistic_ext'))),
            CASE WHEN pg_get_userbyid(s.stxowner) <> t.owner THEN
                format('ALTER STATISTICS %I.%I OWNER TO %I', n.nspname, s.stxname, pg_get_userbyid(s.stxowner)) END
        ], NULL)
    FROM usage JOIN pg_statistic_ext s ON classid = 'pg_statistic_ext'::regclass AND s.oid = objid
    JOIN pg_namespace n ON n.oid = s.stxnamespace JOIN named t ON t.oid = s.stxrelid
  UNION ALL
    SELECT 60, format('trigger %I on %s', g.tgname, t.sql_name), t.owner, false, false, gone,
        format('DROP TRIGGER %I ON %s', g.tgname, t.sql_name),
        array_remove(ARRAY[
            pg_get_triggerdef(g.oid),
            CASE WHEN g.tgenabled <> 'O' THEN format('ALTER TABLE %s %s TRIGGER %I', t.sql_name,
                CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
                g.tgname) END,
            (format('COMMENT ON TRIGGER %I ON %s IS ', g.tgname, t.sql_name)
             || quote_literal(obj_description(g.oid, 'pg_trigger')))
        ], NULL)
    FROM usage JOIN pg_trigger g ON classid = 'pg_trigger'::regclass AND g.oid = objid
    JOIN named t ON t.oid = g.tgrelid AND t.relkind IN ('r', 'p')
    WHERE NOT g.tgisinternal
  UNION ALL
    SELECT 70, format('rule %I on %s', r.rulename, t.sql_name), t.owner, false, false, gone,
        format('DROP RULE %I ON %s', r.rulename, t.sql_name),
        array_remove(ARRAY[
            pg_get_ruledef(r.oid),
            CASE WHEN r.ev_enabled <> 'O' THEN format('ALTER TABLE %s %s RULE %I', t.sql_name,
                CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END,
                r.rulename) END,
            (format('COMMENT ON RULE %I ON %s IS ', r.rulename, t.sql_name)
             || quote_literal(obj_description(r.oid, 'pg_rewrite')))
        ], NULL)
    FROM usage JOIN pg_rewrite r ON classid = 'pg_rewrite'::regclass AND r.oid = objid
    JOIN named t ON t.oid = r.ev_class AND t.relkind IN ('r', 'p')
  UNION ALL
    SELECT 80, format('policy %I on %s', p.polname, t.sql_name), t.owner, NOT p.polpermissive, false, gone,
        format('DROP POLICY %I ON %s', p.polname, t.sql_name),
        array_remove(ARRAY[
            concat(format('CREATE POLICY %I ON %s', p.polname, t.sql_name),
                CASE WHEN NOT p.polpermissive THEN ' AS RESTRICTIVE' END,
                ' FOR ', CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                         WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                ' TO ', (SELECT string_agg(
                             CASE role WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(role)) END, ', ')
                         FROM unnest(p.polroles) AS role),
                ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
                ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')'),
            (format('COMMENT ON POLICY %I ON %s IS ', p.polname, t.sql_name)
             || quote_literal(obj_description(p.oid, 'pg_policy')))
        ], NULL)
    FROM usage JOIN pg_policy p ON classid = 'pg_policy'::regclass AND p.oid = objid
    JOIN named t ON t.oid = p.polrelid
  UNION ALL
    SELECT 90, format('%s in the publication %I', t.sql_name, pub.pubname), pg_get_userbyid(pub.pubowner), true, false,
        gone, format('ALTER PUBLICATION %I DROP TABLE ONLY %s', pub.pubname, t.sql_name),
        ARRAY[concat(format('ALTER PUBLICATION %I ADD TABLE ONLY %s', pub.pubname, t.sql_name),
            (SELECT ' (' || string_agg(quote_ident(attname), ', ' ORDER BY attnum) || ')' FROM pg_attribute
             WHERE attrelid = t.oid AND attnum = ANY ({columns})),
            ' WHERE (' || pg_get_expr({filter}, t.oid) || ')')]
    FROM usage JOIN pg_publication_rel pr ON classid = 'pg_publication_rel'::regclass AND pr.oid = objid
    JOIN pg_publication pub ON pub.oid = pr.prpubid JOIN named t ON t.oid = pr.prrelid
  UNION ALL
    SELECT 95, format('owner of the sequence %s', s.sql_name), s.owner, false, true, gone,
        format('ALTER SEQUENCE %s OWNED BY NONE', s.sql_name),
        ARRAY[format('ALTER SEQUENCE %s OWNED BY %s.%I', s.sql_name, t.sql_name, col.attname)]
    FROM col JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = attrelid
        AND d.refobjsubid = attnum AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
    JOIN named s ON s.oid = d.objid AND s.relkind = 'S' JOIN named t ON t.oid = col.attrelid
) AS part ORDER BY rank, label"""
)


def parts_query(major: int) -> str:
    """The query of the parts, for a version of PostgreSQL: publications have columns and row filters since 15."""
    new = major >= 15
    query = _PARTS.replace("{filter}", "pr.prqual" if new else "NULL::pg_node_tree")
    return query.replace("{columns}", "pr.prattrs::int2[]" if new else "NULL::int2[]")


_OF_THE_TABLE = """
    SELECT format('identity of %I', attname) AS what,
           format('ALTER TABLE %s ALTER %I DROP IDENTITY', $1::regclass, attname) AS command
    FROM pg_attribute WHERE attrelid = $1 AND attidentity <> '' AND attname = ANY ($2::text[])
  UNION ALL
    SELECT format('the table as a %s of %s', CASE WHEN relispartition THEN 'partition' ELSE 'child' END, parent),
           format(CASE WHEN relispartition THEN 'ALTER TABLE %1$s DETACH PARTITION %2$s'
                  ELSE 'ALTER TABLE %2$s NO INHERIT %1$s' END, parent, $1::regclass)
    FROM (SELECT relispartition, inhparent::regclass AS parent
          FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE inhrelid = $1) AS above
  UNION ALL
    SELECT format('column %I of %s, which inherits from the table', attname, attrelid::regclass),
           format('ALTER TABLE %s NO INHERIT %s', attrelid::regclass, inhparent::regclass)
    FROM col JOIN pg_attribute a USING (attrelid, attnum, attname)
    JOIN pg_inherits ON inhrelid = attrelid AND inhparent IN (SELECT oid FROM family)
    WHERE attrelid <> $1 AND (attinhcount > 1 OR attname NOT IN (
        SELECT o.attname FROM pg_attribute o WHERE o.attrelid = $1 AND NOT o.attisdropped))
  UNION ALL
    SELECT format('the replica identity index %s', i.indexrelid::regclass),
           format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', $1::regclass)
    FROM pg_index i JOIN usage ON classid = 'pg_class'::regclass AND objid = i.indexrelid
    WHERE i.indrelid = $1 AND i.indisreplident
  UNION ALL
    SELECT format('that it is of the type %s', reloftype::regtype), format('ALTER TABLE %s NOT OF', $1::regclass)
    FROM pg_class WHERE oid = $1 AND reloftype <> 0
) AS found ORDER BY 1"""

# What is in the way and is neither a view nor one of the parts.
OBSTACLES = (
    _TOUCHED
    + """, row_type AS (
    SELECT t.oid FROM pg_class c JOIN pg_type t ON t.oid = c.reltype OR t.typelem = c.reltype AND t.typcategory = 'A'
    WHERE c.oid = $1
), blocking AS (
    SELECT classid, objid, 0 AS objsubid FROM usage
  UNION
    SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
    JOIN (SELECT oid FROM used_type UNION SELECT oid FROM row_type) AS t ON d.refobjid = t.oid
    WHERE d.refclassid = 'pg_type'::regclass AND d.classid = 'pg_class'::regclass AND d.objsubid > 0
        AND (d.objid, d.objsubid) NOT IN (SELECT attrelid, attnum FROM col)
        AND d.objid NOT IN (SELECT relid FROM pg_partition_tree(pg_partition_root($1)) WHERE relid <> $1)
)
SELECT DISTINCT what, command FROM (
    SELECT format('function %s', objid::regprocedure) AS what, format('DROP ROUTINE %s', objid::regprocedure) AS command
    FROM blocking WHERE classid = 'pg_proc'::regclass
  UNION ALL
    SELECT format('generated column %I of %s', attname, adrelid::regclass),
           format('ALTER TABLE %s DROP COLUMN %I', adrelid::regclass, attname)
    FROM blocking JOIN pg_attrdef d ON classid = 'pg_attrdef'::regclass AND d.oid = objid
    JOIN pg_attribute a ON a.attrelid = adrelid AND a.attnum = adnum AND a.attgenerated <> ''
  UNION ALL
    SELECT format('column %I of %s', attname, b.objid::regclass), format(
        CASE relkind WHEN 'c' THEN 'ALTER TYPE %s DROP ATTRIBUTE %I' ELSE 'ALTER TABLE %s DROP COLUMN %I' END,
        b.objid::regclass, attname)
    FROM blocking b
    JOIN pg_attribute a ON b.classid = 'pg_class'::regclass AND a.attrelid = b.objid AND attnum = b.objsubid
    JOIN pg_class c ON c.oid = b.objid AND c.relkind IN ('r', 'p', 'c', 'f')
  UNION ALL
    SELECT format('type %s', objid::regtype), format('DROP TYPE %s', objid::regtype)
    FROM blocking WHERE classid = 'pg_type'::regclass AND objid NOT IN (SELECT oid FROM used_type)
        AND NOT EXISTS (SELECT FROM pg_type e JOIN used_type u ON e.typelem = u.oid WHERE e.oid = objid)
  UNION ALL
    SELECT format('the foreign table %s, which inherits from the table', oid::regclass),
           format('ALTER FOREIGN TABLE %s NO INHERIT %s', oid::regclass, inhparent::regclass)
    FROM family JOIN pg_class c USING (oid) JOIN pg_inherits ON inhrelid = oid AND inhparent IN (SELECT oid FROM family)
    WHERE relkind = 'f' AND EXISTS (SELECT FROM col WHERE NOT gone)
  UNION ALL
    SELECT format('cast from %s to %s', castsource::regtype, casttarget::regtype),
           format('DROP CAST (%s AS %s)', castsource::regtype, casttarget::regtype)
    FROM blocking JOIN pg_cast k ON classid = 'pg_cast'::regclass AND k.oid = objid
  UNION ALL"""
    + _OF_THE_TABLE
)

# The same for what only adds columns, or lets them be empty: it touches nothing that uses them.
OBSTACLES_OF_ADDING = _TOUCHED + " SELECT DISTINCT what, command FROM (" + _OF_THE_TABLE
