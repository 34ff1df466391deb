"""A reader of `prepare_database --reader` can run everything that the documents give report writers."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from cd2.replication.bookkeeping import tables
from scripts.prepare_database.readers import FOR_READERS
from tests.docs.markdown import FENCE, blocks, documents, name
from tests.infra.aurora import PASSWORD, Aurora
from tests.replication.replica import execute, make_replicator, prepare, run, target_of
from tests.replication.simulators import NO_LIMITS, simulator_process
from tests.steps import init

pytestmark = pytest.mark.infra

INLINE_QUERY = re.compile(r"`(SELECT [^`]+)`")


def queries() -> list[tuple[str, str]]:
    """Every query in a document, in a block or in a line."""
    found = []
    for document in documents():
        text = FENCE.sub("", document.read_text())
        found += [(name(document), query) for query in [*blocks(document, "sql"), *INLINE_QUERY.findall(text)]]
    return found


@pytest.mark.parametrize("when", ["before the first run", "after it"])
def test_a_reader_runs_every_query_of_the_documents(when: str, aurora: Aurora, tmp_path: Path) -> None:
    """Whether the role is made before the DAG has made its tables, or after it, as on an update."""
    reader, analyst = f"readers_{aurora.user}", f"analyst_{aurora.user}"
    aurora.prepare(*(["--reader", reader] if when == "before the first run" else []))
    target = target_of(aurora.dsn(aurora.user, PASSWORD), user=aurora.user, password=PASSWORD)
    with simulator_process(tmp_path, "--rows", "20", *NO_LIMITS) as simulator:
        prepare(target)
        for table in ("canvas.users", "canvas.assignments", "catalog.users"):
            run(init(make_replicator(simulator, target), table))
    if when == "after it":
        # as a version before this one has left it
        execute(target, f"REVOKE SELECT ON {', '.join(f'cd2.{name}' for name in FOR_READERS)} FROM PUBLIC")
        aurora.prepare("--reader", reader)
    aurora.postgres.create_role(analyst, "pw")
    aurora.sql(f'GRANT "{reader}" TO "{analyst}"')
    assert {"docs/data.md", "docs/operations.md"} <= {document for document, _ in queries()}
    with psycopg.connect(aurora.dsn(analyst, "pw"), autocommit=True) as connection:
        for _, query in queries():
            connection.execute(query.encode())
        (query,) = [query for query in blocks(Path("docs/data.md"), "sql") if "* FROM cd2.status" in query]
        status = connection.execute(query.encode()).fetchall()
        assert {row[:2] for row in status} == {("canvas", "users"), ("canvas", "assignments"), ("catalog", "users")}
        connection.execute("SELECT due_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin' FROM canvas.assignments")
        for forbidden in (
            "SELECT FROM cd2.jobs",
            "SELECT FROM cd2.verifying",
            "SELECT FROM cd2.pacer",
            "SELECT FROM cd2.stops",
            "DELETE FROM cd2.broken_dependents",
            "UPDATE cd2.freshness SET error = NULL",
            "DELETE FROM cd2.loads",
            "ALTER SCHEMA cd2 RENAME TO ours",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())


def test_readers_may_read_what_the_dag_lets_everybody_read() -> None:
    """The two lists are apart, because the script must not need the DAG's packages."""
    assert FOR_READERS == tables.FOR_READERS


def test_who_is_no_reader_reads_nothing(aurora: Aurora) -> None:
    """The tables are open to everybody who may enter their schema, and nobody else may."""
    stranger = f"stranger_{aurora.user}"
    aurora.prepare()
    prepare(target_of(aurora.dsn(aurora.user, PASSWORD), user=aurora.user, password=PASSWORD))
    aurora.postgres.create_role(stranger, "pw")
    with (
        psycopg.connect(aurora.dsn(stranger, "pw")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="schema cd2"),
    ):
        connection.execute("SELECT FROM cd2.freshness")
