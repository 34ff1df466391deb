"""Make or refresh the development environment; started by scripts/setup with a Python that will do.

Only the standard library: nothing is installed yet. What ends up in the environment is requirements.txt and
requirements-dev.txt, resolved together under the constraints file that MWAA reads. uv installs it (seconds instead
of a minute) with the settings of pip that say where packages come from; without uv, pip does.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# tests point these elsewhere
VENV = Path(os.environ.get("CD2_VENV") or ROOT / ".venv").absolute()
REQUIREMENTS = Path(os.environ.get("CD2_REQUIREMENTS") or ROOT)
MWAA_DAGS = "/usr/local/airflow/dags/"
STAMP = VENV / "cd2-setup.json"
PYTHON = VENV / "bin" / "python"

# how pip and uv word it when the package index cannot be reached
NETWORK = re.compile(
    r"connection refused|name resolution|name or service not known|nodename nor servname|dns error"
    r"|timed out|network is unreachable|no route to host"
    r"|connection reset|proxyerror|tunnel error|certificate verify failed|invalid peer certificate"
    r"|failed to establish a new connection|error sending request",
    re.IGNORECASE,
)
ADVICE = (
    "Check the network and proxy; behind a mirror set PIP_INDEX_URL (or `pip config set global.index-url`) to it, "
    "then run it again."
)


class SetupError(Exception):
    """What went wrong and what to do, in a sentence."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def inputs() -> dict[str, str]:
    """What the environment depends on; one made from other inputs is out of date."""
    files = [*REQUIREMENTS.glob("requirements*.txt"), *REQUIREMENTS.glob("dags/constraints-*.txt")]
    files += REQUIREMENTS.glob("scripts/constraints-*.txt")
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    # the programs in bin/ name the environment's path, so a moved checkout needs a new one
    return {"requirements": digest.hexdigest(), "venv": str(VENV)}


def installed() -> list[str]:
    """Names and versions of the packages in the environment, as their metadata folders spell them."""
    return sorted(path.name for path in VENV.glob("lib/python3*/site-packages/*.dist-info"))


def version() -> str:
    return ".".join(str(part) for part in sys.version_info[:3])


