"""What users hang on a table, and what becomes of it with each change of the table's schema."""

from __future__ import annotations

from tests.replication.dependents.changes import Hung

TABLE = "canvas.things"
INDEXES = (
    "SELECT string_agg(pg_get_indexdef(indexrelid), '; ' ORDER BY 1) "
    "FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE relname LIKE 'mine%'"
)
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
NOTED = "CREATE FUNCTION public.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"


def columns_of(relation: str) -> str:
    """A query for the types of a relation's columns."""
    return (
        "SELECT string_agg(format_type(atttypid, NULL), ',' ORDER BY attnum) FROM pg_attribute "
        f"WHERE attrelid = '{relation}'::regclass AND attnum > 0"
    )


HUNG = {
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
        INDEXES,
        "named named named noted kept kept",
        drop="ALTER TABLE canvas.things REPLICA IDENTITY DEFAULT",
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
    "a policy of another table": Hung(
        "CREATE TABLE public.other (id bigint);"
        "CREATE POLICY mine ON public.other "
        f"USING (EXISTS (SELECT FROM {TABLE} t WHERE t.id = other.id AND t.state = 'a'))",
        POLICIES,
        "kept follows kept noted kept kept",
    ),
    "a rule": Hung(
        "CREATE TABLE public.gone (id bigint, state text);"
        f"CREATE RULE mine AS ON DELETE TO {TABLE} WHERE OLD.state = 'a' "
        "DO ALSO INSERT INTO public.gone VALUES (OLD.id, OLD.state);"
        f"ALTER TABLE {TABLE} DISABLE RULE mine",
        RULES,
        "kept follows kept noted kept kept",
    ),
    "a rule of another table": Hung(
        "CREATE TABLE public.other (id bigint);"
        f"CREATE RULE mine AS ON DELETE TO public.other DO ALSO "
        f"DELETE FROM {TABLE} WHERE things.state = 'c' AND things.id = OLD.id",
        RULES,
        "kept follows kept noted kept kept",
        keeps_value=True,
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
    "a function with a parsed body": Hung(
        f"CREATE FUNCTION public.mine() RETURNS bigint BEGIN ATOMIC SELECT count(*) FROM {TABLE} WHERE state = 'a';END",
        FUNCTIONS,
        "kept named kept named kept kept",
        keeps_value=True,
        drop="DROP ROUTINE public.mine()",
    ),
    "a function of the enumeration": Hung(
        "CREATE FUNCTION public.mine(canvas.things__state) RETURNS text LANGUAGE sql AS 'SELECT $1::text'",
        FUNCTIONS,
        keeps_value=True,
    ),
    "a function of the row type": Hung(
        "CREATE FUNCTION public.mine(canvas.things) RETURNS text LANGUAGE sql AS 'SELECT $1.name'", FUNCTIONS
    ),
    "a default of another table": Hung(
        "CREATE TABLE public.other (id bigint, s text DEFAULT 'a'::canvas.things__state::text)",
        "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef",
        keeps_value=True,
    ),
    "a domain": Hung(
        "CREATE DOMAIN public.mine AS canvas.things__state CHECK (VALUE <> 'b')",
        "SELECT format_type(typbasetype, NULL) FROM pg_type WHERE typname = 'mine'",
        keeps_value=True,
    ),
    "a column of the enumeration": Hung(
        "CREATE TABLE public.other (s canvas.things__state, t canvas.things__state[])",
        columns_of("public.other"),
        keeps_value=True,
    ),
    "a column of the row type": Hung(
        "CREATE TABLE public.other (r canvas.things)",
        columns_of("public.other"),
        "kept named named kept kept kept",
        keeps_value=True,
        drop="ALTER TABLE public.other DROP COLUMN r",
    ),
    "a composite type": Hung(
        "CREATE TYPE public.mine AS (s canvas.things__state);CREATE TABLE public.other (m public.mine)",
        columns_of("public.mine"),
        keeps_value=True,
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
    "a table that inherits": Hung(
        "CREATE TABLE public.other (more text) INHERITS (canvas.things);"
        "CREATE INDEX mine ON public.other (id) WHERE state = 'a'",
        INDEXES,
        "kept follows kept kept kept kept",
    ),
    "a table that it inherits from": Hung(
        f"CREATE TABLE public.other (n int);ALTER TABLE {TABLE} INHERIT public.other",
        PARENTS,
        "kept kept named kept kept kept",
        drop="ALTER TABLE canvas.things NO INHERIT public.other",
    ),
    "a partitioned table that it belongs to": Hung(
        "CREATE TABLE public.other (LIKE canvas.things) PARTITION BY RANGE (id);"
        f"ALTER TABLE public.other ATTACH PARTITION {TABLE} DEFAULT",
        PARENTS,
        "kept named named named kept kept",
        keeps_value=True,
        drop="ALTER TABLE public.other DETACH PARTITION canvas.things",
    ),
    "a view": Hung(
        f"CREATE VIEW public.mine AS SELECT id, state FROM {TABLE} WHERE state = 'a' AND n > 0",
        VIEWS,
        "kept follows noted noted kept kept",
    ),
    "a materialized view with an index": Hung(
        "CREATE MATERIALIZED VIEW public.mine AS SELECT id, state, n FROM canvas.things;"
        "CREATE INDEX mine_2 ON public.mine (id) WHERE state = 'a'",
        VIEWS,
        "kept kept kept noted kept kept",
    ),
    "a view that names the value": Hung(
        f"CREATE VIEW public.mine AS SELECT id FROM {TABLE} WHERE state IN ('b', 'c')",
        VIEWS,
        "kept follows kept noted kept kept",
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
        "named named named named named named",
        drop="ALTER TABLE canvas.things ALTER COLUMN n DROP IDENTITY",
    ),
    "a column of a user that is named like none of ours": Hung(
        f"ALTER TABLE {TABLE} ADD mine canvas.things__state DEFAULT 'a'",
        "SELECT format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = 'canvas.things'::regclass AND attname = 'mine'",
        keeps_value=True,
    ),
}
