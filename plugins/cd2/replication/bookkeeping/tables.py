"""The tables of our own schema `cd2` (docs/reference.md says what each column means)."""

from __future__ import annotations

PACER = """
CREATE TABLE IF NOT EXISTS cd2.pacer (
    key text NOT NULL,
    endpoint text NOT NULL,
    next_turn timestamptz NOT NULL,
    PRIMARY KEY (key, endpoint)
);
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'cd2.pacer'::regclass AND attname = 'turns') THEN
        ALTER TABLE cd2.pacer ADD COLUMN turns timestamptz[] NOT NULL DEFAULT '{}';  -- since 0.2.0
    END IF;
END
$$"""
"""The turns of each DAP key at each endpoint."""

JOBS = """
CREATE TABLE IF NOT EXISTS cd2.jobs (
    key text NOT NULL,
    namespace text NOT NULL,
    table_name text NOT NULL,
    since timestamp,
    turn timestamptz NOT NULL,
    job_id text,
    PRIMARY KEY (key, namespace, table_name)
)"""
"""The turn or job that a table waits for."""

SCHEMAS = """
CREATE TABLE IF NOT EXISTS cd2.schemas (
    namespace text NOT NULL,
    table_name text NOT NULL,
    version integer NOT NULL,
    description text NOT NULL,
    PRIMARY KEY (namespace, table_name, version)
)"""
"""The schemas that DAP has described; as texts, because the order of the columns counts."""

STOPS = """
CREATE TABLE IF NOT EXISTS cd2.stops (
    run text PRIMARY KEY,
    at timestamptz NOT NULL,
    failure jsonb NOT NULL
)"""
"""The runs that met what stops all their tables."""

LATE_RUNS = """
CREATE TABLE IF NOT EXISTS cd2.late_runs (
    run text PRIMARY KEY,
    reported_at timestamptz NOT NULL
)"""
"""The runs that have been reported as late."""

FRESHNESS = """
CREATE TABLE IF NOT EXISTS cd2.freshness (
    namespace text NOT NULL,
    table_name text NOT NULL,
    checked_at timestamptz,
    data_as_of timestamptz,
    reinitialized_at timestamptz,
    failing_since timestamptz,
    error text,
    unlisted_since timestamptz,
    PRIMARY KEY (namespace, table_name)
);
DO $$
BEGIN
    -- Tables of version 0.1.0 lack it. Checked first, because even IF NOT EXISTS would wait for locks.
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'cd2.freshness'::regclass AND attname = 'unlisted_since'
    ) THEN
        ALTER TABLE cd2.freshness ADD COLUMN unlisted_since timestamptz;
    END IF;
END
$$;
COMMENT ON TABLE cd2.freshness IS 'How fresh each replicated table is';
COMMENT ON COLUMN cd2.freshness.checked_at IS 'When the table was last found equal to DAP';
COMMENT ON COLUMN cd2.freshness.data_as_of IS 'The table holds Canvas Data 2 as of this time';
COMMENT ON COLUMN cd2.freshness.reinitialized_at IS 'When DAP was last asked for a snapshot of it automatically';
COMMENT ON COLUMN cd2.freshness.failing_since IS 'First failure since the last success; NULL: no failure since';
COMMENT ON COLUMN cd2.freshness.error IS 'Why the last failed attempt failed';
COMMENT ON COLUMN cd2.freshness.unlisted_since IS 'Since when DAP no longer lists the table; NULL: it does';
"""
"""How fresh each table is."""

# Checked first, because even IF NOT EXISTS would wait for the locks of a load that writes here.
BROKEN_DEPENDENTS = """
DO $$
BEGIN
    IF to_regclass('cd2.broken_dependents') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE cd2.broken_dependents (
        id bigint GENERATED ALWAYS AS IDENTITY,
        schema_name text NOT NULL,
        view_name text NOT NULL,
        tables text[] NOT NULL,
        missing boolean NOT NULL,
        relation oid,
        definition jsonb NOT NULL,
        error text NOT NULL,
        failed_at timestamptz NOT NULL DEFAULT now(),
        tried_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (schema_name, view_name)
    );
    CREATE INDEX broken_dependents_tables ON cd2.broken_dependents USING gin (tables);
    COMMENT ON TABLE cd2.broken_dependents IS
        'Views that a schema change broke. Each is retried when one of its tables is synced; '
        'delete a row to forget the view.';
    COMMENT ON COLUMN cd2.broken_dependents.tables IS 'Qualified and quoted names of the tables with its rows.';
    COMMENT ON COLUMN cd2.broken_dependents.missing IS
        'True: the view does not exist. False: it exists (relation), but the steps in definition failed.';
    COMMENT ON COLUMN cd2.broken_dependents.definition IS
        'Its CREATE statement, owner, the steps after it (indexes, comments, ...) and its access control list.';
END
$$;
DO $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = 'cd2.broken_dependents'::regclass AND attname = 'reported_at'
    ) THEN
        ALTER TABLE cd2.broken_dependents  -- since 0.2.0
            ADD COLUMN reported_at timestamptz, ADD COLUMN reported_by text, ADD COLUMN reported_error text;
        COMMENT ON COLUMN cd2.broken_dependents.reported_at IS 'When a notification last told of it';
    END IF;
END
$$"""
"""The views that a schema change broke."""

