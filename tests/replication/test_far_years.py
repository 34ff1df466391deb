"""Times and dates whose years have not four digits, as ISO 8601 writes them: PostgreSQL holds more than Python."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable

import pytest

from cd2.replication.dap.downloads import Downloads
from cd2.replication.database.connection import DatabaseTarget
from cd2.replication.errors import TableFailure
from cd2.replication.replicator import Replicator
from local.compare import compare
from local.simulator.control import SimulatorControl
from tests.replication.replica import execute, fetch, run
from tests.replication.verifying import outcome, verify
from tests.steps import init, sync

TABLE = "canvas.events"
# As DAP may write it, and as PostgreSQL does.
YEARS = {
    "9999": "9999-01-02 03:04:05",
    "12345": "12345-01-02 03:04:05",
    "012345": "12345-01-02 03:04:05",
    "+012345": "12345-01-02 03:04:05",
    "+12345": "12345-01-02 03:04:05",
    "+2024": "2024-01-02 03:04:05",
    "0001": "0001-01-02 03:04:05",
    "0000": "0001-01-02 03:04:05 BC",
    "-0001": "0002-01-02 03:04:05 BC",
    "-000043": "0044-01-02 03:04:05 BC",
}
Served = Callable[[dict[str, str]], None]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """Lets DAP serve other texts instead of years that begin with these."""
    download = Downloads.download
    texts: dict[str, str] = {}

    async def changed(self: Downloads, object_id: str) -> AsyncIterator[bytes]:
        data = gzip.decompress(b"".join([block async for block in download(self, object_id)])).decode()
        header, *lines = data.splitlines(keepends=True)
        columns = header.rstrip("\n").split("\t")
        found = [header]
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            year = texts.get(fields[columns.index("key.id")], "")
            for name, time in (("value.at", "T03:04:05Z"), ("value.day", "")):
                if year and fields[columns.index(name)]:
                    fields[columns.index(name)] = f"{year}-01-02{time}"
            if year:
                # What only looks like a year, in a text.
                fields[columns.index("value.note")] = "+012345-01-02"
            found.append("\t".join(fields) + "\n")
        yield gzip.compress("".join(found).encode())

    monkeypatch.setattr(Downloads, "download", changed)
    return texts.update


def ids_of(simulator: SimulatorControl) -> list[str]:
    _, *rows = simulator.truth("canvas", "events")
    return [str(row[0]) for row in rows]


@pytest.mark.parametrize("staged", [False, True])
def test_years_of_more_or_less_than_four_digits_are_replicated_on_every_path(
    staged: bool,
    served: Served,
    replicator: Replicator,
    simulator: SimulatorControl,
    database: str,
    target: DatabaseTarget,
) -> None:
    """A list makes an init use staging."""
    simulator.add_table("canvas", "events", "note:text at:ts day:date" + " tags:text[]?" * staged, len(YEARS) + 5)
    ids = ids_of(simulator)
    served(dict(zip(ids, YEARS, strict=False)))
    expected = [(at, at[: at.index(" ")] + " BC" * at.endswith("BC"), "+012345-01-02") for at in YEARS.values()]

    def right() -> bool:
        rows = fetch(target, f"SELECT id::text, at::text, day::text, note FROM {TABLE}")
        found = {number: tuple(values) for number, *values in rows}
        return [found[number] for number in ids[: len(YEARS)]] == expected

    run(init(replicator, TABLE))
    assert right()
    if staged:
        return
    assert outcome(verify(replicator, TABLE)).outcome == "equal"
    execute(target, f"UPDATE {TABLE} SET at = '2000-01-01' WHERE id IN (SELECT id FROM {TABLE} ORDER BY id LIMIT 3)")
    assert outcome(verify(replicator, TABLE, repair=True)).outcome == "repaired"
    assert right()
    execute(target, f"UPDATE {TABLE} SET at = '2000-01-01', day = '2000-01-01'")
    assert run(init(replicator, TABLE)).rows_upserted == len(YEARS) + 5
    assert right()
    simulator.advance(tables=[TABLE], updates=len(YEARS) + 5)
    assert run(sync(replicator, TABLE)).state == "complete"
    assert right()
    # The comparison shows them as differences, because the simulator has others.
    (compared,) = compare(simulator.base_url, database, [TABLE])
    assert compared.changed == len(YEARS)


@pytest.mark.parametrize("year", ["+294277", "-4800", "99999999"])
@pytest.mark.parametrize("first", [True, False])
def test_a_year_that_postgresql_cannot_hold_fails_the_table_without_the_value(
    first: bool, year: str, served: Served, replicator: Replicator, simulator: SimulatorControl
) -> None:
    simulator.add_table("canvas", "events", "note:text at:ts day:date", 5)
    if not first:
        run(init(replicator, TABLE))
        simulator.advance(tables=[TABLE], updates=5)
    served(dict.fromkeys(ids_of(simulator), year))
    with pytest.raises(TableFailure) as caught:
        run(init(replicator, TABLE) if first else sync(replicator, TABLE))
    how = "init" if first else "sync"
    assert caught.value.message.startswith(f"{TABLE}: {how} failed: A value does not fit its column")
    assert "column at, line 1 of the job's rows" in caught.value.message
    assert year not in caught.value.message
