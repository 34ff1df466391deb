"""Running PostgreSQL, which refuses to be root, also when we are root.

Three ways, best first: as we are (not root); in a user namespace without a mapping, where the kernel still
sees us as the owner of our files but PostgreSQL sees user 65534; as user 65534 for real, where namespaces
are not permitted (Docker's default seccomp profile).
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

NOBODY = 65534


class Launcher:
    """How to start PostgreSQL's programs so that they do not see root. This one: we are an ordinary user."""

    user: int | None = None
    """Number of the user and group that the programs run as; None: ours."""

    def command(self, argv: list[str]) -> list[str]:
        """The command line to start instead of ``argv``."""
        return argv

    def binaries(self, source: Path) -> Path:
        """Where to start the installation at ``source`` from."""
        return source

    def data_home(self, wanted: Path) -> Path:
        """The folder to keep the cluster in, instead of ``wanted``; made, owned by whoever runs the programs."""
        wanted.mkdir(parents=True, exist_ok=True)
        return wanted

    def run(self, argv: list[str], cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; returns its status and what it printed."""
        argv = self.command(argv)
        if self.user is None:
            return subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd, env=env)
        return subprocess.run(
            argv, capture_output=True, text=True, check=False, cwd=cwd, env=env,
            user=self.user, group=self.user, extra_groups=[],
        )  # fmt: skip


class InUserNamespace(Launcher):
    """We are root and may make user namespaces. ``unshare`` replaces itself by the program: the pid stays."""

    def command(self, argv: list[str]) -> list[str]:
        return ["unshare", "--user", "--", *argv]


class AsNobody(Launcher):
    """We are root and may not make user namespaces: become user 65534 for real.

    What that user cannot reach (root's home folder is closed to others) is copied to, or kept, below the
    system's temporary folder.
    """

    user = NOBODY

    def _can(self, *test: str) -> bool:
        return self.run(["test", *test], cwd=Path("/")).returncode == 0

    def _elsewhere(self, path: Path) -> Path:
        name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"canvas-data-2-{name}"

    def binaries(self, source: Path) -> Path:
        if self._can("-x", str(source / "bin" / "postgres")):
            return source
        copy = self._elsewhere(source)
        if not (copy / "bin" / "postgres").exists():
            unfinished = copy.with_suffix(f".{os.getpid()}")
            shutil.copytree(source, unfinished, symlinks=True)
            unfinished.chmod(0o755)
            unfinished.rename(copy)
        return copy

    def data_home(self, wanted: Path) -> Path:
        wanted.mkdir(parents=True, exist_ok=True)
        if not self._can("-x", str(wanted.parent)):
            wanted = self._elsewhere(wanted)
            wanted.mkdir(exist_ok=True)
        os.chown(wanted, NOBODY, NOBODY)
        return wanted


@cache
def best_launcher() -> Launcher:
    """The best way this machine permits."""
    if os.geteuid() != 0:
        return Launcher()
    # geteuid() of the child decides: some sandboxes let unshare succeed and still map root to root
    asked = ["unshare", "--user", "--", "id", "-u"]
    if shutil.which("unshare"):
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() not in {"", "0"}:
            return InUserNamespace()
    return AsNobody()
