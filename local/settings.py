"""The options of the local stack, read from environment variables (`make run TABLES=... ROWS=...`)."""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from local.errors import LocalStackError
from local.simulator.catalogue import NAMESPACES

REPOSITORY = Path(__file__).resolve().parent.parent
DEFAULT_ROWS = 200
UNLIMITED = 6000
"""Job creations a minute when nobody should wait."""
DOCUMENTED_PACE = 5
"""Job creations a minute that Instructure documents."""
REAL_JOB_SECONDS = 8.0
"""About what a small query takes at Instructure's."""

YES = {"1", "yes", "true", "on"}
NO = {"0", "no", "false", "off"}


@dataclass(frozen=True)
class Options:
    """The options of a stack and of a run.

    :param rows: of a typical table; None: as the stack was made, 200 for a new one.
    :param port: of Airflow's UI; None: any free one.
    :param real_pace: keep the documented 5 job creations a minute, and let jobs take seconds; None: as the running
        stack does, otherwise no.
    :param check: compare the replica with the simulator's truth after a run.
    :param chatbot: show the notification also as Amazon Q Developer gets it for a chat.
    :param verify: let a second run verify the tables: compare them with new snapshots.
    """

    directory: Path = REPOSITORY / ".local"
    tables: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = NAMESPACES
    rows: int | None = None
    port: int | None = None
    real_pace: bool | None = None
    check: bool = True
    full_refresh: bool = False
    chatbot: bool = False
    verify: bool = False

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Options":
        """:raises LocalStackError: a value is wrong; says which, and what is allowed."""

        def text(name: str) -> str:
            return environment.get(name, "").strip()

        pace = text("PACE").lower()
        if pace not in {"", "fast", "real"}:
            raise LocalStackError(f"PACE={pace} is unknown; leave it out, or use PACE=real for 5 jobs a minute.")
        namespaces = _names(text("NAMESPACES")) or NAMESPACES
        if wrong := [name for name in namespaces if name not in NAMESPACES]:
            raise LocalStackError(f"NAMESPACES={','.join(wrong)} does not exist; choose from {', '.join(NAMESPACES)}.")
        directory = text("CD2_LOCAL_DIR")
        return cls(
            directory=Path(directory).resolve() if directory else cls.directory,
            tables=_names(text("TABLES")),
            namespaces=namespaces,
            rows=_number("ROWS", text("ROWS"), 1, 100_000_000, "rows of a typical table"),
            port=_number("PORT", text("PORT"), 1, 65535, "the port of Airflow's UI"),
            real_pace=pace == "real" if pace else None,
            check=_yes_or_no("CHECK", text("CHECK"), default=True),
            full_refresh=_yes_or_no("FULL_REFRESH", text("FULL_REFRESH"), default=False),
            chatbot=_yes_or_no("CHATBOT", text("CHATBOT"), default=False),
            verify=_yes_or_no("VERIFY", text("VERIFY"), default=False),
        )

    @property
    def job_creations_per_minute(self) -> int:
        """The rate that the simulator allows and the DAG keeps to."""
        return DOCUMENTED_PACE if self.real_pace else UNLIMITED

    def wanted(self, existing: Iterable[str]) -> list[str]:
        """The tables (`namespace.table`) among ``existing`` that TABLES and NAMESPACES choose.

        :raises LocalStackError: a pattern of TABLES matches nothing; says what there is.
        """
        offered = sorted(name for name in existing if name.split(".", 1)[0] in self.namespaces)
        chosen = set()
        for pattern in self.tables:
            found = {name for name in offered if matches(name, pattern)}
            if not found:
                raise LocalStackError(_unknown_table(pattern, offered))
            chosen |= found
        return sorted(chosen) if self.tables else offered


def matches(name: str, pattern: str) -> bool:
    """Whether a `namespace.table` is meant by `table`, `namespace.table`, or either with shell wildcards."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.split(".", 1)[1], pattern)


def _unknown_table(pattern: str, offered: list[str]) -> str:
    plain = [name.split(".", 1)[1] for name in offered]
    close = difflib.get_close_matches(pattern.split(".")[-1], plain, n=4, cutoff=0.6)
    if close:
        return f"TABLES: no table is called '{pattern}'; did you mean {' or '.join(close)}?"
    return f"TABLES: no table is called '{pattern}'; there are: {', '.join(plain)}."


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def _number(name: str, text: str, least: int, most: int, meaning: str) -> int | None:
    if not text:
        return None
    plain = text.replace("_", "")
    if not plain.isascii() or not plain.isdecimal() or not least <= int(plain) <= most:
        raise LocalStackError(f"{name}={text} is wrong: {meaning} must be a whole number from {least} to {most}.")
    return int(plain)


def _yes_or_no(name: str, text: str, *, default: bool) -> bool:
    word = text.lower()
    if word and word not in YES | NO:
        raise LocalStackError(f"{name}={text} is wrong: say yes or no.")
    return word in YES if word else default
