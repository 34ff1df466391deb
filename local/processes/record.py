"""The record of what runs for a folder, so that others can end it when the owner cannot."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

import psutil

from local.processes import families


class Record:
    """A file in ``directory`` that lists the programs that its owner has started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._file = directory / "processes.json"

    def write(self, programs: Iterable[tuple[str, int, float]]) -> None:
        """Replace the record.

        :param programs: name, pid, and when the process started (seconds since 1970).
        """
        entries = [{"name": name, "pid": pid, "created": created} for name, pid, created in programs]
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps(entries))
        new.replace(self._file)

    def remove(self) -> None:
        """Delete the file."""
        self._file.unlink(missing_ok=True)

    def running(self) -> set[psutil.Process]:
        """Everything that runs for the folder: the recorded programs, what they started, and what carries the mark."""
        found = families.marked(str(self.directory))
        with contextlib.suppress(FileNotFoundError, ValueError):
            for entry in json.loads(self._file.read_text()):
                found |= families.family(entry["pid"], entry["created"])
        return found
