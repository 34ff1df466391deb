"""Where the competitors run: an embedded PostgreSQL, the DAP simulator, and a database for each run."""

from __future__ import annotations

import mmap
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

import psutil
import psycopg
from psycopg import sql

from benchmarks.measure import Servers
from benchmarks.service import Service
from benchmarks.shapes import NAMESPACE
from local.errors import LocalStackError
from local.postgres import EmbeddedPostgres
from local.processes.supervisor import Supervisor

TOUCHED_BYTES = 2_000_000_000
"""About what a run takes, with the page cache of what it writes."""


class Arena:
    """A context manager; at its end nothing is running any more and its folder is gone.

    :param directory: the working folder; leftovers of a killed run in it are ended and removed.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._supervisor = Supervisor(directory / "simulator", "make bench")
        self.service = Service(self._supervisor)
        self.postgres = EmbeddedPostgres(directory / "postgres")
        self.runs = directory / "runs"
        """The working folders of the competitors."""

    @property
    def mark(self) -> str:
        """The mark in the environment of all our processes (`local.processes.MARKER`)."""
        return str(self._supervisor.directory)

    def __enter__(self) -> Arena:
        """:raises LocalStackError: another run is active, or a server does not start; nothing is left running."""
        self._supervisor.acquire()
        try:
            self.postgres.remove()
            shutil.rmtree(self.runs, ignore_errors=True)
            self.service.start()
            self.postgres.start()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        self._supervisor.stop()
        self._supervisor.end_leftovers()
        self.postgres.stop()
        self.postgres.remove()
        self._supervisor.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def check(self) -> None:
        """Check that both servers are running.

        :raises LocalStackError: one has ended.
        """
        self._supervisor.check()
        if not self.postgres.running:
            tail = self.postgres.log.read_text(errors="replace").splitlines()[-5:]
            raise LocalStackError("PostgreSQL has ended:\n  " + "\n  ".join(tail))

    # -- databases -----------------------------------------------------------------------------------------------

    def new_database(self, name: str, template: str | None = None) -> str:
        """Create a database, empty or a copy of another one; returns its DSN."""
        self.postgres.drop_database(name)
        if template is None:
            self.postgres.create_database(name)
        else:
            copy = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
            self.postgres.execute(copy.format(sql.Identifier(name), sql.Identifier(template)))
        return self.postgres.dsn(name)

    def tidy(self, dsn: str, table: str) -> None:
        """Vacuum and analyze a table, as autovacuum would have done long before the next sync."""
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("VACUUM (ANALYZE) {}").format(sql.Identifier(NAMESPACE, table)))

    def settle(self) -> None:
        """Flush what earlier runs left in memory, and touch free memory, so that no run pays for another one.

        The host of a virtual machine may reclaim memory that is free for two seconds (Linux: free page reporting), and
        whoever touches it next waits for the host. That took up to a fifth of a run's time, but not in every run
        (measured).
        """
        self.postgres.execute(sql.SQL("CHECKPOINT"))
        os.sync()
        size = min(TOUCHED_BYTES, psutil.virtual_memory().available // 2)
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)).close()

    def servers(self, database: str) -> Servers:
        """The servers to watch during a run that loads this database."""
        self.check()
        query = sql.SQL("SELECT oid, current_setting('data_directory') FROM pg_database WHERE datname = {}")
        [(oid, folder)] = self.postgres.execute(query.format(sql.Literal(database)))
        assert self.postgres.pid is not None
        base = Path(folder) / "base"
        return Servers(self.postgres.pid, self.service.pid, base / str(oid), (base / "pgsql_tmp",))

    def cursor(self, dsn: str, table: str) -> datetime:
        """The cursor of a table, from the official bookkeeping."""
        query = 'SELECT "timestamp" FROM instructure_dap.table_sync WHERE source_namespace = %s AND source_table = %s'
        with psycopg.connect(dsn) as connection:
            found = connection.execute(query, [NAMESPACE, table]).fetchone()
        if found is None:
            raise LocalStackError(f"{NAMESPACE}.{table} has no row in instructure_dap.table_sync after its init.")
        moment: datetime = found[0].replace(tzinfo=UTC)
        return moment

    def version(self) -> str:
        """The version of PostgreSQL."""
        [(version,)] = self.postgres.execute(sql.SQL("SHOW server_version"))
        return str(version)
