"""Which words of PostgreSQL may be quoted, and which may be those of user code."""

from __future__ import annotations

import asyncpg
import pytest

from cd2.replication.errors import ReinitRequired
from cd2.replication.sqlerrors.quoting import quoted, raised_by_code

WORDS = {"S": "ERROR", "M": "words"}
RULE: list[tuple[dict[str, str], str]] = [
    ({"C": "42501", "F": "aclchk.c"}, "words"),
    ({"C": "42703", "F": "parse_relation.c", "P": "8"}, "words"),
    ({"C": "42P01", "F": "namespace.c"}, ""),
    ({"C": "42501", "F": "aclchk.c", "W": "PL/pgSQL function f() line 1"}, ""),
    ({"C": "42703", "F": "parse_relation.c", "P": "8", "W": "PL/pgSQL function f() line 1"}, ""),
    ({"C": "42501", "F": "pl_exec.c"}, ""),
    ({"C": "22P02", "F": "tablecmds.c", "P": "8"}, ""),
    ({"C": "23505", "F": "index.c"}, ""),
    ({"C": "P0001", "F": "postgres.c"}, ""),
    ({"C": "53100", "F": "md.c"}, "words"),
    ({"C": "XX001", "F": "bufmgr.c"}, "words"),
    ({"C": "XX000"}, "words"),
    ({"C": "XX000", "F": "postinit.c"}, "words"),
    # a function in C of an extension, whose file is called like one of PostgreSQL's
    ({"C": "XX000", "F": "index.c"}, ""),
    ({"C": "38000", "F": "trigger.c"}, ""),
    ({"C": "39001", "F": "trigger.c", "P": "8"}, ""),
    ({"C": "HV00L", "F": "alter.c"}, ""),
    ({"C": "F0000", "F": "fd.c"}, ""),
    ({"C": "22023", "F": "lock.c"}, ""),
    # other languages
    ({"C": "28P01", "F": "plpy_elog.c", "W": "PL/Python function"}, ""),
    ({"C": "53100", "F": "plperl.c", "W": "PL/Perl function"}, ""),
    ({"C": "08006", "F": "pltcl.c", "W": "in PL/Tcl function"}, ""),
    ({"C": "3D000", "F": "plv8.cc"}, ""),
    ({"C": "57014", "F": "lib.rs"}, ""),
    ({"C": "42501", "F": "Backend.c"}, ""),
    ({"C": "08006", "F": "dblink.c"}, ""),
    ({"C": "28P01"}, "words"),
    ({"C": "08P01"}, "words"),
    ({"C": "42501"}, ""),
]


@pytest.mark.parametrize(("fields", "expected"), RULE)
def test_the_rule_for_quoting(fields: dict[str, str], expected: str) -> None:
    error = asyncpg.PostgresError.new(WORDS | fields)
    assert quoted(error) == expected


def test_detail_and_hint_are_never_quoted() -> None:
    fields = WORDS | {"C": "42501", "F": "aclchk.c", "D": "detail", "H": "hint"}
    assert quoted(asyncpg.PostgresError.new(fields)) == "words"


def test_what_is_no_error_of_postgresql_is_not_raised_by_code() -> None:
    assert not raised_by_code(ReinitRequired("x"))
    assert quoted(ValueError("row")) == ""
