"""All tables of the simulator; every change goes through here and into the journal."""

import hashlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.simulator.catalogue import NAMESPACES, TableDefinition, default_tables, hard_tables, parse_definition
from local.simulator.data.columns import Column
from local.simulator.data.table import Changes, Table
from local.simulator.data.view import stable_number
from local.simulator.errors import ControlError, OtherVersionError, StateError
from local.simulator.faults import Faults
from local.simulator.state.journal import Journal

FORMAT = 2


def now_ms() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


class World:
    """The tables and their history.

    :param directory: the state directory; an existing state is continued.
    :param seed, rows, table_rows: what the data is made of: a start value, the rows of a typical table, exact numbers
        of rows for some tables (by `namespace.table`).
    :raises StateError: the existing state was made of something else, or cannot be read.
    """

    def __init__(self, directory: Path, seed: int, rows: int, table_rows: dict[str, int]) -> None:
        self.seed, self.rows, self.table_rows = seed, rows, table_rows
        unknown = [name for name in table_rows if tuple(name.split(".", 1)) not in default_tables()]
        if unknown:
            raise StateError(f"--table-rows: there is no table {', '.join(unknown)} in the catalogue")
        self.journal = Journal(directory)
        self._replaying = True
        self.faults = Faults(self._record)
        self.tables: dict[tuple[str, str], Table] = {}
        self.namespaces: set[str] = set()
        try:
            self._entries = self._history(directory)
        except StateError:
            self.journal.close()
            raise
        self.created_ms: int = self._entries[0]["at"]
        self.secret: str = self._entries[0]["secret"]
        for definition in default_tables().values():
            self._create(definition, self.table_rows.get(f"{definition.namespace}.{definition.name}"), self.created_ms)

    def _history(self, directory: Path) -> list[dict[str, Any]]:
        """The entries of the journal; a new one gets its first."""
        made_of = {"format": FORMAT, "seed": self.seed, "rows": self.rows, "table_rows": self.table_rows}
        made_of["catalogue"] = _fingerprint()
        entries = self.journal.read()
        if not entries:
            entries = [{"do": "create", "at": now_ms(), "secret": secrets.token_hex(32), **made_of}]
            self.journal.append(entries[0])
        self._check(directory, entries[0], made_of)
        return entries

    @staticmethod
    def _check(directory: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
        if found.get("do") != "create":
            raise StateError(f"{directory} holds no state of this simulator; remove it or name another --state")
        if found.get("format") != FORMAT or found["catalogue"] != wanted["catalogue"]:
            raise OtherVersionError(f"the state in {directory} was made by another version of the simulator; remove it")
        for key, option in (("seed", "--seed"), ("rows", "--rows"), ("table_rows", "--table-rows")):
            if found[key] != wanted[key]:
                raise StateError(
                    f"the state in {directory} was made with {option} {_shown(found[key])}, not {_shown(wanted[key])}: "
                    f"start with the same {option}, or with an empty --state"
                )

    def replay(self, job: Callable[[dict[str, Any]], None]) -> None:
        """Restore everything from the journal; called once.

        :param job: called with the entries about jobs, each at its point in history.
        """
        for entry in self._entries[1:]:
            match entry["do"]:
                case "advance":
                    self._advance(entry["at"], entry["tables"])
                case "expire":
                    self.table(*entry["table"]).expire(entry["at"], entry["rows"], told=entry["told"])
                case "alter":
                    self.table(*entry["table"]).alter(entry["at"], entry["change"], entry["arguments"])
                case "add_table":
                    self._add(entry)
                case "remove_table":
                    self.tables.pop(tuple(entry["table"]), None)
                case "fault":
                    self.faults.order(entry["request"])
                case "fault_used":
                    self.faults.used(entry["id"])
                case "clear_faults":
                    self.faults.clear()
                case _:
                    job(entry)
        self._entries = []
        self._replaying = False

    def _record(self, entry: dict[str, Any]) -> None:
        if not self._replaying:
            self.journal.append(entry)

    def record_job(self, entry: dict[str, Any]) -> None:
        """Write an entry about a job."""
        self._record(entry)

    def _create(self, definition: TableDefinition, rows: int | None, created_ms: int) -> Table:
        if rows is None:
            rows = max(1, round(self.rows * definition.weight)) if self.rows else 0
        # Data is as old as its last refresh, and every table was refreshed at another moment of the last four hours.
        lag = stable_number(self.seed, definition.namespace, definition.name) % (4 * 3600 * 1000)
        table = Table(self.seed, definition, rows, created_ms - lag)
        self.tables[definition.namespace, definition.name] = table
        # A namespace stays when its last table is removed.
        self.namespaces.add(definition.namespace)
        return table

    def table(self, namespace: str, name: str) -> Table:
        """A table.

        :raises ControlError: there is none of that name.
        """
        try:
            return self.tables[namespace, name]
        except KeyError:
            raise ControlError(f"there is no table {namespace}.{name}") from None

    def chosen(self, names: list[str] | None) -> list[Table]:
        """Tables by `namespace.table` or `namespace.*`; all without names.

        :raises ControlError: a name fits no table.
        """
        if names is None:
            return list(self.tables.values())
        chosen = []
        for name in names:
            namespace, _, table = name.partition(".")
            if table == "*":
                chosen += [t for (ns, _), t in self.tables.items() if ns == namespace]
            else:
                chosen.append(self.table(namespace, table))
        return chosen

    # -- changes ----------------------------------------------------------------------------------------------------

    def advance(self, names: list[str] | None, amounts: dict[str, float | int]) -> dict[str, dict[str, int]]:
        """Let time pass.

        :param amounts: `inserts`, `updates`, `deletes`: a whole number of rows, or a fraction (float) of the living.
        :returns: what happened, by table.
        """
        numbers = {}
        for table in self.chosen(names):
            numbers[table.name] = [
                _amount(amounts.get(kind, 0), table.live) for kind in ("inserts", "updates", "deletes")
            ]
        at = now_ms()
        done = self._advance(at, numbers)
        self._record({"do": "advance", "at": at, "tables": numbers})
        return {name: changes.as_dict() for name, changes in done.items()}

    def _advance(self, at: int, numbers: dict[str, list[int]]) -> dict[str, Changes]:
        return {name: self.table(*name.split(".", 1)).advance(at, *counts) for name, counts in numbers.items()}

    def expire(self, namespace: str, name: str, rows: float | int, *, told: bool) -> int:
        """Let the oldest rows of a table expire; returns how many."""
        table = self.table(namespace, name)
        number, at = _amount(rows, table.live), now_ms()
        done = table.expire(at, number, told=told)
        self._record({"do": "expire", "at": at, "table": [namespace, name], "rows": number, "told": told})
        return done

    def alter(self, namespace: str, name: str, change: str, arguments: dict[str, Any]) -> int:
        """Change a schema. Returns its new version."""
        at = now_ms()
        version = self.table(namespace, name).alter(at, change, arguments)
        self._record({"do": "alter", "at": at, "table": [namespace, name], "change": change, "arguments": arguments})
        return version

    def add_tables(self, request: dict[str, Any]) -> list[str]:
        """Add a table, or the whole hard set.

        :param request: `set`: `hard`; or `namespace`, `table`, `columns`, `rows`. Without `columns` it is one of the
            hard set, or one that was removed.
        :raises ControlError: the table is there already or cannot be made.
        """
        entries = []
        if request.get("set") == "hard":
            keys = [key for key in hard_tables() if key not in self.tables]
        else:
            keys = [(request.get("namespace", ""), request.get("table", ""))]
        for namespace, table in keys:
            if (namespace, table) in self.tables:
                raise ControlError(f"there is a table {namespace}.{table} already")
            if namespace not in NAMESPACES or not table:
                raise ControlError(f"a table needs a name and one of the namespaces {', '.join(NAMESPACES)}")
            entry = {"do": "add_table", "at": now_ms(), "namespace": namespace, "table": table}
            entries.append({**entry, "columns": request.get("columns"), "rows": request.get("rows")})
        for entry in entries:
            self._add(entry)
            self._record(entry)
        return [f"{namespace}.{table}" for namespace, table in keys]

    def _add(self, entry: dict[str, Any]) -> None:
        key = (entry["namespace"], entry["table"])
        if entry["columns"]:
            try:
                definition = parse_definition(*key, entry["columns"])
            except ValueError as error:
                raise ControlError(str(error)) from None
        else:
            known = hard_tables().get(key) or default_tables().get(key)
            if known is None:
                raise ControlError(f"{'.'.join(key)} is not in the catalogue: say its columns")
            definition = known
        self._create(definition, entry["rows"], entry["at"])

    def remove_table(self, namespace: str, name: str) -> None:
        """Remove a table."""
        self.table(namespace, name)
        del self.tables[namespace, name]
        self._record({"do": "remove_table", "table": [namespace, name]})


def _amount(wanted: float | int, rows: int) -> int:
    if isinstance(wanted, bool) or not isinstance(wanted, int | float) or wanted < 0:
        raise ControlError(f"inserts, updates and deletes are numbers of rows or fractions, not {wanted!r}")
    if isinstance(wanted, int):
        return wanted
    return round(rows * wanted) or (1 if wanted and rows else 0)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={rows}" for name, rows in value.items()) or "(none)"
    return str(value)


def _fingerprint() -> str:
    def described(column: Column) -> str:
        return f"{column.name}:{column.type.notation()}:{column.nullable}:{column.key}"

    text = "\n".join(
        f"{ns}.{name} {table.weight} {' '.join(map(described, table.columns))}"
        for (ns, name), table in {**default_tables(), **hard_tables()}.items()
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
