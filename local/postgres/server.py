"""An embedded PostgreSQL 16 server."""

import shutil
import signal
from pathlib import Path
from types import TracebackType

import psycopg

from local.databases import PostgresServer
from local.errors import LocalStackError
from local.postgres.cluster import Cluster, environment
from local.postgres.installation import installation
from local.postgres.unprivileged import Launcher, best_launcher
from local.processes.ports import free_port, is_free
from local.processes.program import Component
from local.processes.supervisor import Supervisor

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0
NAME = "postgres"
"""Of the server among the components of its supervisor, and of its log file."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
    "max_wal_size": "2GB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "log_checkpoints": "off",
}
# Survives a killed server, not a power cut. The password is a random token, which no number of rounds makes safer; in
# asyncpg, whose SCRAM is Python, 4,096 rounds take longer than most tests' statements.
FOR_TESTS = {"fsync": "off", "full_page_writes": "off", "scram_iterations": "1"}


class EmbeddedPostgres(PostgresServer):
    """A PostgreSQL cluster in ``directory``, listening on 127.0.0.1 with passwords. It ends with this process.

    :param directory: made if missing; the cluster, its password and its log live there.
    :param port: a fixed port; by default the one used last time if still free, else any free one.
    :param durable: False, for tests, trades safety against power cuts for speed.
    :param supervisor: runs the server among other programs; None: one of its own, for ``directory``.
    """

    host = "127.0.0.1"
    port: int

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        durable: bool = True,
        supervisor: Supervisor | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self._wanted_port = port
        self._settings = SETTINGS if durable else SETTINGS | FOR_TESTS
        self._launcher = launcher or best_launcher()
        self._own_supervisor = supervisor is None
        self._supervisor = supervisor or Supervisor(self.directory, "a PostgreSQL server")
        self._cluster: Cluster | None = None
        self.log = self._supervisor.log(NAME)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server (making the cluster the first time) and wait until it answers.

        :raises LocalStackError: it cannot start; nothing is left running.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        if self._own_supervisor:
            self._supervisor.acquire()
        try:
            self._cluster = Cluster(self.directory, self._launcher, self.superuser)
            self._cluster.prepare(self._settings)
            self._choose_port()
            self._supervisor.start([self._component(self._cluster)])
        except BaseException as failure:
            self.stop()
            if isinstance(failure, OSError):
                raise LocalStackError(f"PostgreSQL cannot start in {self.directory}: {failure}.") from failure
            raise

    def stop(self) -> None:
        """Stop the server (open sessions are ended, nothing is lost) and wait for its end. Harmless twice."""
        self._supervisor.stop([NAME])
        if self._own_supervisor:
            self._supervisor.release()

    def remove(self) -> None:
        """Delete the cluster and everything in it.

        :raises LocalStackError: somebody else runs the server.
        """
        if not self.directory.is_dir():
            return
        if self._own_supervisor:
            self._supervisor.acquire()
        try:
            shutil.rmtree(Cluster(self.directory, self._launcher, self.superuser).home)
        finally:
            if self._own_supervisor:
                self._supervisor.release()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "EmbeddedPostgres":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._supervisor.running(NAME)

    # -- use -------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The process id of the server; None when it was not started."""
        return self._supervisor.pid(NAME) if NAME in self._supervisor.names() else None

    @property
    def data(self) -> Path:
        """The data folder of the cluster, once the server was started."""
        assert self._cluster is not None
        return self._cluster.data

    @property
    def notice(self) -> str | None:
        """A remark for people about this server, if there is one to make."""
        return self._cluster.notice if self._cluster else None

    @property
    def password(self) -> str:
        """The superuser's password, generated once per cluster."""
        return (self.directory / "password").read_text()

    @property
    def psql_path(self) -> Path:
        """The psql that belongs to the server."""
        return installation() / "bin" / "psql"

    # -- inside ----------------------------------------------------------------------------------

    def _component(self, cluster: Cluster) -> Component:
        argv = [str(cluster.programs / "postgres"), "-D", str(cluster.data), "-p", str(self.port)]
        for name, value in self._settings.items():
            argv += ["-c", f"{name}={value}"]
        return Component(
            NAME,
            self._launcher.command(argv),
            self._answers,
            environment(),
            start_timeout=START_TIMEOUT,
            grace=STOP_TIMEOUT,
            stop_signal=signal.SIGINT,
            directory=cluster.home,
            user=self._launcher.user,
        )

    def _choose_port(self) -> None:
        remembered = self.directory / "port"
        if self._wanted_port is not None:
            if not is_free(self._wanted_port):
                raise LocalStackError(
                    f"Port {self._wanted_port} is in use by another program; PostgreSQL cannot listen there."
                )
            self.port = self._wanted_port
        else:
            last = int(remembered.read_text()) if remembered.exists() else None
            self.port = last if last and is_free(last) else free_port()
        remembered.write_text(str(self.port))

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True
