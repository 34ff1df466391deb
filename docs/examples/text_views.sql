-- Views of all tables of a schema for programs that know only plain types: Athena's connector, older BI tools.
-- Enumerations, jsonb and arrays become text; everything else stays. Run it as the owner that the views shall have:
--
--     psql -v source=canvas -v target=canvas_text -v reader=athena_reader -f text_views.sql
--
-- Run it again after tables gained columns. The DAG restores the views after each change of a column that they use.
\set ON_ERROR_STOP on
SELECT format('CREATE SCHEMA IF NOT EXISTS %I', :'target') \gexec
SELECT format('GRANT USAGE ON SCHEMA %I TO %I', :'target', :'reader') \gexec

SELECT format('DROP VIEW IF EXISTS %I.%I', :'target', c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = :'target' AND c.relkind = 'v' \gexec

SELECT format(
    'CREATE VIEW %I.%I AS SELECT %s FROM %I.%I', :'target', c.relname,
    string_agg(
        CASE
            WHEN t.typtype = 'e' OR t.typcategory = 'A' OR t.typname IN ('json', 'jsonb') THEN
                format('%1$I::text AS %1$I', a.attname)
            ELSE format('%I', a.attname)
        END, ', ' ORDER BY a.attnum
    ),
    :'source', c.relname
)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type t ON t.oid = a.atttypid
WHERE n.nspname = :'source' AND c.relkind = 'r'
GROUP BY c.relname ORDER BY c.relname \gexec

SELECT format('GRANT SELECT ON ALL TABLES IN SCHEMA %I TO %I', :'target', :'reader') \gexec
