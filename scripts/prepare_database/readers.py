"""A role for analysts: it may read the tables of the namespaces, present and future ones, and how fresh they are."""

from __future__ import annotations

from scripts.prepare_database.quoting import statement, tables
from scripts.prepare_database.report import Report
from scripts.prepare_database.sessions import PreparationError, Session

FOR_READERS = (
    *("freshness", "broken_dependents", "loads", "schema_changes", "volume_alerts", "status"),
    *("verifications", "verification_differences"),
)
"""Of the schema `cd2`."""

_OWN_UNREADABLE = """
SELECT cast(c.relname AS text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles u ON u.rolname = %(user)s LEFT JOIN pg_roles r ON r.rolname = %(reader)s
WHERE n.nspname = %(schema)s AND c.relowner = u.oid AND c.relkind IN ('r', 'p', 'v', 'm')
  AND NOT coalesce(has_table_privilege(r.oid, c.oid, 'SELECT'), false)
ORDER BY 1
"""
_DEFAULT_IS_SET = """
SELECT count(*)
FROM pg_default_acl d JOIN pg_namespace n ON n.oid = d.defaclnamespace
CROSS JOIN LATERAL aclexplode(d.defaclacl) AS a
WHERE n.nspname = %(schema)s AND d.defaclobjtype = 'r' AND a.privilege_type = 'SELECT'
  AND d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = %(user)s)
  AND a.grantee = (SELECT oid FROM pg_roles WHERE rolname = %(reader)s)
"""


def may(admin: Session, right: str, role: str) -> bool:
    """Whether a role has a right on the database; for a role that does not exist yet, whether PUBLIC has it."""
    ((granted,),) = admin.rows(
        "SELECT coalesce((SELECT has_database_privilege(oid, current_database(), %(right)s) "
        "FROM pg_roles WHERE rolname = %(role)s), has_database_privilege('public', current_database(), %(right)s))",
        right=right,
        role=role,
    )
    return bool(granted)


def let_in(admin: Session, reader: str, database: str, report: Report) -> None:
    """Create the role, of which people's own roles become members, and let it connect.

    :raises PreparationError: the role is an administrator.
    """
    found = admin.rows(
        "SELECT rolsuper OR rolcreaterole OR rolcreatedb FROM pg_roles WHERE rolname = %(reader)s", reader=reader
    )
    if not found:
        report.change(admin, f"role {reader}: created, cannot log in itself", statement("CREATE ROLE {}", reader))
    elif found[0][0]:
        raise PreparationError(f"The role {reader} is an administrator: name another one with --reader.")
    else:
        report.already(f"role {reader} exists")
    what = f"CONNECT on the database {database} for {reader}"
    if may(admin, "CONNECT", reader):
        report.already(what)
    else:
        report.change(admin, what, statement("GRANT CONNECT ON DATABASE {} TO {}", database, reader))


def may_read(session: Session, reader: str, schema: str, user: str, report: Report) -> None:
    """Let the role read the present and future tables of the replication user in a schema."""
    _may_use(session, reader, schema, report)
    names = {"reader": reader, "schema": schema}
    unreadable = [str(name) for (name,) in session.rows(_OWN_UNREADABLE, **names, user=user)]
    _select(session, reader, schema, unreadable, report)
    what = f"SELECT on future tables of {schema} for {reader}"
    if session.rows(_DEFAULT_IS_SET, **names, user=user)[0][0]:
        report.already(what)
    else:
        report.change(
            session,
            what,
            statement("ALTER DEFAULT PRIVILEGES IN SCHEMA {} GRANT SELECT ON TABLES TO {}", schema, reader),
        )


def may_read_bookkeeping(session: Session, reader: str, user: str, report: Report) -> None:
    """Let the role read what docs/data.md tells report writers to read in the schema `cd2`, and nothing else there.

    The DAG creates these tables, and lets everybody read them who may use the schema.
    """
    _may_use(session, reader, "cd2", report)
    found = session.rows(_OWN_UNREADABLE, reader=reader, schema="cd2", user=user)
    _select(session, reader, "cd2", [str(name) for (name,) in found if name in FOR_READERS], report)


def _may_use(session: Session, reader: str, schema: str, report: Report) -> None:
    usage = session.rows(
        "SELECT has_schema_privilege(r.oid, n.oid, 'USAGE') FROM pg_roles r, pg_namespace n "
        "WHERE r.rolname = %(reader)s AND n.nspname = %(schema)s",
        reader=reader,
        schema=schema,
    )
    if usage and usage[0][0]:
        report.already(f"USAGE on the schema {schema} for {reader}")
    else:
        grant = statement("GRANT USAGE ON SCHEMA {} TO {}", schema, reader)
        report.change(session, f"USAGE on the schema {schema} for {reader}", grant)


def _select(session: Session, reader: str, schema: str, unreadable: list[str], report: Report) -> None:
    if unreadable:
        grant = f"GRANT SELECT ON TABLE {tables(schema, unreadable)} {statement('TO {}', reader)}"
        report.change(
            session, f"SELECT on {len(unreadable)} table{'s' * (len(unreadable) > 1)} of {schema} for {reader}", grant
        )