VIEW_TEXTS = """
CREATE TABLE IF NOT EXISTS cd2.view_texts (
    relation oid NOT NULL,
    restored text NOT NULL,
    written text NOT NULL,
    PRIMARY KEY (relation)
)"""
"""The texts of views that PostgreSQL made others of when they were restored."""

LOADS = """
DO $$
BEGIN
    IF to_regclass('cd2.loads') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE cd2.loads (
        namespace text NOT NULL,
        table_name text NOT NULL,
        at timestamptz NOT NULL,
        action text NOT NULL,
        state text NOT NULL,
        since timestamptz,
        data_as_of timestamptz,
        rows_written bigint NOT NULL,
        rows_deleted bigint NOT NULL,
        rows_in_table bigint,
        bytes_downloaded bigint NOT NULL,
        seconds double precision NOT NULL,
        job_id text,
        schema_version integer,
        run_id text,
        error_kind text,
        error_type text,
        error text,
        PRIMARY KEY (namespace, table_name, at)
    );
    CREATE INDEX loads_with_changes ON cd2.loads (namespace, table_name, at) INCLUDE (rows_written, rows_deleted)
        WHERE rows_written + rows_deleted > 0;
    COMMENT ON TABLE cd2.loads IS 'One row for each load of a table and each failure; kept for 400 days';
    COMMENT ON COLUMN cd2.loads.at IS 'When the load, or the attempt that failed, ended';
    COMMENT ON COLUMN cd2.loads.since IS 'The table held Canvas Data 2 as of this time before';
    COMMENT ON COLUMN cd2.loads.data_as_of IS 'The table holds Canvas Data 2 as of this time since';
    COMMENT ON COLUMN cd2.loads.rows_in_table IS 'Counted on from the last init or re-init; before that, an estimate';
END
$$"""
"""What was loaded, when, and what failed. The key finds the rows of a table by their time; nothing is read without."""

SCHEMA_CHANGES = """
DO $$
BEGIN
    IF to_regclass('cd2.schema_changes') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE cd2.schema_changes (
        namespace text NOT NULL,
        table_name text NOT NULL,
        at timestamptz NOT NULL,
        from_version integer,
        to_version integer,
        kind text NOT NULL,
        object text NOT NULL,
        what text NOT NULL,
        PRIMARY KEY (namespace, table_name, at, kind, object)
    );
    COMMENT ON TABLE cd2.schema_changes IS 'What changed in the schemas of the tables; kept for 400 days';
    COMMENT ON COLUMN cd2.schema_changes.object IS 'The column, or the view or other object that depended on one';
END
$$"""
"""What changed in the schemas of the tables, and what became of the dependents."""

STATUS = """
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute WHERE attrelid = to_regclass('cd2.status') AND attname = 'unlisted_since'
    ) THEN
        RETURN;  -- to replace it would wait for everybody who reads it
    END IF;
    CREATE OR REPLACE VIEW cd2.status AS
    SELECT f.namespace, f.table_name,
        CASE WHEN f.failing_since IS NOT NULL THEN 'failed' WHEN f.checked_at IS NULL THEN 'needs_init'
             ELSE coalesce(last.state, 'complete') END AS state,
        f.checked_at, f.data_as_of, last.rows_in_table, last.rows_written, last.rows_deleted,
        changed.at AS last_change_at, f.failing_since, f.error, last.schema_version,
        NULL::timestamptz AS verified_at,
        f.unlisted_since
    FROM cd2.freshness f
    LEFT JOIN LATERAL (
        SELECT l.state, l.rows_in_table, l.rows_written, l.rows_deleted, l.schema_version
        FROM cd2.loads l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name
          AND l.action IN ('sync', 'init', 'reinit') AND l.state NOT IN ('failed', 'needs_init')
        ORDER BY l.at DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT l.at FROM cd2.loads l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.rows_written + l.rows_deleted > 0
        ORDER BY l.at DESC LIMIT 1
    ) AS changed ON true;
    COMMENT ON VIEW cd2.status IS 'How each replicated table is: one row each';
END
$$"""
"""For people: one row for each table that was ever attempted."""

VOLUME_ALERTS = """
CREATE TABLE IF NOT EXISTS cd2.volume_alerts (
    namespace text NOT NULL,
    table_name text NOT NULL,
    day date NOT NULL,
    changes bigint NOT NULL,
    usual bigint NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (namespace, table_name, day)
)"""
"""The days on which a table got far fewer or more changes than usual, and the run that said so."""

FOR_READERS = ("freshness", "broken_dependents", "loads", "schema_changes", "volume_alerts", "status")
"""What report writers are told to read."""

LET_READ = f"""
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY{list(FOR_READERS)} LOOP
        IF NOT has_table_privilege('public', 'cd2.' || name, 'SELECT') THEN
            BEGIN
                EXECUTE 'GRANT SELECT ON cd2.' || name || ' TO PUBLIC';
            EXCEPTION WHEN insufficient_privilege THEN
                NULL;  -- it belongs to another role, which decides
            END;
        END IF;
    END LOOP;
END
$$"""
"""Few can enter the schema; `prepare_database --reader` lets its role in."""

CREATE_TABLES = (
    PACER,
    JOBS,
    SCHEMAS,
    STOPS,
    LATE_RUNS,
    FRESHNESS,
    BROKEN_DEPENDENTS,
    VIEW_TEXTS,
    LOADS,
    SCHEMA_CHANGES,
    VOLUME_ALERTS,
    STATUS,
    LET_READ,
)
