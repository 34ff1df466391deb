"""What users hang on a table, and what becomes of it with each change of the table's schema."""

from __future__ import annotations

from tests.replication.dependents.changes import Hung

TABLE = "canvas.things"
INDEXES = (
    "SELECT string_agg(pg_get_indexdef(indexrelid), '; ' ORDER BY 1) "
    "FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE 'mine%'"
)
MARKED = "pg_get_indexdef(indexrelid) || indisreplident || indisclustered"
STATE = "to_regtype('canvas.things__state')"
CONSTRAINTS = (
    "SELECT string_agg(pg_get_constraintdef(oid), '; ' ORDER BY 1) FROM pg_constraint WHERE conname LIKE 'mine%'"
)
TRIGGERS = (
    "SELECT string_agg(pg_get_triggerdef(oid) || tgenabled::text, '; ') FROM pg_trigger WHERE tgname LIKE 'mine%'"
)
POLICIES = "SELECT pg_get_expr(polqual, polrelid) || coalesce(pg_get_expr(polwithcheck, polrelid), '') FROM pg_policy"
RULES = "SELECT pg_get_ruledef(oid) || ev_enabled::text FROM pg_rewrite WHERE rulename = 'mine'"
PUBLISHED = "SELECT string_agg(attnames::text || coalesce(rowfilter, ''), ';') FROM pg_publication_tables"
STATISTICS = "SELECT string_agg(pg_get_statisticsobjdef(oid), ';') FROM pg_statistic_ext"
FUNCTIONS = "SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'mine'"
VIEWS = "SELECT pg_get_viewdef(oid) FROM pg_class WHERE relname = 'mine'"
DEFAULTS = f"SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = '{TABLE}'::regclass"
PARENTS = "SELECT inhparent::regclass::text FROM pg_inherits"
NOWHERE = "CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;"
NOTED = "CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"


def columns_of(relation: str) -> str:
    """A query for the types of a relation's columns."""
    return (
        "SELECT string_agg(format_type(atttypid, NULL), ',' ORDER BY attnum) FROM pg_attribute "
        f"WHERE attrelid = '{relation}'::regclass AND attnum > 0"
    )


