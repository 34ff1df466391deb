"""The runs: who loads what, in which order, from which state; and the check of the results."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.arena import Arena
from benchmarks.competitors import (
    CLIENT,
    COMPETITORS,
    HAND,
    OURS,
    PSQL,
    Load,
    base_environment,
    create_table,
    fingerprint,
    work_seconds,
)
from benchmarks.measure import measure
from benchmarks.options import DELETES, INSERTS, UPDATES, Options
from benchmarks.results import Results, Run
from benchmarks.service import Data
from benchmarks.shapes import NAMESPACE, SHAPES
from local.compare import compare
from local.errors import LocalStackError

FOLD = 5
"""Disk space as a multiple of a table's lines: objects, file, database, its copy, and WAL."""
FIXED_BYTES = 300_000_000
MORE_TURNS = 2
"""For each repeat, of competitors between whom one run decides nothing."""
DATABASE, BASE = "bench_run", "bench_base"


@dataclass(frozen=True)
class Table:
    """A table of the benchmarks.

    :param columns: in the order of the objects.
    :param key: those of the key.
    :param checked: compare each value, not only row counts and sums of hashes.
    """

    shape: str
    rows: int
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    checked: bool


class Benchmark:
    """All cases, one after the other.

    :param say: called with each line of progress.
    :param save: called after each run.
    """

    def __init__(
        self,
        arena: Arena,
        options: Options,
        results: Results,
        say: Callable[[str], None],
        save: Callable[[], None],
    ) -> None:
        self._arena = arena
        self._service = arena.service
        self._options = options
        self._results = results
        self._say = say
        self._save = save
        self._number = 0

    def run(self) -> None:
        """Run all cases.

        :raises LocalStackError: a competitor fails or loads wrong data, or the disk is too full.
        """
        self._need_space()
        self._compile()
        for rows in self._options.rows_list:
            for shape in self._options.shapes:
                self._table(shape, rows)

    def _table(self, shape: str, rows: int) -> None:
        checked = rows == self._options.rows_list[0]
        cases = [case for case in self._options.cases if case == "init" or rows <= self._options.client_max_rows]
        if "unchanged" in cases and (not checked or shape != self._options.shapes[0]):
            cases.remove("unchanged")
        if not cases:
            why = f"sync and unchanged only up to CLIENT_MAX_ROWS={self._options.client_max_rows:,}, unchanged once"
            self._say(f"\n{shape} table of {rows:,} rows: nothing to measure ({why})")
            return
        name = self._service.add_table(shape, rows)
        described = self._service.described(name)["columns"]
        columns = tuple(column["name"] for column in described)
        key = tuple(column["name"] for column in described if column["key"])
        table = Table(shape, rows, name, columns, key, checked)
        self._say(f"\n{shape} table of {rows:,} rows, {len(columns)} columns")
        if "init" in cases:
            self._init(table)
        if "sync" in cases or "unchanged" in cases:
            self._make_base(table)
        if "unchanged" in cases:
            self._unchanged(table)
        if "sync" in cases:
            self._sync(table)
        self._arena.postgres.drop_database(BASE)
        self._service.control.remove_table(NAMESPACE, name)

    def _need_space(self) -> None:
        largest = max(SHAPES[shape].row_bytes for shape in self._options.shapes) * self._options.rows_list[-1]
        needed, free = FOLD * largest + FIXED_BYTES, shutil.disk_usage(self._arena.directory).free
        if needed > free:
            raise LocalStackError(
                f"{self._arena.directory} has {free / 1e9:.1f} GB left and the benchmarks need {needed / 1e9:.1f} GB: "
                "free some space, choose another folder with CD2_LOCAL_DIR, or less data with ROWS_LIST or SHAPES."
            )

    def _compile(self) -> None:
        """Compile the modules beforehand, so that the first run does not pay for it."""
        modules = "import benchmarks.run_ours, benchmarks.run_client, dap.__main__"
        environment = base_environment(self._arena.mark)
        done = subprocess.run([sys.executable, "-c", modules], env=environment, capture_output=True, check=False)
        if done.returncode:
            raise LocalStackError(f"A competitor cannot be imported:\n{done.stderr.decode(errors='replace')[-2000:]}")

    # -- the cases -----------------------------------------------------------------------------------------------

    def _init(self, table: Table) -> None:
        """All competitors fill an empty database (psql: an empty table) with the snapshot."""
        file = self._arena.directory / "snapshot.tsv"
        self._note("init", table, self._service.snapshot(table.name, file))
        names = [OURS, CLIENT, PSQL] if table.rows <= self._options.client_max_rows else [OURS, PSQL]
        described = self._service.described(table.name)

        def fresh(name: str) -> str:
            dsn = self._arena.new_database(DATABASE)
            if COMPETITORS[name].prepared:
                create_table(dsn, described)
            return dsn

        try:
            self._compete("init", "init", table, names, fresh, file)
        finally:
            file.unlink(missing_ok=True)

    def _make_base(self, table: Table) -> None:
        """The database that all syncs start from: loaded by our engine, then vacuumed and analyzed."""
        self._say("  (creating the database that the syncs start from)")
        self._service.snapshot(table.name)
        dsn = self._arena.new_database(BASE)
        self._measured(OURS, self._load("init", table, dsn), BASE)
        self._arena.tidy(dsn, table.name)

    def _unchanged(self, table: Table) -> None:
        """All competitors sync a table that has not changed."""
        since = self._arena.cursor(self._arena.postgres.dsn(BASE), table.name)
        self._note("unchanged", table, self._service.changes(table.name, since))
        self._compete("unchanged", "sync", table, [OURS, CLIENT], self._copied)

    def _sync(self, table: Table) -> None:
        """All competitors apply the same changes to a copy of the same database (psql: from a file)."""
        since = self._arena.cursor(self._arena.postgres.dsn(BASE), table.name)
        inserts, updates, deletes = (round(table.rows * part) for part in (INSERTS, UPDATES, DELETES))
        full_name = f"{NAMESPACE}.{table.name}"
        self._service.control.advance(tables=[full_name], inserts=inserts, updates=updates, deletes=deletes)
        file = self._arena.directory / "changes.tsv"
        self._note("sync", table, self._service.changes(table.name, since, file))
        try:
            self._compete("sync", "sync", table, [OURS, CLIENT, HAND], self._copied, file, [OURS, HAND])
        finally:
            file.unlink(missing_ok=True)

    def _copied(self, _name: str) -> str:
        return self._arena.new_database(DATABASE, template=BASE)

    # -- one competition -----------------------------------------------------------------------------------------

    def _compete(
        self,
        case: str,
        action: str,
        table: Table,
        names: Sequence[str],
        database: Callable[[str], str],
        file: Path | None = None,
        rivals: Sequence[str] = (),
    ) -> None:
        """In each repeat run every competitor once, in another order; all must end with the same rows.

        :param rivals: those that differ by less than one run does from the next: they take `MORE_TURNS`.
        """
        prints = {}
        rounds = [names] * self._options.repeats + [rivals] * (self._options.repeats * MORE_TURNS if rivals else 0)
        for repeat, competitors in enumerate(rounds):
            turn = repeat % len(competitors)
            for name in (*competitors[turn:], *competitors[:turn]):
                dsn = database(name)
                made = self._service.jobs_created(table.name)
                load = self._load(action, table, dsn, file)
                run = self._measured(name, load, DATABASE, case, table, repeat)
                if self._service.jobs_created(table.name) != made:
                    raise LocalStackError(f"{name} waited for the simulator to generate data: its time is meaningless.")
                prints[name, repeat] = fingerprint(dsn, table.name, list(table.columns))
                self._verify_rows(name, table, prints[name, repeat][0])
                if table.checked and repeat == 0:
                    self._verify_values(case, name, table, dsn)
                self._results.runs.append(run)
                self._save()
                self._arena.postgres.drop_database(DATABASE)
        if len(set(prints.values())) != 1:
            raise LocalStackError(f"The {case} of {table.name}: the competitors ended with different rows: {prints}.")
        self._results.checks.append(
            f"{case} of {table.shape} {table.rows:,}: {', '.join(names)} ended with the same "
            f"{next(iter(prints.values()))[0]:,} rows in {len(prints)} runs"
            + (", equal to the simulator's truth value by value" if table.checked else "")
        )

    def _load(self, action: str, table: Table, dsn: str, file: Path | None = None) -> Load:
        service = self._service
        access = service.url, service.client_id, service.client_secret
        return Load(action, table.name, dsn, *access, file, table.columns, table.key)

    def _measured(
        self,
        name: str,
        load: Load,
        database: str,
        case: str = "",
        table: Table | None = None,
        repeat: int = 0,
    ) -> Run:
        self._arena.settle()
        self._number += 1
        program = COMPETITORS[name].program(load, self._arena.postgres.psql_path, self._arena.mark)
        servers = self._arena.servers(database)
        usage, printed = measure(program, self._arena.runs / str(self._number), servers)
        shape, rows = (table.shape, table.rows) if table else ("", 0)
        run = Run(case, shape, rows, name, repeat, usage, work_seconds(printed))
        if case:
            self._say(
                f"  {case:<9} {repeat + 1:>2}  {name:<6} {usage.wall:8.2f} s"
                f"   cpu {usage.cpu:7.2f} s + server {usage.server_cpu:7.2f} s   memory {usage.rss / 1e6:4.0f} MB"
                f"   temporary {usage.temporary / 1e6:5.1f} MB"
            )
        return run

    # -- was it right? -------------------------------------------------------------------------------------------

    def _verify_rows(self, name: str, table: Table, found: int) -> None:
        expected = self._service.rows(table.name)
        if found != expected:
            raise LocalStackError(f"{name} ended with {found:,} rows in {table.name}, the simulator has {expected:,}.")

    def _verify_values(self, case: str, name: str, table: Table, dsn: str) -> None:
        started = time.monotonic()
        [difference] = compare(self._service.url, dsn, [f"{NAMESPACE}.{table.name}"])
        if not difference.equal:
            said = "; ".join((*difference.problems, *difference.examples))
            raise LocalStackError(
                f"After the {case} by {name}, {table.name} differs from the simulator's truth: {said}"
            )
        self._say(f"            {name}: {difference.rows:,} rows equal the truth ({time.monotonic() - started:.0f} s)")

    def _note(self, case: str, table: Table, data: Data) -> None:
        key = f"{case} {table.shape} {table.rows}"
        sizes = {name: size for name, size in asdict(data).items() if name != "until"}
        self._results.data[key] = {"columns": len(table.columns), **sizes}
        self._say(
            f"  {case}: {data.lines:,} lines, {data.decompressed / 1e6:,.1f} MB "
            f"({data.decompressed / max(data.lines, 1):.0f} bytes a line), {data.compressed / 1e6:,.1f} MB compressed"
        )
