"""The options of the benchmarks, from environment variables (`make bench ROWS_LIST=...`)."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.shapes import SHAPES
from local.errors import LocalStackError
from local.settings import REPOSITORY

CASES = ("init", "sync", "unchanged")
HEADLINE_SHAPE, HEADLINE_ROWS, LARGEST_ROWS = "narrow", 1_000_000, 4_000_000
"""The table of "Numbers to reach", and the size at which memory must still be the same."""
INSERTS, UPDATES, DELETES = 0.05, 0.15, 0.02
"""Changes between two syncs, as fractions of the rows."""
UPSERTS = INSERTS + UPDATES
DOCUMENT = REPOSITORY / "docs" / "benchmarks.md"

HELP = """\
make bench [NAME=value ...]: our engine, the official client and psql side by side; about an hour by default

  ROWS_LIST        rows of the tables                                  (100_000,1_000_000,4_000_000)
  SHAPES           narrow (6 columns, 250 bytes a row), wide (50)      (narrow,wide)
  CASES            init, sync, unchanged                               (init,sync,unchanged)
  REPEATS          of each run; the competitors take turns             (3)
  CLIENT_MAX_ROWS  the official client loads tables up to this size    (1_000_000)
  REPORT           where the report goes    (docs/benchmarks.md if the run covers "Numbers to reach", .local/bench else)

Results as JSON are in .local/bench (CD2_LOCAL_DIR/bench), also those of an interrupted run.
python -m benchmarks report [results.json] writes the report again.
"""


@dataclass(frozen=True)
class Options:
    """What to measure, and where the results go.

    :param client_max_rows: the client skips larger tables: it takes ten minutes for four million rows.
    :param report: where the report goes; None: `destination` decides.
    """

    directory: Path = REPOSITORY / ".local" / "bench"
    rows_list: tuple[int, ...] = (100_000, HEADLINE_ROWS, LARGEST_ROWS)
    shapes: tuple[str, ...] = tuple(SHAPES)
    cases: tuple[str, ...] = CASES
    repeats: int = 3
    client_max_rows: int = 1_000_000
    report: Path | None = field(default=None)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Options:
        """Read the options.

        :raises LocalStackError: a value is wrong; says which, and what is allowed.
        """

        def text(name: str) -> str:
            return environment.get(name, "").strip()

        local = text("CD2_LOCAL_DIR")
        rows = tuple(sorted({_number("ROWS_LIST", part, 100_000_000) for part in _parts(text("ROWS_LIST"))}))
        return cls(
            directory=Path(local).resolve() / "bench" if local else cls.directory,
            rows_list=rows or cls.rows_list,
            shapes=_chosen("SHAPES", text("SHAPES"), SHAPES),
            cases=_chosen("CASES", text("CASES"), CASES),
            repeats=_number("REPEATS", text("REPEATS") or str(cls.repeats), 100),
            client_max_rows=_number(
                "CLIENT_MAX_ROWS", text("CLIENT_MAX_ROWS") or str(cls.client_max_rows), 100_000_000, least=0
            ),
            report=Path(text("REPORT")).resolve() if text("REPORT") else None,
        )

    def destination(self, complete: bool) -> Path:
        """Where the report goes.

        :param complete: whether the results cover all of "Numbers to reach"; others do not replace the document.
        """
        return self.report or (DOCUMENT if complete else self.directory / "benchmarks.md")


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _chosen(name: str, text: str, known: Collection[str]) -> tuple[str, ...]:
    wanted = _parts(text)
    if wrong := [part for part in wanted if part not in known]:
        raise LocalStackError(f"{name}={','.join(wrong)} does not exist; choose from {', '.join(known)}.")
    return tuple(part for part in known if part in wanted) if wanted else tuple(known)


def _number(name: str, text: str, most: int, least: int = 1) -> int:
    plain = text.replace("_", "")
    if not plain.isascii() or not plain.isdecimal() or not least <= int(plain) <= most:
        raise LocalStackError(f"{name}={text} is wrong: it must be a whole number from {least} to {most}.")
    return int(plain)
