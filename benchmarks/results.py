"""The results of a run of the benchmarks, as JSON and for the report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import Usage
from local.errors import LocalStackError
from local.settings import REPOSITORY


@dataclass(frozen=True)
class Run:
    """One measured run of one competitor.

    :param case: init, sync or unchanged.
    :param rows: of the table before the run.
    :param repeat: runs with the same number took turns and are compared with each other.
    :param work_s: seconds of the table's own steps; None if the program does not print them.
    """

    case: str
    shape: str
    rows: int
    competitor: str
    repeat: int
    usage: Usage
    work_s: float | None = None


@dataclass
class Results:
    """The results of one `make bench`.

    :param machine: what it ran on, by name.
    :param data: by `case shape rows`: what was loaded (columns, lines, compressed, decompressed).
    :param checks: what was verified, as sentences.
    """

    machine: dict[str, Any]
    options: dict[str, Any]
    runs: list[Run] = field(default_factory=list)
    data: dict[str, dict[str, int]] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, path: Path) -> None:
        """Write the results atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(json.dumps(asdict(self), indent=1, default=str) + "\n")
        new.replace(path)

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read saved results.

        :raises LocalStackError: there is no such file, or it does not hold results.
        """
        try:
            values = json.loads(path.read_text())
            runs = [Run(**run | {"usage": Usage(**run["usage"])}) for run in values.pop("runs")]
            return cls(runs=runs, **values)
        except FileNotFoundError:
            raise LocalStackError(f"There are no results in {path}; `make bench` makes some.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise LocalStackError(f"{path} holds no results of `make bench` ({type(error).__name__}).") from None


def machine(postgres: str) -> dict[str, Any]:
    """What the benchmarks run on, and when."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "postgresql": postgres,
        "client": version("instructure-dap-client"),
    }


def cpu_model() -> str:
    """The name of the CPU, if the system knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or platform.machine()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The measured commit, and whether the working tree differs from it."""
    git = ["git", "-C", str(REPOSITORY)]
    try:
        found = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "plugins", "local", "benchmarks", "requirements.txt"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip() + (" with uncommitted changes" if changed.stdout.strip() else "")
