"""Which words of PostgreSQL may be quoted in logs, results, `cd2.freshness` and notifications.

Triggers, functions and expressions of users see rows, and an error of theirs may say what they saw: with any text, any
SQLSTATE, and any name of a column or constraint. So the rule does not depend on those. The first line of an error is
quoted if

- PostgreSQL raised it outside of any function: it has no CONTEXT;
- and it is about the text of a statement (it has a position there), or comes from a part of PostgreSQL that sees
  statements, the catalog, sessions, locks or files, but no rows.

Functions in C, of extensions, have no CONTEXT, and their source file may be called like one of PostgreSQL's. So the
classes of errors that functions raise by themselves are never quoted, whatever the file.

DETAIL, HINT and CONTEXT are never quoted. Names come from the catalog, not from the error.
"""

from __future__ import annotations

# The source files of those parts, of which an error names the one that raised it. Functions that an expression
# may call with a value of a row (the name of a role, a setting, a database ...) are in others.
_SEES_NO_ROWS = {
    # who may come in, sessions, statements, transactions
    "auth.c", "auth-scram.c", "hba.c", "crypt.c", "postinit.c", "miscinit.c", "postmaster.c", "backend_startup.c",
    "launch_backend.c", "be-secure.c", "be-secure-openssl.c", "proc.c", "procarray.c", "postgres.c", "xact.c",
    # locks and files
    "lock.c", "lmgr.c", "deadlock.c", "predicate.c", "md.c", "bufmgr.c", "buffile.c", "fd.c", "smgr.c", "xlog.c",
    # statements that change the catalog
    "aclchk.c", "tablecmds.c", "dependency.c", "heap.c", "index.c", "indexcmds.c", "typecmds.c", "pg_type.c",
    "pg_enum.c", "pg_constraint.c", "pg_depend.c", "pg_shdepend.c", "view.c", "matview.c", "rewriteDefine.c",
    "rewriteRemove.c", "rewriteHandler.c", "trigger.c", "policy.c", "publicationcmds.c", "pg_publication.c",
    "functioncmds.c", "pg_proc.c", "schemacmds.c", "statscmds.c", "alter.c", "dropcmds.c", "comment.c",
    "lockcmds.c", "createas.c", "event_trigger.c", "cluster.c", "copy.c",
    # what a table can take at all: its replica identity, its policies, the size of a row and of an index entry
    "execReplication.c", "execMain.c", "hio.c", "nbtutils.c", "nbtinsert.c", "gininsert.c", "ginentrypage.c",
    "hashinsert.c", "spgdoinsert.c",
}  # fmt: skip
_LANGUAGES = {
    "pl_exec.c", "plpy_elog.c", "plpy_plpymodule.c", "plperl.c", "pltcl.c", "plv8.cc", "plv8_func.cc", "dblink.c",
    "connection.c",
}  # fmt: skip
"""What raises the errors that functions of users make up, or pass on from other servers."""
_MAY_HOLD_VALUES = ("22", "23", "38", "39", "2F", "F0", "HV", "P0", "XX000")
"""Also what functions in C raise, whose source file may be called like one of PostgreSQL's."""
_LETS_IN = {"postinit.c", "miscinit.c", "postmaster.c", "backend_startup.c", "launch_backend.c"}
"""What runs before any statement."""
_POOLERS = ("08", "28", "3D", "53300", "57P", "XX000")
"""What a pooler says for itself, without the name of a source file."""


def quoted(error: BaseException) -> str:
    """The first line of an error of PostgreSQL, if it may be quoted; otherwise nothing."""
    code = _text(error, "sqlstate")
    source = _source(error)
    if not code or raised_by_code(error) or _text(error, "context"):
        return ""
    by_pooler = source == "" and code.startswith(_POOLERS)
    if code.startswith(_MAY_HOLD_VALUES) and not by_pooler and source not in _LETS_IN:
        return ""
    about_rows = source not in _SEES_NO_ROWS and not _text(error, "position")
    if about_rows and not by_pooler:
        return ""
    return (_text(error, "message") or str(error)).partition("\n")[0]


def raised_by_code(error: BaseException) -> bool:
    """Whether user code raised an error of PostgreSQL: its SQLSTATE is then as they chose it."""
    return _source(error) in _LANGUAGES or _text(error, "sqlstate").startswith("P0")


def condition(error: BaseException) -> str | None:
    """The SQLSTATE of an error, unless user code made it up: it may be five letters of a name."""
    known = type(error).__name__ not in ("PostgresError", "UnknownPostgresError")
    return _text(error, "sqlstate") or None if known or not raised_by_code(error) else None


def _source(error: BaseException) -> str:
    return _text(error, "server_source_filename").rpartition("/")[2]


def _text(error: BaseException, attribute: str) -> str:
    value = getattr(error, attribute, None)
    return value if isinstance(value, str) else ""
