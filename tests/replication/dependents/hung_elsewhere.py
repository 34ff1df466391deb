"""What users make elsewhere of a table's columns, rows and enumerations, and what becomes of it (see hung.py)."""

from __future__ import annotations

from tests.replication.dependents.changes import Hung
from tests.replication.dependents.hung import (
    CONSTRAINTS,
    FUNCTIONS,
    INDEXES,
    NOTED,
    NOWHERE,
    PARENTS,
    POLICIES,
    RULES,
    STATE,
    TABLE,
    VIEWS,
    columns_of,
)

ELSEWHERE = {
    "a restrictive policy of another table": Hung(
        "CREATE TABLE public.other (id bigint);"
        "CREATE POLICY mine ON public.other AS RESTRICTIVE "
        f"USING (EXISTS (SELECT FROM {TABLE} t WHERE t.id = other.id AND t.state = 'a'))",
        POLICIES,
        "kept follows kept named kept kept",
        drop="DROP POLICY mine ON public.other",
    ),
    "a policy that selects from a view": Hung(
        f"CREATE VIEW public.mine AS SELECT id, state FROM {TABLE};"
        "CREATE TABLE public.other (id bigint);"
        "CREATE POLICY own ON public.other USING (id IN (SELECT id FROM public.mine WHERE state = 'a'))",
        POLICIES,
        "kept named kept named kept kept",
        keeps_value=True,
        drop="DROP POLICY own on public.other",
    ),
    "a policy of a table that inherits": Hung(
        f"CREATE TABLE public.other () INHERITS ({TABLE});"
        "CREATE POLICY mine ON public.other AS RESTRICTIVE USING (state = 'a')",
        POLICIES,
        "kept follows kept named kept kept",
        drop="DROP POLICY mine ON public.other",
    ),
    "a policy of another table": Hung(
        "CREATE TABLE public.other (id bigint);"
        "CREATE POLICY mine ON public.other "
        f"USING (EXISTS (SELECT FROM {TABLE} t WHERE t.id = other.id AND t.state = 'a'))",
        POLICIES,
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
    "a procedure with a parsed body": Hung(
        "CREATE PROCEDURE public.mine(s canvas.things__state) BEGIN ATOMIC UPDATE canvas.things SET state = s; END",
        FUNCTIONS,
        "kept named kept named kept kept",
        keeps_value=True,
        drop="DROP ROUTINE public.mine(canvas.things__state)",
    ),
    "a default of a function": Hung(
        "CREATE FUNCTION public.mine(s text DEFAULT 'a'::canvas.things__state::text) RETURNS text "
        "LANGUAGE sql AS 'SELECT s'",
        FUNCTIONS,
        keeps_value=True,
    ),
    "a cast by a function": Hung(
        "CREATE FUNCTION public.mine(canvas.things__state) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE CAST (canvas.things__state AS int) WITH FUNCTION public.mine(canvas.things__state)",
        f"SELECT castsource::regtype::text FROM pg_cast WHERE castsource = {STATE}",
        keeps_value=True,
    ),
    "a cast from text": Hung(
        "CREATE CAST (text AS canvas.things__state) WITH INOUT AS IMPLICIT",
        f"SELECT casttarget::regtype::text FROM pg_cast WHERE casttarget = {STATE}",
        keeps_value=True,
    ),
    "a range of the enumeration": Hung(
        "CREATE TYPE public.mine AS RANGE (subtype = canvas.things__state)",
        "SELECT rngsubtype::regtype::text FROM pg_range WHERE rngtypid = to_regtype('public.mine')",
        keeps_value=True,
    ),
    "a domain over a domain": Hung(
        "CREATE DOMAIN public.one AS canvas.things__state;CREATE DOMAIN public.mine AS public.one;"
        "CREATE TABLE public.other (m public.mine[])",
        columns_of("public.other"),
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
    "a table that inherits": Hung(
        "CREATE TABLE public.other (more text) INHERITS (canvas.things);"
        "CREATE INDEX mine ON public.other (id) WHERE state = 'a'",
        INDEXES,
        "kept follows kept kept kept kept",
    ),
    "a check and a default of a table that inherits": Hung(
        f"CREATE TABLE public.other () INHERITS ({TABLE});ALTER TABLE public.other ALTER state SET DEFAULT 'a';"
        "ALTER TABLE public.other ADD CONSTRAINT mine CHECK (state <> 'b')",
        CONSTRAINTS,
        "kept follows kept kept kept kept",
    ),
    "a foreign table that inherits": Hung(
        f"{NOWHERE}CREATE FOREIGN TABLE public.other () INHERITS ({TABLE}) SERVER nowhere",
        PARENTS,
        "kept named named kept kept kept",
        keeps_value=True,
        drop="ALTER FOREIGN TABLE public.other NO INHERIT canvas.things",
    ),
    "a foreign table of the enumeration": Hung(
        f"{NOWHERE}CREATE FOREIGN TABLE public.other (s canvas.things__state) SERVER nowhere",
        columns_of("public.other"),
        keeps_value=True,
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
    "a view with rights, a rule and a trigger": Hung(
        f"{NOTED}CREATE VIEW public.mine WITH (security_barrier, security_invoker) AS SELECT id, state FROM {TABLE};"
        "CREATE TRIGGER mine INSTEAD OF INSERT ON public.mine FOR EACH ROW EXECUTE FUNCTION public.noted();"
        "CREATE RULE mine AS ON DELETE TO public.mine WHERE OLD.state = 'a' DO INSTEAD NOTHING;"
        "ALTER VIEW public.mine ALTER state SET DEFAULT 'a';GRANT SELECT ON public.mine TO pg_monitor",
        "SELECT concat(reloptions, ' ', has_table_privilege('pg_monitor', c.oid, 'SELECT'), pg_get_triggerdef(t.oid)) "
        "FROM pg_class c LEFT JOIN pg_trigger t ON tgrelid = c.oid WHERE relname = 'mine'",
        "kept kept kept noted kept kept",
    ),
    "a view that names the value": Hung(
        f"CREATE VIEW public.mine AS SELECT id FROM {TABLE} WHERE state IN ('b', 'c')",
        VIEWS,
        "kept follows kept noted kept kept",
        keeps_value=True,
    ),
    "a column of a user that is named like none of ours": Hung(
        f"ALTER TABLE {TABLE} ADD mine canvas.things__state DEFAULT 'a'",
        "SELECT format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = 'canvas.things'::regclass AND attname = 'mine'",
        keeps_value=True,
    ),
    "a column of a user with a list of the enumeration": Hung(
        f"ALTER TABLE {TABLE} ADD mine canvas.things__state[]",
        "SELECT format_type(atttypid, NULL) FROM pg_attribute "
        "WHERE attrelid = 'canvas.things'::regclass AND attname = 'mine'",
        keeps_value=True,
    ),
}
