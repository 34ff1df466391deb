"""Make or refresh .venv; started by scripts/setup, with a Python that will do and nothing but its standard library.

uv installs requirements.txt and requirements-dev.txt together, under the constraints file that MWAA reads.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

# tests point these elsewhere
ROOT = Path(os.environ.get("CD2_REQUIREMENTS") or Path(__file__).parent.parent).resolve()
VENV = Path(os.environ.get("CD2_VENV") or ROOT / ".venv").absolute()
PYTHON, UV, STAMP = VENV / "bin" / "python", VENV / "bin" / "uv", VENV / "cd2-setup.txt"

# how pip and uv say that the package index cannot be reached
NETWORK = re.compile(
    r"connection refused|name resolution|name or service not known|nodename nor servname|dns error|timed out"
    r"|network is unreachable|no route to host|connection reset|proxyerror|tunnel error|certificate verify failed"
    r"|invalid peer certificate|failed to establish a new connection|error sending request",
    re.IGNORECASE,
)


def say(text: str) -> None:
    """Print a line of the set-up."""
    print(f"setup: {text}", flush=True)


def state() -> list[str]:
    """The environment's place and Python, the files that it is made from, and what is installed in it."""
    files = sorted([*ROOT.glob("requirements*.txt"), *ROOT.glob("*/constraints-*.txt")])
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()
    installed = sorted(path.name for path in VENV.glob("lib/python3*/site-packages/*.dist-info"))
    return [f"{VENV} {sys.version.split()[0]} {PYTHON.exists()}", digest, *installed]


def stamp() -> list[str]:
    """The state that the last complete set-up left; empty if there was none."""
    return STAMP.read_text().splitlines() if STAMP.exists() else []


def up_to_date() -> bool:
    """True if nothing has changed since; packages that somebody added by hand are none of our business."""
    return bool(stamp()) and set(stamp()) <= set(state())


def uv_environment(python: Path = Path(sys.executable)) -> dict[str, str]:
    """The environment for uv: what pip is told of where packages come from is handed on; what uv is told itself wins.

    uv does not read pip's configuration, and a company's mirror is usually configured only there.
    """
    listed = subprocess.run([python, "-I", "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    pip: dict[str, str] = {}
    for section in ("global", "install", ":env:"):
        found = re.findall(rf"(?m)^{section}\.([\w-]+)='(.*)'$", listed.stdout)
        pip |= {name: value.replace("\\n", " ").strip() for name, value in found}
    extra = " ".join(url for url in pip.get("extra-index-url", "").split() if url.startswith("http"))
    settings = {
        "UV_INDEX_URL": pip.get("index-url"),
        "UV_EXTRA_INDEX_URL": extra,
        # pip takes the best version of all indexes; uv would stop at the first index that knows a package
        "UV_INDEX_STRATEGY": extra and "unsafe-best-match",
        "UV_INSECURE_HOST": pip.get("trusted-host"),
        "SSL_CERT_FILE": pip.get("cert"),
        "ALL_PROXY": pip.get("proxy"),
        "UV_PYTHON_DOWNLOADS": "never",
    }
    return {name: value for name, value in settings.items() if value} | os.environ


def failure(output: str, what: str) -> str:
    """What pip or uv failed at: the network in a sentence, anything else with the end of their output."""
    output = re.sub(r"//[^/@\s]+@", "//", output)  # no passwords
    cause = NETWORK.findall(output)
    if not cause:
        return f"{what}:\n" + "\n".join(output.strip().splitlines()[-12:])
    host = re.search(r"(?:https?://|host=')([\w.:-]+)", output)
    return (
        f"the package index cannot be reached ({host[1] + ': ' if host else ''}{cause[-1].lower()}). Check the network "
        "and proxy; behind a mirror set PIP_INDEX_URL (or `pip config set global.index-url`) to it, then run it again."
    )


def stack_in_use() -> bool:
    """Whether a local stack runs now with the packages in `.venv`: its owner holds a lock."""
    folder = Path(os.environ.get("CD2_LOCAL_DIR") or ROOT / ".local")
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False


def run(what: str, *command: str | Path, text: str = "", environment: dict[str, str] | None = None) -> None:
    """Run a program quietly. Raises RuntimeError with a sentence if it fails."""
    # close_fds=False: whoever installs holds the lock, so a killed set-up's installer holds it until it is gone
    done = subprocess.run(
        command,
        input=text,
        env=environment,
        close_fds=False,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(failure(done.stdout + done.stderr, what))


def set_up() -> None:
    """Install what the requirements and constraints name into `.venv`."""
    if VENV.is_symlink():  # it belongs to another checkout, which still needs it
        raise RuntimeError(f"{VENV} is a link to {VENV.readlink()}: remove the link, then run this again.")
    started, anew = time.monotonic(), stamp()[:1] != state()[:1]
    STAMP.unlink(missing_ok=True)  # whatever stops this half-way, the next set-up starts afresh
    what = "making (half a minute, 1 GB)" if anew else "refreshing"
    say(f"{what} {VENV} with Python {sys.version.split()[0]} ({sys.executable})")
    # MWAA's folder is this checkout's dags/
    wanted = (ROOT / "requirements.txt").read_text().replace("/usr/local/airflow/dags/", f"{ROOT / 'dags'}/")
    cannot = "the packages cannot be installed"
    try:
        if anew:
            run(f"{sys.executable} cannot make {VENV}", sys.executable, "-I", "-m", "venv", "--clear", VENV)
        if not UV.exists():
            pip: list[str | Path] = [PYTHON, "-I", "-m", "pip", "install", "--disable-pip-version-check", "--retries=1"]
            run(cannot, *pip, "uv", *(f"--constraint={file}" for file in ROOT.glob("dags/constraints-*.txt")))
        uv = uv_environment(PYTHON)
        install = ("pip", "install", "--python", PYTHON, "-r", "-", "-r", ROOT / "requirements-dev.txt")
        run(cannot, UV, *install, text=wanted, environment=uv)
        run("the installed packages conflict with one another", UV, "pip", "check", "--python", PYTHON, environment=uv)
    except BaseException:
        if anew:
            shutil.rmtree(VENV, ignore_errors=True)
        raise
    STAMP.write_text("\n".join(state()))
    say(f"{len(state()) - 2} packages, no conflicts, {time.monotonic() - started:.0f} s")
    if stack_in_use():
        say("the local stack still runs with the packages from before: `make down`, then start it again.")


def main() -> None:
    """Make or refresh `.venv`, unless it is as it should be (`make setup`)."""
    if up_to_date():
        return None if "--quiet" in sys.argv else say(f"nothing to do, {VENV} is up to date")
    if "--check" in sys.argv:
        sys.exit(1)
    try:
        VENV.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(VENV.parent, os.O_RDONLY)
        os.set_inheritable(lock, True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is running, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        if not up_to_date():  # another set-up may have done it meanwhile
            set_up()
    except RuntimeError as problem:
        sys.exit(f"setup: {problem}")
    except KeyboardInterrupt:
        sys.exit("setup: stopped; run it again to complete it.")
    except OSError as problem:
        sys.exit(f"setup: {problem.filename or VENV}: {problem.strerror}.")


if __name__ == "__main__":
    main()
