"""The tables of `cd2` in which people look up what was done: loads, schema changes, verifications, and the status."""

from __future__ import annotations

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
    COMMENT ON TABLE cd2.loads IS 'One row for each load, verification and failure of a table; kept for 400 days';
    COMMENT ON COLUMN cd2.loads.at IS 'When the load, or the attempt that failed, ended';
    COMMENT ON COLUMN cd2.loads.since IS 'The table held Canvas Data 2 as of this time before';
    COMMENT ON COLUMN cd2.loads.data_as_of IS 'The table holds Canvas Data 2 as of this time since';
    COMMENT ON COLUMN cd2.loads.rows_in_table IS 'Exact, unless others than the DAG write to the table';
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

VERIFICATIONS = """
DO $$
BEGIN
    IF to_regclass('cd2.verifications') IS NOT NULL THEN
        RETURN;
    END IF;
    CREATE TABLE cd2.verifications (
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
    CREATE INDEX verifications_of_tables ON cd2.verifications (namespace, table_name, verified_at);
    COMMENT ON TABLE cd2.verifications IS 'Which tables were compared with a snapshot, value by value, what differed';
    COMMENT ON COLUMN cd2.verifications.outcome IS
        'equal, different, repaired, refused (by DAP) or postponed (see reason)';
    COMMENT ON COLUMN cd2.verifications.snapshot_as_of IS 'The moment of Canvas that was compared';
    COMMENT ON COLUMN cd2.verifications.rows_compared IS 'Rows of the snapshot that were compared';
    COMMENT ON COLUMN cd2.verifications.rows_left_out IS 'Keys that have changed since the snapshot';
    COMMENT ON COLUMN cd2.verifications.rows_kept IS 'Rows that only an append-only table still has';
    COMMENT ON COLUMN cd2.verifications.missing IS 'Rows that the table lacked';
    COMMENT ON COLUMN cd2.verifications.extra IS 'Rows that only the table had';
    COMMENT ON COLUMN cd2.verifications.different IS 'Rows with other values';
    COMMENT ON COLUMN cd2.verifications.columns IS 'How many rows differed in which column';
END
$$"""
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

STATUS = """
DO $$
BEGIN
    IF pg_get_viewdef(to_regclass('cd2.status')) LIKE '%unlisted_since%' THEN
        RETURN;  -- to replace it would wait for everybody who reads it
    END IF;
    CREATE OR REPLACE VIEW cd2.status AS
    SELECT f.namespace, f.table_name,
        CASE WHEN f.failing_since IS NOT NULL THEN 'failed' WHEN f.checked_at IS NULL THEN 'needs_init'
             ELSE coalesce(last.state, 'complete') END AS state,
        f.checked_at, f.data_as_of, counted.rows_in_table, last.rows_written, last.rows_deleted,
        changed.at AS last_change_at, f.failing_since, f.error, last.schema_version,
        CASE WHEN compared.outcome <> 'different' THEN compared.verified_at END AS verified_at,
        f.unlisted_since
    FROM cd2.freshness f
    LEFT JOIN LATERAL (
        SELECT l.state, l.rows_written, l.rows_deleted, l.schema_version
        FROM cd2.loads l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name
          AND l.action IN ('sync', 'init', 'reinit') AND l.state NOT IN ('failed', 'needs_init')
        ORDER BY l.at DESC LIMIT 1
    ) AS last ON true
    LEFT JOIN LATERAL (
        SELECT l.rows_in_table FROM cd2.loads l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.rows_in_table IS NOT NULL
        ORDER BY l.at DESC LIMIT 1
    ) AS counted ON true
    LEFT JOIN LATERAL (
        SELECT l.at FROM cd2.loads l
        WHERE l.namespace = f.namespace AND l.table_name = f.table_name AND l.rows_written + l.rows_deleted > 0
        ORDER BY l.at DESC LIMIT 1
    ) AS changed ON true
    LEFT JOIN LATERAL (
        SELECT v.verified_at, v.outcome FROM cd2.verifications v
        WHERE v.namespace = f.namespace AND v.table_name = f.table_name
          AND v.outcome IN ('equal', 'different', 'repaired')
        ORDER BY v.verified_at DESC LIMIT 1
    ) AS compared ON true;
    COMMENT ON VIEW cd2.status IS 'How each replicated table is: one row each';
    COMMENT ON COLUMN cd2.status.verified_at IS
        'When every value was last compared with DAP, if all were equal or made equal';
END
$$"""
"""For people: one row for each table that was ever attempted."""
