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
    PRIMARY KEY (namespace, table_name)
);
COMMENT ON TABLE cd2.freshness IS 'How fresh each replicated table is';
COMMENT ON COLUMN cd2.freshness.checked_at IS 'When the table was last found equal to DAP';
COMMENT ON COLUMN cd2.freshness.data_as_of IS 'The table holds Canvas Data 2 as of this time';
COMMENT ON COLUMN cd2.freshness.reinitialized_at IS 'When it was last re-initialized automatically';
COMMENT ON COLUMN cd2.freshness.failing_since IS 'First failure since the last success; NULL: no failure since';
COMMENT ON COLUMN cd2.freshness.error IS 'Why the last failed attempt failed';
"""
"""How fresh each table is."""

ROW_COUNTS = """
CREATE TABLE IF NOT EXISTS cd2.row_counts (
    namespace text NOT NULL,
    table_name text NOT NULL,
    row_count bigint NOT NULL,
    as_of timestamptz NOT NULL,
    counted_at timestamptz,
    PRIMARY KEY (namespace, table_name)
);
COMMENT ON TABLE cd2.row_counts IS 'How many rows each replicated table has';
COMMENT ON COLUMN cd2.row_counts.row_count IS 'Exact, unless people have inserted or deleted rows since counted_at';
COMMENT ON COLUMN cd2.row_counts.as_of IS 'The table holds Canvas Data 2 as of this time';
COMMENT ON COLUMN cd2.row_counts.counted_at IS 'When they were last counted; each sync since then added its own';
"""
"""How many rows each table has."""

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

VERIFICATIONS = """
CREATE TABLE IF NOT EXISTS cd2.verifications (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    namespace text NOT NULL,
    table_name text NOT NULL,
    verified_at timestamptz NOT NULL,
    requested boolean NOT NULL,
    outcome text NOT NULL,
    reason text,
    snapshot_as_of timestamptz,
    data_as_of timestamptz,
    snapshot_job text,
    rows_compared bigint NOT NULL,
    rows_left_out bigint NOT NULL,
    rows_kept bigint NOT NULL,
    missing bigint NOT NULL,
    extra bigint NOT NULL,
    different bigint NOT NULL,
    columns jsonb NOT NULL
);
COMMENT ON TABLE cd2.verifications IS 'Which tables were compared with a snapshot, value by value, and what differed';
COMMENT ON COLUMN cd2.verifications.outcome IS 'equal, different, repaired, refused (by DAP) or postponed (see reason)';
COMMENT ON COLUMN cd2.verifications.snapshot_as_of IS 'The moment of Canvas that was compared';
COMMENT ON COLUMN cd2.verifications.rows_compared IS 'Rows of the snapshot that were compared';
COMMENT ON COLUMN cd2.verifications.rows_left_out IS 'Keys that have changed since the snapshot';
COMMENT ON COLUMN cd2.verifications.missing IS 'Rows that the table lacked';
COMMENT ON COLUMN cd2.verifications.extra IS 'Rows that only the table had';
COMMENT ON COLUMN cd2.verifications.different IS 'Rows with other values';
COMMENT ON COLUMN cd2.verifications.columns IS 'How many rows differed in which column';
"""
"""What verifications found."""

VERIFICATION_DIFFERENCES = """
CREATE TABLE IF NOT EXISTS cd2.verification_differences (
    verification uuid NOT NULL REFERENCES cd2.verifications ON DELETE CASCADE,
    kind text NOT NULL,
    key jsonb NOT NULL,
    columns text[],
    PRIMARY KEY (verification, key)
);
COMMENT ON TABLE cd2.verification_differences IS 'Keys of rows that differed; the first thousand of each verification';
"""
"""Which rows differed."""

LET_READ = """
DO $$
DECLARE
    readable text;
BEGIN
    FOREACH readable IN ARRAY ARRAY['freshness', 'broken_dependents', 'row_counts', 'verifications'] LOOP
        BEGIN
            IF NOT has_table_privilege('public', 'cd2.' || readable, 'SELECT') THEN
                EXECUTE format('GRANT SELECT ON cd2.%I TO PUBLIC', readable);
            END IF;
        EXCEPTION WHEN insufficient_privilege THEN
            NULL;  -- it belongs to another role, which decides
        END;
    END LOOP;
END
$$"""
"""What report writers are told to read. Few can enter the schema; `prepare_database --reader` lets its role in."""

CREATE_TABLES = (
    PACER,
    JOBS,
    STOPS,
    LATE_RUNS,
    FRESHNESS,
    ROW_COUNTS,
    BROKEN_DEPENDENTS,
    VIEW_TEXTS,
    VERIFYING,
    VERIFICATIONS,
    VERIFICATION_DIFFERENCES,
    LET_READ,
)
