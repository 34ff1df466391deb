"""The steps: first what only an administrator may do, then, as the replication user, its schemas.

The replication needs a role that may log in, CREATE on the database (for the schema of a namespace that is added
later), and schemas of its own for the namespaces, the official client's bookkeeping and our own. Each of the two parts
is one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass

from scripts.prepare_database import readers
from scripts.prepare_database.passwords import scram_verifier
from scripts.prepare_database.quoting import statement
from scripts.prepare_database.report import Report
from scripts.prepare_database.sessions import (
    WRONG_PASSWORD,
    Database,
    Login,
    PreparationError,
    Refused,
    Session,
)

OLDEST_SERVER = 15
"""The first with MERGE, as in `cd2.replication.bookkeeping.preparation`."""
BOOKKEEPING = ("instructure_dap", "cd2")

# The role's name and verifier are passed as values, so that no logged statement contains them.
_SET_PASSWORD = (
    "DO $cd2$ BEGIN EXECUTE format('ALTER ROLE %I PASSWORD %L', "
    "current_setting('cd2.role'), current_setting('cd2.verifier')); END $cd2$"
)


@dataclass(frozen=True)
class Wanted:
    """The desired state of the database.

    :param user: the replication user.
    :param namespaces: schemas of tables.
    :param reader: a role that may read all tables, including future ones; None: no such role.
    :param member_of: roles that own views on the tables; the replication user becomes a member.
    :param set_password: set the password even if it is correct.
    """

    user: Login
    namespaces: tuple[str, ...]
    reader: str | None = None
    member_of: tuple[str, ...] = ()
    set_password: bool = False

    @property
    def schemas(self) -> tuple[str, ...]:
        return (*BOOKKEEPING, *self.namespaces)


def prepare(database: Database, wanted: Wanted, report: Report) -> None:
    """Bring a database to the desired state.

    :raises PreparationError: something prevents it; changes stay only if their part was complete.
    """
    try:
        password_is_right = _logs_in(database, wanted.user)
        with database.as_admin() as admin:
            _AdminPart(admin, wanted, report).run(password_is_right)
            if report.dry_run:
                _SchemaPart(admin, wanted, report).run()
    except Refused as refused:
        raise _admin_refused(database, refused) from None
    if report.dry_run:
        return
    try:
        with database.as_user(wanted.user) as session:
            _SchemaPart(session, wanted, report).run()
    except Refused as refused:
        raise _user_refused(database, wanted.user, refused) from None


def _logs_in(database: Database, user: Login) -> bool:
    try:
        with database.as_user(user):
            return True
    except Refused as refused:
        if refused.sqlstate in WRONG_PASSWORD:
            return False
        raise _user_refused(database, user, refused) from None


def _admin_refused(database: Database, refused: Refused) -> PreparationError:
    if refused.sqlstate in WRONG_PASSWORD:
        return PreparationError(
            f"{database.name} refused the administrator's login ({refused.reason}): check the admin secret or DSN; a "
            "managed password that was just rotated takes a minute to become valid."
        )
    if refused.sqlstate == "42501":
        return PreparationError(
            f"The administrator of {database.name} lacks a right ({refused.reason}): it needs CREATEROLE, and must own "
            "the database and the roles that are changed (ADMIN OPTION), as the master user of RDS does. Nothing was "
            "changed."
        )
    return PreparationError(f"{database.name} refused a statement ({refused}). Nothing was changed.")


def _user_refused(database: Database, user: Login, refused: Refused) -> PreparationError:
    if refused.sqlstate in WRONG_PASSWORD:
        return PreparationError(
            f"{database.name} refuses {user.username} with the password of its secret, although that was just "
            f"set ({refused.reason}): check the parameter rds.accepted_password_auth_method (it must allow scram), "
            "or pg_hba.conf of your own database."
        )
    return PreparationError(f"{database.name} refused {user.username} ({refused}).")


class _AdminPart:
    def __init__(self, admin: Session, wanted: Wanted, report: Report) -> None:
        self._admin, self._wanted, self._report = admin, wanted, report
        self._user = wanted.user.username

    def run(self, password_is_right: bool) -> None:
        ((self._admin_name, self._database),) = self._admin.rows(
            "SELECT cast(current_user AS text), cast(current_database() AS text)"
        )
        self._check_database()
        self._check_names()
        exists = self._role()
        self._password(exists and password_is_right)
        self._database_right("CONNECT")
        self._database_right("CREATE")
        for owner in self._wanted.member_of:
            self._membership(owner)
        if self._wanted.reader:
            readers.let_in(self._admin, self._wanted.reader, self._database, self._report)

    def _check_database(self) -> None:
        """Refuse a database in which table after table would fail, before anything is made in it."""
        ((encoding, version, number),) = self._admin.rows(
            "SELECT current_setting('server_encoding'), current_setting('server_version'), "
            "cast(current_setting('server_version_num') AS integer)"
        )
        if number < OLDEST_SERVER * 10_000:
            raise PreparationError(
                f"The server is PostgreSQL {version}: it must be {OLDEST_SERVER} or newer (MERGE). Nothing was changed."
            )
        if encoding != "UTF8":
            create = statement("CREATE DATABASE {} ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0", self._database)
            raise PreparationError(
                f"The database {self._database} has the encoding {encoding}, which cannot hold all characters of "
                "Canvas, and an encoding cannot be changed. Nothing was changed. Rename or drop it, and create it "
                f"again: {create}"
            )

    def _check_names(self) -> None:
        if self._user == self._admin_name:
            raise PreparationError(
                f"The replication secret names the administrator {self._user}: give the DAG its own user, with no more "
                "rights than it needs."
            )
        if self._wanted.user.dbname != self._database:
            raise PreparationError(
                f"The replication secret names the database {self._wanted.user.dbname}, but this is "
                f"{self._database}: the DAG would use another one. Correct the secret, or the database given here."
            )

    def _role(self) -> bool:
        """Create the role if needed; returns whether it existed."""
        found = self._admin.rows(
            "SELECT rolcanlogin, rolsuper OR rolcreaterole OR rolbypassrls FROM pg_roles WHERE rolname = %(user)s",
            user=self._user,
        )
        if not found:
            self._report.change(
                self._admin,
                f"role {self._user}: created",
                statement("CREATE ROLE {} LOGIN", self._user),
            )
            return False
        ((can_login, powerful),) = found
        if powerful:
            raise PreparationError(
                f"The role {self._user} of the replication secret is an administrator (superuser, CREATEROLE or "
                "BYPASSRLS): put a role into the secret that is only the replication user."
            )
        if can_login:
            self._report.already(f"role {self._user} may log in")
        else:
            self._report.change(
                self._admin, f"role {self._user}: may log in", statement("ALTER ROLE {} LOGIN", self._user)
            )
        return True

    def _password(self, is_right: bool) -> None:
        if is_right and not self._wanted.set_password:
            self._report.already(f"password of {self._user} is that of its secret")
            return
        if not self._report.dry_run:
            self._admin.rows(
                "SELECT set_config('cd2.role', cast(%(role)s AS text), true), "
                "set_config('cd2.verifier', cast(%(verifier)s AS text), true)",
                role=self._user,
                verifier=scram_verifier(self._user, self._wanted.user.password),
            )
            self._admin.rows(_SET_PASSWORD)
        self._report.note(f"password of {self._user}: set to that in its secret")

    def _database_right(self, right: str) -> None:
        what = f"{right} on the database {self._database} for {self._user}"
        if self._may(right):
            self._report.already(what)
            return
        self._report.change(
            self._admin, what, statement(f"GRANT {right} ON DATABASE {{}} TO {{}}", self._database, self._user)
        )
        # PostgreSQL only warns about a grant that the role may not make.
        if not self._report.dry_run and not self._may(right):
            raise PreparationError(
                f"{self._admin_name} may not grant {right} on the database {self._database}: run this as the "
                "database's owner. Nothing was changed."
            )

    def _may(self, right: str) -> bool:
        return readers.may(self._admin, right, self._user)

    def _membership(self, owner: str) -> None:
        what = f"membership of {self._user} in {owner}, whose views it may restore"
        found = self._admin.rows(
            "SELECT (SELECT pg_has_role(m.oid, r.oid, 'USAGE') FROM pg_roles m WHERE m.rolname = %(user)s) "
            "FROM pg_roles r WHERE r.rolname = %(owner)s",
            user=self._user,
            owner=owner,
        )
        if not found:
            raise PreparationError(f"There is no role {owner} to become a member of: check --member-of.")
        if found[0][0]:
            self._report.already(what)
        else:
            self._report.change(self._admin, what, statement("GRANT {} TO {}", owner, self._user))


class _SchemaPart:
    """What the replication user does itself, so that it owns the result."""

    def __init__(self, session: Session, wanted: Wanted, report: Report) -> None:
        self._session, self._wanted, self._report = session, wanted, report
        self._user = wanted.user.username

    def run(self) -> None:
        for schema in self._wanted.schemas:
            self._schema(schema)
        if self._wanted.reader:
            for namespace in self._wanted.namespaces:
                readers.may_read(self._session, self._wanted.reader, namespace, self._user, self._report)
            readers.may_read_bookkeeping(self._session, self._wanted.reader, self._user, self._report)

    def _schema(self, schema: str) -> None:
        found = self._session.rows(
            "SELECT cast(pg_get_userbyid(n.nspowner) AS text), "
            "coalesce(has_schema_privilege(u.oid, n.oid, 'CREATE') AND has_schema_privilege(u.oid, n.oid, 'USAGE'), "
            "false), "
            "(SELECT cast(string_agg(DISTINCT cast(pg_get_userbyid(c.relowner) AS text), ', ') AS text) "
            "FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p') "
            "AND NOT coalesce(pg_has_role(u.oid, c.relowner, 'USAGE'), false)) "
            "FROM pg_namespace n LEFT JOIN pg_roles u ON u.rolname = %(user)s WHERE n.nspname = %(schema)s",
            user=self._user,
            schema=schema,
        )
        if not found:
            self._report.change(
                self._session,
                f"schema {schema}: created, owned by {self._user}",
                statement("CREATE SCHEMA {}", schema),
            )
            return
        ((owner, usable, table_owners),) = found
        if usable and not table_owners:
            self._report.already(f"schema {schema} can be used by {self._user} (owner {owner})")
            return
        # A dry run does not create the membership.
        owners = {owner, *(table_owners.split(", ") if table_owners else ())}
        if self._report.dry_run and owners <= {self._user, *self._wanted.member_of}:
            self._report.already(f"schema {schema} will be usable by {self._user} as a member of {owner}")
            return
        others = sorted(owners - {self._user})
        raise PreparationError(
            f"The schema {schema} or tables in it belong to {', '.join(others)}, and {self._user} may not change them: "
            f"transfer them to {self._user} (ALTER SCHEMA ... OWNER TO, ALTER TABLE ... OWNER TO), or make it a "
            f"member of their owner ({' '.join(f'--member-of {name}' for name in others)})."
        )
