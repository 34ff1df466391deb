"""Measures a program: time, CPU, memory and disk, including those of the servers."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from local.errors import LocalStackError
from local.processes import families

TICK_S = 0.02
"""Between two samples of memory and temporary files."""
RARE_S = 0.25
"""Between two samples of what takes longer: new processes, unshared memory, the size of a database."""
TAIL_LINES = 15


@dataclass
class Usage:
    """The cost of one run. Times in seconds, sizes in bytes, peaks over the whole tree of processes.

    :param rss: resident memory, shared libraries included.
    :param uss: memory that only these processes use, if the system reports it.
    :param temporary: files in the working folder, in TMPDIR and HOME, and open files without a name.
    :param server_cpu: of all processes of the database server.
    :param service_cpu: of the DAP simulator.
    :param server_space: peak space of the database beyond its final size, including sort files.
    """

    wall: float = 0.0
    cpu: float = 0.0
    rss: int = 0
    uss: int = 0
    temporary: int = 0
    server_cpu: float = 0.0
    service_cpu: float = 0.0
    server_space: int = 0


@dataclass(frozen=True)
class Program:
    """A program to measure.

    :param environment: complete, except for TMPDIR and HOME.
    """

    argv: Sequence[str]
    environment: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Servers:
    """The servers that the measured program uses.

    :param postgres: pid of the database server.
    :param simulator: pid of the DAP simulator.
    :param database_files: folder of the database that is loaded.
    :param sort_files: folders for sorts that do not fit into the server's memory.
    """

    postgres: int
    simulator: int
    database_files: Path
    sort_files: tuple[Path, ...] = ()

    def space(self) -> int:
        """Bytes on disk of the database and of the server's sort files."""
        return sum(size_of(folder) for folder in (self.database_files, *self.sort_files))


def measure(program: Program, directory: Path, servers: Servers | None = None) -> tuple[Usage, str]:
    """Run a program to its end and watch it.

    :param directory: created, and removed at the end; working folder, HOME and TMPDIR of the program.
    :returns: the cost, and what the program printed.
    :raises LocalStackError: the program fails; quotes the end of its output.
    """
    directory.mkdir(parents=True)
    home = directory / "work"
    home.mkdir()
    environment = program.environment | {"TMPDIR": str(home), "HOME": str(home)}
    try:
        with (directory / "stdout").open("w+b") as output, (directory / "stderr").open("w+b") as errors:
            before = _server_times(servers)
            started = time.perf_counter()
            process = subprocess.Popen(
                program.argv,
                env=environment,
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            watch = _Watch(process, home, servers)
            try:
                watch.until_the_end()
            finally:
                watch.end_process()
            usage = watch.usage
            usage.wall = watch.ended - started
            after = _server_times(servers)
            usage.server_cpu, usage.service_cpu = (late - early for early, late in zip(before, after, strict=True))
            output.seek(0)
            errors.seek(0)
            printed, said = (file.read().decode(errors="replace") for file in (output, errors))
        if process.returncode:
            tail = "\n  ".join((said or printed).strip().splitlines()[-TAIL_LINES:])
            raise LocalStackError(f"{' '.join(program.argv[:4])} ended with status {process.returncode}:\n  {tail}")
        return usage, printed
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Watch:
    """One process under observation. A thread waits for it, so that its end is known to the millisecond."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path, servers: Servers | None) -> None:
        self.usage = Usage()
        self.ended = 0.0
        self._process = process
        self._home = home
        self._servers = servers
        self._root = psutil.Process(process.pid)
        self._created = self._root.create_time()
        self._tree = [self._root]
        self._most_space = self._final_space = 0
        self._waiter = threading.Thread(target=self._wait, daemon=True)
        self._waiter.start()

    def _wait(self) -> None:
        _, status, used = os.wait4(self._process.pid, 0)
        self.ended = time.perf_counter()
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.usage.cpu = used.ru_utime + used.ru_stime
        if not Path("/proc/self/status").exists():
            # Elsewhere the kernel's peak would include our own: a child begins as a copy of its parent.
            self.usage.rss = max(self.usage.rss, maximum_rss(used))

    def until_the_end(self) -> None:
        rarely = 0.0
        while self._waiter.is_alive():
            rare = time.monotonic() >= rarely
            if rare:
                rarely = time.monotonic() + RARE_S
                self._look_rarely()
            self._look()
            self._waiter.join(TICK_S)
        if self._servers is not None:
            self._final_space = self._servers.space()
            self.usage.server_space = max(0, self._most_space - self._final_space)

    def end_process(self) -> None:
        """End the process and all its descendants."""
        families.end(families.family(self._process.pid, self._created), grace=1.0)
        self._waiter.join()

    def _look(self) -> None:
        usage = self.usage
        usage.rss = max(usage.rss, _peak_rss(self._process.pid), sum(_rss(process) for process in self._tree))
        usage.temporary = max(usage.temporary, size_of(self._home) + sum(map(_nameless, self._tree)))

    def _look_rarely(self) -> None:
        with contextlib.suppress(psutil.Error):
            self._tree = [self._root, *self._root.children(recursive=True)]
        self.usage.uss = max(self.usage.uss, sum(_uss(process) for process in self._tree))
        if self._servers is not None:
            self._most_space = max(self._most_space, self._servers.space())


# -- memory ----------------------------------------------------------------------------------------


def maximum_rss(used: resource.struct_rusage) -> int:
    """The kernel's peak of resident memory in bytes: macOS counts bytes, others kilobytes."""
    return used.ru_maxrss if sys.platform == "darwin" else used.ru_maxrss * 1024


def _rss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return process.memory_info().rss
    return 0


def _uss(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error, AttributeError):
        return process.memory_full_info().uss
    return 0


def _peak_rss(pid: int) -> int:
    """The kernel's peak since the program began; ru_maxrss would include the copy of us that the child was at first."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


# -- disk ------------------------------------------------------------------------------------------


def size_of(directory: Path) -> int:
    """Bytes on disk of the regular files below a folder; 0 if there is none."""
    total = 0
    folders = [directory]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_blocks * 512
    return total


def _nameless(process: psutil.Process) -> int:
    """Bytes of the files that a process has open but that were removed (or never had a name); Linux only."""
    total = 0
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if str(descriptor.readlink()).endswith(" (deleted)"):
                    total += descriptor.stat().st_blocks * 512
    return total


# -- processor of the servers ----------------------------------------------------------------------


def _server_times(servers: Servers | None) -> tuple[float, float]:
    if servers is None:
        return 0.0, 0.0
    return cpu_of_tree(servers.postgres), cpu_of_tree(servers.simulator)


def cpu_of_tree(pid: int) -> float:
    """CPU seconds that a process, its living descendants and its ended children have used so far."""
    root = psutil.Process(pid)
    while True:
        children = root.children(recursive=True)
        total = sum(_cpu(process) for process in (root, *children))
        # A child that ends between the two calls would count neither as living nor as ended.
        if root.children(recursive=True) == children:
            return total


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return times.user + times.system + times.children_user + times.children_system
    return 0.0
