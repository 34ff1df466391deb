"""The tables of our own schema `cd2` (docs/reference.md says what each column means)."""

from __future__ import annotations

from cd2.replication.bookkeeping.ledger_tables import (
    LOADS,
    SCHEMA_CHANGES,
    STATUS,
    VERIFICATION_DIFFERENCES,
    VERIFICATIONS,
    VOLUME_ALERTS,
)

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

RELATIONS = """
CREATE TABLE IF NOT EXISTS cd2.relations (
    namespace text NOT NULL,
    table_name text NOT NULL,
    since timestamp NOT NULL,
    cursors oid NOT NULL,
    relation oid NOT NULL,
    columns jsonb NOT NULL,
    PRIMARY KEY (namespace, table_name)
)"""
"""What holds the data of each table."""

LOADED_COLUMNS = """
CREATE TABLE IF NOT EXISTS cd2.loaded_columns (
    namespace text NOT NULL,
    table_name text NOT NULL,
    cursors oid NOT NULL,
    relation oid NOT NULL,
    columns jsonb NOT NULL,
    PRIMARY KEY (namespace, table_name)
)"""
"""The columns of each table that loads have made: all others are users' own."""

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
        COMMENT ON COLUMN cd2.broken_dependents.reported_at IS 'When a notification last reported it';
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

VERIFYING = """
CREATE TABLE IF NOT EXISTS cd2.verifying (
    key text NOT NULL,
    namespace text NOT NULL,
    table_name text NOT NULL,
    job_id text NOT NULL,
    noted_at timestamptz NOT NULL,
    PRIMARY KEY (key, namespace, table_name)
)"""
"""The snapshots that wait for their comparison."""

FOR_READERS = (
    *("freshness", "broken_dependents", "loads", "schema_changes", "volume_alerts", "status"),
    *("verifications", "verification_differences"),
)
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
    RELATIONS,
    LOADED_COLUMNS,
    STOPS,
    LATE_RUNS,
    FRESHNESS,
    BROKEN_DEPENDENTS,
    VIEW_TEXTS,
    VERIFYING,
    LOADS,
    SCHEMA_CHANGES,
    VOLUME_ALERTS,
    VERIFICATIONS,
    VERIFICATION_DIFFERENCES,
    STATUS,
    LET_READ,
)
