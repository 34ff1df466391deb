"""The whole local stack as one object: PostgreSQL, the DAP simulator, AWS services and Airflow."""

import contextlib
import importlib.metadata
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from local import airflow_environment, databases, processes
from local.client import StackClient
from local.databases import METADATA, REPLICA
from local.errors import LocalStackError
from local.folder import Folder
from local.postgres import EmbeddedPostgres
from local.settings import DEFAULT_ROWS, REAL_JOB_SECONDS, REPOSITORY, UNLIMITED, Options
from local.simulator.control import SimulatorControl, SimulatorError
from local.supervisor import Component, Supervisor

AIRFLOW_PARTS = ("api-server", "scheduler", "dag-processor", "triggerer")
PARSE_TIMEOUT = 60.0


class Stack(StackClient):
    """A stack of our own: started on entry, stopped on exit, everything below ``directory``.

    :param rows: of a typical table; None: as the stack was made.
    :param job_creations_per_minute: both the simulator's limit and the DAG's setting.
    :param environment: more environment variables for Airflow, e.g. ``AIRFLOW__CD2__DAP_BASE_URL``.
    :param simulator_arguments: more arguments for the simulator.
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
        purpose: str = "a local stack",
    ) -> None:
        super().__init__(directory)
        self._rows, self._port = rows, port
        self._rate, self._job_seconds = job_creations_per_minute, job_seconds
        self._dags, self._plugins = dags, plugins
        self._extra = environment or {}
        self._simulator_arguments = simulator_arguments
        self.supervisor = Supervisor(self.folder.path, purpose)
        self.postgres: EmbeddedPostgres | None = None
        self._api_answered = False

    @classmethod
    def from_options(cls, options: Options, purpose: str = "a local stack") -> "Stack":
        """A stack as a person wants it."""
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
            self.folder.announce("starting")
            self.folder.choose_ports(self._port)
            self._settle_rows()
            self.folder.remember(job_creations_per_minute=self._rate)
            with ThreadPoolExecutor() as side_by_side:
                prepared = side_by_side.submit(self._prepare_postgres)
                self.supervisor.start([self._simulator_component(), self._aws_component()])
                if early_check:
                    early_check(self.simulator)
                prepared.result()
                seeded = side_by_side.submit(self._seed_aws)
                self._migrate()
                seeded.result()
            self._began = datetime.now(UTC)
            self._api_answered = False
            self.supervisor.start([self.airflow_component(part) for part in AIRFLOW_PARTS])
            self._wait_for_dag()
            for run_id in self.api.unfinished_runs():
                # its tasks died with the stack that ran them; it would hold up every later run
                self.api.fail_run(run_id)
            self.folder.announce("running")

    def start_only(self, *, simulator: bool) -> None:
        """Start PostgreSQL, and the simulator if wanted, without Airflow."""
        with self._owned():
            self.folder.announce("starting")
            self.folder.choose_ports(None)
            self._settle_rows()
            self._prepare_postgres()
            if simulator:
                self.supervisor.start([self._simulator_component()])

    def stop(self) -> None:
        """Stop everything, in order. Harmless twice."""
        if self.supervisor.owner and self.folder.state()["status"] == "running":
            self.folder.announce("stopping")
        self.supervisor.stop(AIRFLOW_PARTS[1:])
        self.supervisor.stop()
        if self.postgres is not None:
            self.postgres.stop()
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
        """See that every part lives.

        :raises LocalStackError: names the part that does not, with the last lines of its log.
        """
        self.supervisor.check()
        if self.postgres is None or not self.postgres.running:
            raise LocalStackError(f"PostgreSQL has ended; see {self.supervisor.log('postgres')}.")

    @contextlib.contextmanager
    def _owned(self) -> Iterator[None]:
        self.supervisor.acquire()
        try:
            yield
        except BaseException as error:
            self.stop()
            if "was made with another" in str(error):
                # its history and the replica belong together: one without the other would differ for ever
                raise LocalStackError(
                    f"The data in {self.folder.path} was made by another version of the simulator; "
                    "`make reset` deletes it and starts anew."
                ) from None
            raise

    # -- the parts -------------------------------------------------------------------------------

    def _settle_rows(self) -> None:
        config = self.folder.config()
        known = config.get("rows")
        if known is not None and "migrated" not in config and self._rows not in (None, known):
            # nothing was ever replicated from this data: a start that failed must not tie anybody down
            shutil.rmtree(self.folder.simulator, ignore_errors=True)
            known = None
        if known is None:
            self.folder.remember(rows=self._rows or DEFAULT_ROWS)
        elif self._rows not in (None, known):
            raise LocalStackError(
                f"The data in {self.folder.path} was made with ROWS={known}; leave ROWS out, "
                f"or `make reset` and start anew with ROWS={self._rows}."
            )

    def _prepare_postgres(self) -> None:
        folder = self.folder
        self.postgres = EmbeddedPostgres(folder.postgres, folder.port("postgres"), log=self.supervisor.log("postgres"))
        self.postgres.start()
        databases.prepare(self.postgres, folder.secret("metadata"), folder.secret("replica"))
        write_pgpass(folder)

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
        environment = airflow_environment.base() | {
            "CD2_SIMULATOR_CLIENT_ID": self.folder.secret("dap_client_id"),
            "CD2_SIMULATOR_CLIENT_SECRET": self.folder.secret("dap_client_secret"),
        }
        argv = [sys.executable, "-m", "local.simulator", "--port", str(self.folder.port("simulator"))]
        argv += ["--state", str(self.folder.simulator), "--rows", str(self.folder.config()["rows"])]
        argv += ["--data-limit", str(self._rate), "--job-seconds", str(self._job_seconds)]
        if self._rate == UNLIMITED:
            # one minute may hold two runs, and tests list often
            argv += ["--list-limit", str(UNLIMITED), "--schema-limit", str(UNLIMITED), "--object-limit", str(UNLIMITED)]
            argv += ["--job-limit", str(UNLIMITED)]
        argv += self._simulator_arguments

        def ready() -> bool:
            try:
                return bool(self.simulator.health())
            except SimulatorError:
                return False

        return Component("simulator", argv, ready, environment)

    def _aws_component(self) -> Component:
        argv = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.folder.port("aws"))]
        return Component("aws", argv, self.aws.ready, airflow_environment.base())

    def airflow_environment(self) -> dict[str, str]:
        """The environment of the Airflow components, e.g. to run `airflow` commands."""
        metadata = f"postgresql://{METADATA}:{self.folder.secret('metadata')}@127.0.0.1:{self.folder.port('postgres')}/{METADATA}"
        ours = airflow_environment.of_airflow(self.folder, metadata, self._rate, self._dags, self._plugins)
        return ours | self._extra

    def airflow_component(self, part: str) -> Component:
        """One of Airflow's four components, ready when Airflow itself says so."""
        argv = [sys.executable, "-m", "airflow", part]
        if part in ("scheduler", "triggerer"):
            # all parts share one disk: the API server reads the log files itself
            argv.append("--skip-serve-logs")

        def ready() -> bool:
            if part != "api-server" and not self._api_answered:
                return False
            try:
                health = self.api.health()
            except LocalStackError:
                return False
            self._api_answered = True
            status = health.get(part.replace("-", "_"), {})
            heartbeat = status.get(f"latest_{part.replace('-', '_')}_heartbeat")
            return part == "api-server" or bool(heartbeat and datetime.fromisoformat(heartbeat) >= self._began)

        return Component(part, argv, ready, self.airflow_environment(), start_timeout=120.0)

    def restart(self, part: str) -> None:
        """Start a component again that was killed with ``supervisor.kill``."""
        self._began = datetime.now(UTC)
        if part == "simulator":
            self.supervisor.start([self._simulator_component()])
        elif part == "aws":
            self.supervisor.start([self._aws_component()])
            self._seed_aws()
        else:
            self.supervisor.start([self.airflow_component(part)])

    def _migrate(self) -> None:
        """Make or upgrade Airflow's metadata database, once per Airflow version."""
        version = importlib.metadata.version("apache-airflow")
        airflow_environment.write_log_in(self.folder.airflow / "passwords.json", self.folder.secret("airflow_admin"))
        if self.folder.config().get("migrated") == version:
            return
        argv = [sys.executable, "-m", "airflow", "db", "migrate"]
        self.supervisor.run_once(Component("db-migrate", argv, lambda: True, self.airflow_environment()))
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


def end_stack(directory: Path) -> bool:
    """Stop the stack in ``directory``, whoever started it, and whatever a killed one left; True if there was any."""
    folder = Folder(directory)
    state = folder.state()
    owner = processes.same_process(state["pid"], state["created"]) if state.get("pid") else None
    if owner is not None:
        processes.send([owner], signal.SIGTERM)
        if processes.wait_gone([owner], 60.0):
            processes.send([owner], signal.SIGKILL)
            processes.wait_gone([owner], 5.0)
    if not folder.path.is_dir():
        return False
    supervisor = Supervisor(folder.path, "make down")
    leftovers = supervisor.acquire()
    try:
        ended = EmbeddedPostgres(folder.postgres).end_leftover() if folder.postgres.is_dir() else False
        folder.forget_state()
    finally:
        supervisor.release()
    return bool(owner or leftovers or ended)