def read_stamp() -> dict[str, Any]:
    """What the last complete set-up wrote; empty if there was none."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def up_to_date() -> bool:
    stamp = read_stamp()
    return (
        bool(stamp)
        and stamp.items() >= inputs().items()
        and set(stamp.get("installed", ())) <= set(installed())
        and PYTHON.exists()
        and (not os.environ.get("PYTHON") or stamp.get("python") == version())
    )


@contextlib.contextmanager
def lock() -> Iterator[int]:
    """One set-up at a time. Children inherit the lock: a killed set-up's installer holds it until it is gone."""
    VENV.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(VENV.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another set-up is running, waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


class Installer:
    """Fills the environment."""

    def __init__(self, lock_handle: int) -> None:
        self.lock_handle = lock_handle
        self.environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PYTHONNOUSERSITE="1")
        self.environment.pop("PYTHONPATH", None)
        self.environment.pop("PYTHONHOME", None)

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            pass_fds=[self.lock_handle],
            check=False,
        )

    def make_venv(self) -> None:
        done = self.run(sys.executable, "-m", "venv", "--clear", VENV)
        if done.returncode:
            raise SetupError(
                f"{sys.executable} cannot make a virtual environment in {VENV}: {tail(done.stdout)}\n"
                "On Debian and Ubuntu this needs the package "
                f"python{sys.version_info[0]}.{sys.version_info[1]}-venv; otherwise choose another Python "
                "with PYTHON=/path/to/python."
            )

    def install(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            requirements = Path(folder, "requirements.txt")
            # MWAA's folder is this checkout's dags/
            text = (REQUIREMENTS / "requirements.txt").read_text()
            requirements.write_text(text.replace(MWAA_DAGS, f"{REQUIREMENTS / 'dags'}/"))
            wanted: list[str | Path] = ["-r", requirements, "-r", REQUIREMENTS / "requirements-dev.txt"]
            if self.have_uv():
                self.environment |= uv_settings(pip_settings(PYTHON), self.environment)
                done = self.run(VENV / "bin" / "uv", "pip", "install", "--python", PYTHON, *wanted)
            else:
                done = self.run(PYTHON, "-m", "pip", "install", *wanted)
        if done.returncode:
            raise failure(done.stdout, "the packages cannot be installed")

    def have_uv(self) -> bool:
        if (VENV / "bin" / "uv").exists():
            return True
        constraints = next(REQUIREMENTS.glob("dags/constraints-*.txt"), None)
        limits: list[str | Path] = ["--constraint", constraints] if constraints else []
        done = self.run(PYTHON, "-m", "pip", "install", "--retries", "1", "uv", *limits)
        if done.returncode:
            if NETWORK.search(done.stdout):
                raise failure(done.stdout, "")
            say("uv is not to be had from this package index, installing with pip (about a minute)")
        return done.returncode == 0

    def check(self) -> None:
        """Fails if a package's requirements are not met by the others."""
        if (VENV / "bin" / "uv").exists():
            done = self.run(VENV / "bin" / "uv", "pip", "check", "--python", PYTHON)
        else:
            done = self.run(PYTHON, "-m", "pip", "check")
        if done.returncode:
            raise SetupError(f"the installed packages contradict one another:\n{tail(done.stdout)}")


def pip_settings(python: str | Path) -> dict[str, str]:
    """pip's own settings; those of `install` win over `global`, the environment over both."""
    command = [str(python), "-m", "pip", "config", "list"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        found = re.findall(rf"(?m)^{re.escape(section)}\.([\w-]+)='(.*)'$", output)
        settings |= {name: value.replace("\\n", " ").strip() for name, value in found}
    return settings


def uv_settings(pip: dict[str, str], environment: dict[str, str]) -> dict[str, str]:
    """Settings of pip that say where packages come from, as uv's variables; those already set for uv win.

    uv does not read pip's configuration, and a company's mirror is usually configured only there.
    """
    extra = [url for url in pip.get("extra-index-url", "").split() if url.startswith(("http://", "https://"))]
    settings = {
        "UV_DEFAULT_INDEX": pip.get("index-url", ""),
        "UV_INDEX": " ".join(extra),
        # pip takes the best version of all indexes; uv would stop at the first index that knows a package
        "UV_INDEX_STRATEGY": "unsafe-best-match" if extra else "",
        "UV_INSECURE_HOST": pip.get("trusted-host", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
    }
    older_names = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}
    return {
        name: value
        for name, value in settings.items()
        if value and name not in environment and older_names.get(name) not in environment
    }


def without_secrets(text: str) -> str:
    return re.sub(r"//[^/@\s]+@", "//", text)


def tail(output: str, lines: int = 12) -> str:
    return without_secrets("\n".join(output.strip().splitlines()[-lines:]))


def failure(output: str, what: str) -> SetupError:
    """What pip or uv failed at: the network in a sentence, anything else with the end of their output."""
    if NETWORK.search(output):
        return SetupError(f"the package index cannot be reached ({unreachable(output)}). {ADVICE}")
    return SetupError(f"{what}:\n{tail(output)}")


def unreachable(output: str) -> str:
    """Which host, and the cause, from pip's or uv's output."""
    if re.search("proxyerror|tunnel error", output, re.IGNORECASE):
        return "the configured proxy does not answer"
    host = re.search(r"host='([\w.-]+)'|(?:fetch: `|url \(|indexes: )https?://(?:[^/@\s]+@)?([\w.:-]+)", output)
    cause = NETWORK.findall(output)[-1].lower()
    return f"{host[1] or host[2]}: {cause}" if host else cause


def set_up(lock_handle: int) -> None:
    started = time.monotonic()
    installer = Installer(lock_handle)
    stamp = read_stamp()
    usable = stamp.get("python") == version() and stamp.get("venv") == str(VENV) and PYTHON.exists()
    # No stamp while at work: whatever stops this half-way, the next set-up starts afresh.
    STAMP.unlink(missing_ok=True)
    say(f"{'refreshing' if usable else 'making'} {VENV} with Python {version()} ({sys.executable})")
    try:
        if not usable:
            installer.make_venv()
        installer.install()
        installer.check()
    except SetupError:
        if not usable:
            shutil.rmtree(VENV, ignore_errors=True)
        raise
    packages = installed()
    STAMP.write_text(json.dumps({**inputs(), "python": version(), "installed": packages}, indent=1))
    say(f"{len(packages)} packages, no conflicts, {time.monotonic() - started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/setup", description=__doc__)
    parser.add_argument("--quiet", action="store_true", help="say nothing if there is nothing to do")
    parser.add_argument("--check", action="store_true", help="exit with 0 if there is nothing to do, else with 1")
    options = parser.parse_args()
    if up_to_date():
        if not options.quiet:
            say(f"nothing to do, {VENV} is up to date")
        return
    if options.check:
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        with lock() as handle:
            if not up_to_date():  # another set-up may have done it meanwhile
                set_up(handle)
    except SetupError as problem:
        sys.exit(f"setup: {problem}")
    except KeyboardInterrupt:
        sys.exit("setup: stopped; run it again to complete it.")
    except OSError as problem:
        sys.exit(f"setup: {problem.filename or VENV}: {problem.strerror}.")


if __name__ == "__main__":
    main()