ON_THE_TABLE = {
    "a plain index": Hung(f"CREATE INDEX mine ON {TABLE} (state)", INDEXES, "kept kept kept noted kept kept"),
    "a partial index": Hung(
        f"CREATE INDEX mine ON {TABLE} (id) WHERE state = 'a'", INDEXES, "kept follows kept noted kept kept"
    ),
    "a unique index that is the replica identity": Hung(
        f"ALTER TABLE {TABLE} ALTER state SET NOT NULL;"
        f"CREATE UNIQUE INDEX mine ON {TABLE} (id, state);"
        f"ALTER TABLE {TABLE} REPLICA IDENTITY USING INDEX mine;"
        f"ALTER TABLE {TABLE} CLUSTER ON mine;"
        "COMMENT ON INDEX canvas.mine IS 'it''s'",
        f"{INDEXES.replace('pg_get_indexdef(indexrelid)', MARKED)} AND indrelid = '{TABLE}'::regclass",
        "kept kept kept noted kept kept",
    ),
    "a unique constraint that is the replica identity": Hung(
        f"ALTER TABLE {TABLE} ALTER state SET NOT NULL;"
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine UNIQUE (id, state);"
        f"ALTER TABLE {TABLE} REPLICA IDENTITY USING INDEX mine;"
        f"ALTER TABLE {TABLE} CLUSTER ON mine",
        f"{INDEXES.replace('pg_get_indexdef(indexrelid)', MARKED)} AND indrelid = '{TABLE}'::regclass",
        "kept kept kept noted kept kept",
    ),
    "an expression index": Hung(
        f"CREATE INDEX mine ON {TABLE} ((CASE WHEN state = 'a' THEN 1 END)) WITH (fillfactor = 70);"
        "ALTER INDEX canvas.mine ALTER COLUMN 1 SET STATISTICS 99",
        INDEXES,
        "kept follows kept noted kept kept",
    ),
    "an index with an operator class": Hung(
        f"CREATE INDEX mine ON {TABLE} (name text_pattern_ops);CREATE INDEX mine_2 ON {TABLE} ((n + 1))",
        INDEXES,
        "kept kept noted kept kept kept",
    ),
    "an index that includes the column": Hung(
        f"CREATE UNIQUE INDEX mine ON {TABLE} (id) INCLUDE (state)", INDEXES, "kept kept kept noted kept kept"
    ),
    "a unique constraint": Hung(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine UNIQUE (id, state) DEFERRABLE INITIALLY DEFERRED",
        CONSTRAINTS,
        "kept kept kept noted kept kept",
    ),
    "a check": Hung(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine CHECK (state <> 'b' OR id > 0) NOT VALID;"
        f"COMMENT ON CONSTRAINT mine ON {TABLE} IS 'c'",
        CONSTRAINTS,
        "kept follows kept noted kept kept",
    ),
    "a check that names the value": Hung(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine CHECK (state IN ('a', 'b', 'c'))",
        CONSTRAINTS,
        "kept follows kept noted kept kept",
        keeps_value=True,
    ),
    "an exclusion constraint": Hung(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine EXCLUDE USING btree (id WITH =) WHERE (state = 'a')",
        CONSTRAINTS,
        "kept follows kept noted kept kept",
    ),
    "a default": Hung(f"ALTER TABLE {TABLE} ALTER state SET DEFAULT 'a'", DEFAULTS, "kept kept kept gone kept kept"),
    "a generated column": Hung(
        f"ALTER TABLE {TABLE} ADD mine boolean GENERATED ALWAYS AS (state = 'a') STORED",
        DEFAULTS,
        "kept named kept named kept kept",
        keeps_value=True,
        drop="ALTER TABLE canvas.things DROP COLUMN mine",
    ),
    "a permissive policy": Hung(
        f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY;"
        f"CREATE POLICY mine ON {TABLE} FOR SELECT TO PUBLIC USING (state = 'a')",
        POLICIES,
        "kept follows kept noted kept kept",
    ),
    "a restrictive policy": Hung(
        f"CREATE POLICY mine ON {TABLE} AS RESTRICTIVE FOR UPDATE USING (state = 'a') WITH CHECK (state = 'b')",
        POLICIES,
        "kept follows kept named kept kept",
        drop="DROP POLICY mine ON canvas.things",
    ),
    "a rule": Hung(
        "CREATE TABLE public.gone (id bigint, state text);"
        f"CREATE RULE mine AS ON DELETE TO {TABLE} WHERE OLD.state = 'a' "
        "DO ALSO INSERT INTO public.gone VALUES (OLD.id, OLD.state);"
        f"ALTER TABLE {TABLE} DISABLE RULE mine",
        RULES,
        "kept follows kept noted kept kept",
    ),
    "an UPDATE OF trigger": Hung(
        NOTED
        + f"CREATE TRIGGER mine AFTER UPDATE OF state, id ON {TABLE} FOR EACH ROW EXECUTE FUNCTION public.noted();"
        + f"ALTER TABLE {TABLE} DISABLE TRIGGER mine",
        TRIGGERS,
        "kept kept kept noted kept kept",
    ),
    "a WHEN trigger": Hung(
        NOTED
        + f"CREATE TRIGGER mine BEFORE INSERT ON {TABLE} FOR EACH ROW WHEN (NEW.state = 'a') "
        + "EXECUTE FUNCTION public.noted('x');"
        + f"COMMENT ON TRIGGER mine ON {TABLE} IS 'c'",
        TRIGGERS,
        "kept follows kept noted kept kept",
    ),
    "a deferred constraint trigger": Hung(
        NOTED
        + f"CREATE CONSTRAINT TRIGGER mine AFTER UPDATE OF state ON {TABLE} DEFERRABLE INITIALLY DEFERRED "
        + "FOR EACH ROW WHEN (NEW.state = 'a') EXECUTE FUNCTION public.noted()",
        TRIGGERS,
        "kept follows kept noted kept kept",
    ),
    "a publication of columns": Hung(
        f"CREATE PUBLICATION mine FOR TABLE {TABLE} (id, state)",
        PUBLISHED,
        "kept kept kept named kept kept",
        drop="ALTER PUBLICATION mine DROP TABLE ONLY canvas.things",
    ),
    "a publication of rows": Hung(
        f"CREATE PUBLICATION mine FOR TABLE {TABLE} WHERE (name = 'x') WITH (publish = 'insert')",
        PUBLISHED,
        "kept kept kept follows kept kept",
    ),
    "statistics": Hung(
        "CREATE STATISTICS public.mine (mcv) ON state, name FROM canvas.things",
        STATISTICS,
        "kept kept kept noted kept kept",
    ),
    "statistics of an expression": Hung(
        "CREATE STATISTICS public.mine ON (state = 'a'), (lower(name)) FROM canvas.things;"
        "ALTER STATISTICS public.mine SET STATISTICS 44;"
        "COMMENT ON STATISTICS public.mine IS 'c'",
        STATISTICS,
        "kept follows kept noted kept kept",
    ),
    "a foreign key to the key": Hung(
        f"CREATE TABLE public.other (id bigint CONSTRAINT mine REFERENCES {TABLE} ON DELETE CASCADE);"
        "INSERT INTO public.other VALUES (1)",
        CONSTRAINTS,
        "kept kept kept kept kept noted",
    ),
    "a foreign key to the column": Hung(
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine UNIQUE (n);"
        f"CREATE TABLE public.other (n int CONSTRAINT mine_2 REFERENCES {TABLE} (n))",
        CONSTRAINTS,
        "kept kept noted kept kept kept",
    ),
    "a foreign key from the column": Hung(
        "CREATE TABLE public.other (s canvas.things__state PRIMARY KEY);"
        "INSERT INTO public.other VALUES ('a'), ('b');"
        f"ALTER TABLE {TABLE} ADD CONSTRAINT mine FOREIGN KEY (state) REFERENCES public.other",
        CONSTRAINTS,
        "kept noted kept noted kept kept",
        keeps_value=True,
    ),
    "a sequence that belongs to the column": Hung(
        "CREATE SEQUENCE canvas.mine OWNED BY canvas.things.state",
        "SELECT objid::regclass || '.' || refobjsubid FROM pg_depend "
        "WHERE objid = 'canvas.mine'::regclass AND deptype = 'a'",
        "kept kept kept noted kept kept",
    ),
    "an identity": Hung(
        f"ALTER TABLE {TABLE} ALTER n SET NOT NULL;ALTER TABLE {TABLE} ALTER n ADD GENERATED BY DEFAULT AS IDENTITY",
        "SELECT string_agg(attidentity::text, '') FROM pg_attribute WHERE attrelid = 'canvas.things'::regclass",
        "kept kept named kept kept kept",
        drop="ALTER TABLE canvas.things ALTER n DROP IDENTITY",
    ),
}
