"""The whole local stack as one object: PostgreSQL, the DAP simulator, AWS services and Airflow."""

import contextlib
import importlib.metadata
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from local import databases
from local.airflow.environment import write_log_in
from local.databases import REPLICA
from local.errors import LocalStackError
from local.postgres import EmbeddedPostgres
from local.postgres.server import NAME as POSTGRES
from local.processes.program import Component
from local.processes.supervisor import ComponentEnded, Supervisor
from local.settings import DEFAULT_ROWS, REAL_JOB_SECONDS, REPOSITORY, UNLIMITED, Options
from local.simulator.control import SimulatorControl
from local.simulator.errors import OTHER_VERSION
from local.stack import components
from local.stack.client import StackClient
from local.stack.components import AIRFLOW_PARTS, SECOND_TRIGGERER
from local.stack.folder import Folder

PARSE_TIMEOUT = 60.0


class Stack(StackClient):
    """A stack of our own: started on entry, stopped on exit, everything below ``directory``.

    :param rows: of a typical table; None: as the stack was made.
    :param job_creations_per_minute: both the simulator's limit and the DAG's setting.
    :param environment: more environment variables for Airflow, e.g. ``AIRFLOW__CD2__DAP_BASE_URL``.
    :param simulator_arguments: more arguments for the simulator.
    :param triggerers: one or two.
    :raises LocalStackError: on entry, if a part cannot start; nothing is left running.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rows: int | None = None,
        port: int | None = None,
        job_creations_per_minute: int = UNLIMITED,
        job_seconds: float = 0.0,
        dags: Path = REPOSITORY / "dags",
        plugins: Path = REPOSITORY / "plugins",
        environment: dict[str, str] | None = None,
        simulator_arguments: tuple[str, ...] = (),
        triggerers: int = 1,
        purpose: str = "a local stack",
    ) -> None:
        super().__init__(directory)
        self._rows, self._port = rows, port
        self._rate, self._job_seconds = job_creations_per_minute, job_seconds
        self._dags, self._plugins = dags, plugins
        self._extra = environment or {}
        self._simulator_arguments = simulator_arguments
        self._parts = AIRFLOW_PARTS if triggerers == 1 else (*AIRFLOW_PARTS, SECOND_TRIGGERER)
        self.purpose = purpose
        self.supervisor = Supervisor(self.folder.path, purpose)
        self.on_stop: Callable[[], object] = lambda: None
        """Called when it begins to stop, whatever the reason."""
        self.postgres: EmbeddedPostgres | None = None

    @classmethod
    def from_options(cls, options: Options, purpose: str = "a local stack") -> "Stack":
        """A stack with a person's options."""
        return cls(
            options.directory,
            rows=options.rows,
            port=options.port,
            job_creations_per_minute=options.job_creations_per_minute,
            job_seconds=REAL_JOB_SECONDS if options.real_pace else 0.0,
            purpose=purpose,
        )

    # -- life ------------------------------------------------------------------------------------

    def start(self, early_check: Callable[[SimulatorControl], object] | None = None) -> None:
        """Start everything and wait until a run can be triggered.

        :param early_check: called when the simulator answers, long before Airflow does; may raise to stop the start.
        """
        with self._owned():
            self.folder.announce("starting", purpose=self.purpose)
            self.folder.choose_ports(self._port)
            self._settle_rows()
            self.folder.remember(job_creations_per_minute=self._rate, stopped_at="")
            with ThreadPoolExecutor() as side_by_side:
                prepared = side_by_side.submit(self._prepare_postgres)
                aws = side_by_side.submit(self._start_aws)
                self.supervisor.start([self._simulator_component()])
                if early_check:
                    early_check(self.simulator)
                prepared.result()
                self._migrate()
                self._began = datetime.now(UTC)
                server = side_by_side.submit(self._start_api_server)
                self.supervisor.start([self._airflow_component(part) for part in self._parts[1:]])
                for started in (server, aws):
                    started.result()
            self._wait_for_dag()
            for run_id in self.api.unfinished_runs():
                # its tasks died with their stack; it would block every later run
                self.api.fail_run(run_id)
            self.folder.announce("running", purpose=self.purpose)

    def start_only(self, *, simulator: bool) -> None:
        """Start PostgreSQL, and the simulator if wanted, without Airflow."""
        with self._owned():
            self.folder.announce("starting", purpose=self.purpose)
            self.folder.choose_ports(None)
            self._settle_rows()
            self._prepare_postgres()
            if simulator:
                self.supervisor.start([self._simulator_component()])

    def stop(self) -> None:
        """Stop everything, in order. Harmless twice."""
        if self.supervisor.names():
            self.on_stop()
            self.folder.remember(stopped_at=datetime.now(UTC).isoformat())
        if self.supervisor.owner and self.folder.state()["status"] == "running":
            self.folder.announce("stopping", purpose=self.purpose)
        self.supervisor.stop(self._parts[1:])
        self.supervisor.stop([name for name in self.supervisor.names() if name != POSTGRES])
        self.supervisor.stop()
        self.postgres = None
        if self.folder.state()["status"] != "failed":
            self.folder.forget_state()
        self.supervisor.release()

    def __enter__(self) -> "Stack":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def check(self) -> None:
        """Check that every part still runs.

        :raises LocalStackError: names the part that does not, with the last lines of its log.
        """
        self.supervisor.check()

    @contextlib.contextmanager
    def _owned(self) -> Iterator[None]:
        self.supervisor.acquire()
        try:
            yield
        except BaseException as error:
            self.stop()
            if isinstance(error, ComponentEnded) and (error.name, error.status) == ("simulator", OTHER_VERSION):
                # history and replica belong together: with a new history they would differ forever
                raise LocalStackError(
                    f"The data in {self.folder.path} was made by another version of the simulator; "
                    "`make reset` deletes it and starts over."
                ) from None
            raise

    # -- the parts -------------------------------------------------------------------------------

    def _settle_rows(self) -> None:
        config = self.folder.config()
        known = config.get("rows")
        if known is not None and "migrated" not in config and self._rows not in (None, known):
            # nothing was ever replicated from this data: a failed start must not fix the size
            shutil.rmtree(self.folder.simulator, ignore_errors=True)
            known = None
        if known is None:
            self.folder.remember(rows=self._rows or DEFAULT_ROWS)
        elif self._rows not in (None, known):
            raise LocalStackError(
                f"The data in {self.folder.path} was made with ROWS={known}; leave ROWS out, "
                f"or `make reset` and start over with ROWS={self._rows}."
            )

    def _prepare_postgres(self) -> None:
        folder = self.folder
        self.postgres = EmbeddedPostgres(folder.postgres, folder.port("postgres"), supervisor=self.supervisor)
        self.postgres.start()
        databases.prepare(self.postgres, folder.secret("metadata"), folder.secret("replica"))
        write_pgpass(folder)

    def _start_api_server(self) -> None:
        self.supervisor.start([self._airflow_component(AIRFLOW_PARTS[0])])
        self.api.warm_up()

    def _start_aws(self) -> None:
        self.supervisor.start([self._aws_component()])
        self._seed_aws()

    def _seed_aws(self) -> None:
        self.aws.seed(
            self.folder.secret("dap_client_id"),
            self.folder.secret("dap_client_secret"),
            {
                "host": "127.0.0.1",
                "port": self.folder.port("postgres"),
                "dbname": REPLICA,
                "username": REPLICA,
                "password": self.folder.secret("replica"),
            },
        )

    def _simulator_component(self) -> Component:
        return components.simulator(
            self.folder, self.simulator, self._rate, self._job_seconds, self._simulator_arguments
        )

    def _aws_component(self) -> Component:
        return components.aws_services(self.folder, self.aws)

    def _airflow_component(self, part: str) -> Component:
        return components.airflow(part, self.api, self.airflow_environment(), lambda: self._began)

    def airflow_environment(self) -> dict[str, str]:
        """The environment of the Airflow components, e.g. to run `airflow` commands."""
        ours = components.airflow_environment(self.folder, self._rate, self._dags, self._plugins)
        return ours | self._extra

    def restart(self, part: str) -> None:
        """Start a component again after ``supervisor.kill``."""
        self._began = datetime.now(UTC)
        if part == "simulator":
            self.supervisor.start([self._simulator_component()])
        elif part == "aws":
            self._start_aws()
        else:
            self.supervisor.start([self._airflow_component(part)])

    def _migrate(self) -> None:
        """Make or upgrade Airflow's metadata database, once per Airflow version."""
        version = importlib.metadata.version("apache-airflow")
        write_log_in(self.folder.airflow / "passwords.json", self.folder.secret("airflow_admin"))
        if self.folder.config().get("migrated") == version:
            return
        self.supervisor.run_once(components.migration(self.airflow_environment()))
        self.folder.remember(migrated=version)

    def _wait_for_dag(self) -> None:
        deadline = time.monotonic() + PARSE_TIMEOUT
        while True:
            self.supervisor.check()
            dag = self.api.dag()
            parsed = dag and dag.get("last_parsed_time")
            if parsed and datetime.fromisoformat(parsed) >= self._began:
                return
            if errors := self.api.import_errors():
                last_line = errors[0].strip().splitlines()[-1]
                raise LocalStackError(f"Airflow cannot load the DAG from {self._dags}: {last_line}")
            if time.monotonic() > deadline:
                raise LocalStackError(f"Airflow did not load the DAG from {self._dags} within {PARSE_TIMEOUT:.0f} s.")
            time.sleep(0.2)


def write_pgpass(folder: Folder) -> None:
    """A libpq password file, so that the psql line shown to people holds no password."""
    folder.pgpass.touch(0o600)
    folder.pgpass.write_text(f"127.0.0.1:{folder.port('postgres')}:{REPLICA}:{REPLICA}:{folder.secret('replica')}\n")
