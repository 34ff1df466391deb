"""The append-only record of everything that changed the simulator; a start replays it."""

import json
import os
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from local.simulator.errors import StateError


class Journal:
    """One JSON object a line in `journal.jsonl` of the state directory.

    A line is handed to the operating system before the call that caused it is answered: kill -9 loses nothing that was
    acknowledged. A line cut short by a crash is dropped at the next start.

    :raises StateError: the directory cannot be written or another simulator uses it.
    """

    def __init__(self, directory: Path) -> None:
        self._lock = FileLock(directory / "lock", blocking=False)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise StateError(f"another simulator is using the state directory {directory}") from None
        except OSError as error:
            raise StateError(f"the state directory {directory} cannot be used: {error.strerror}") from None
        self.path = directory / "journal.jsonl"
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)

    def read(self) -> list[dict[str, Any]]:
        """All entries, oldest first.

        :raises StateError: the journal is damaged (other than its last line cut short).
        """
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)
        entries = []
        for number, line in enumerate(data[:whole].splitlines(), 1):
            try:
                entries.append(json.loads(line))
            except ValueError:
                raise StateError(f"{self.path}, line {number} is damaged; remove the state directory") from None
        return entries

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry."""
        data = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        written = os.write(self._file, data)
        while written < len(data):
            written += os.write(self._file, data[written:])

    def close(self) -> None:
        """Release the state directory."""
        os.close(self._file)
        self._lock.release()
