"""The files of a PostgreSQL cluster: made once, with a password, owned by whoever runs the server."""

import os
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from local.errors import LocalStackError
from local.postgres.installation import installation
from local.postgres.unprivileged import Launcher

# The first that works is used. C sorts the same, but the official client warns about a ctype other than UTF-8.
LOCALES = ("C.UTF-8", "en_US.UTF-8", "C")


class Cluster:
    """The cluster of the server whose folder is ``directory``.

    :param superuser: its name; the password is in the file ``password`` there, generated once.
    """

    def __init__(self, directory: Path, launcher: Launcher, superuser: str) -> None:
        self.directory = directory
        self._launcher = launcher
        self._superuser = superuser
        self.home = launcher.data_home(directory / "cluster")
        self.programs = launcher.binaries(installation()) / "bin"
        self.data = self.home / "data"

    @property
    def notice(self) -> str | None:
        """A remark about the place of the files, if there is one to make."""
        if self.home.parent == self.directory:
            return None
        return f"PostgreSQL's files are in {self.home}: its user cannot reach {self.directory}."

    def prepare(self, settings: Mapping[str, str]) -> None:
        """Make what is missing.

        :param settings: of the server: the superuser's password is stored by them.
        :raises LocalStackError: initdb fails, or a server that is not ours runs on these files.
        """
        self._clear_pid_file()
        if not (self.data / "PG_VERSION").exists():
            self._make(settings)

    def _clear_pid_file(self) -> None:
        """PostgreSQL removes a stale pid file itself, but not if the pid now belongs to any other program."""
        pid_file = self.data / "postmaster.pid"
        try:
            process = psutil.Process(int(pid_file.read_text().split()[0]))
            if str(self.data) in process.cmdline():
                raise LocalStackError(f"PostgreSQL runs in {self.data} as process {process.pid}; stop that one first.")
        except (FileNotFoundError, IndexError, ValueError, psutil.NoSuchProcess):
            pass
        pid_file.unlink(missing_ok=True)

    def _make(self, settings: Mapping[str, str]) -> None:
        """Run initdb beside the final place and move the result: a kill leaves no half-made cluster."""
        shutil.rmtree(self.data, ignore_errors=True)
        unfinished = self.home / "unfinished"
        password = self._password_for_initdb()
        try:
            for locale in LOCALES:
                shutil.rmtree(unfinished, ignore_errors=True)
                result = self._initdb(unfinished, password, locale, settings)
                if result.returncode == 0:
                    break
        finally:
            password.unlink()
        if result.returncode:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise LocalStackError(f"PostgreSQL cannot make its files in {self.home}: {_reason(result.stderr)}")
        unfinished.rename(self.data)

    def _password_for_initdb(self) -> Path:
        """A copy of the password that the server's user may read."""
        password = self.directory / "password"
        if not password.exists():
            password.touch(0o600)
            password.write_text(secrets.token_urlsafe(18))
        copy = self.home / "pwfile"
        shutil.copyfile(password, copy)
        owner = self.home.stat()
        os.chown(copy, owner.st_uid, owner.st_gid)
        copy.chmod(0o600)
        return copy

    def _initdb(
        self, target: Path, password: Path, locale: str, settings: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        argv = [
            str(self.programs / "initdb"), "--pgdata", str(target), "--username", self._superuser,
            "--pwfile", str(password), "--auth=scram-sha-256", "--encoding=UTF8", f"--locale={locale}",
            "--lc-messages=C", "--no-sync", *(f"--set={name}={value}" for name, value in settings.items()),
        ]  # fmt: skip
        return self._launcher.run(argv, cwd=self.home, env=environment())


def environment() -> dict[str, str]:
    """Ours without PG* variables (they would change what the programs do) and with untranslated messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}


def _reason(output: str) -> str:
    """The line of a program's output that says why it failed, with the one before it, which often says where."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["it said nothing"]
    words = ("FATAL", "PANIC", "error:", "ERROR")
    telling = next((at for at, line in enumerate(lines) if any(word in line for word in words)), len(lines) - 1)
    return " / ".join(lines[max(0, telling - 1) : telling + 1])
