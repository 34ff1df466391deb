"""The comparison of a replica with the truth sees every single difference, however small."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import psycopg
import pytest

from local.compare import TableDifference, compare
from local.compare.__main__ import main
from local.postgres import EmbeddedPostgres
from tests.simulator.running import ROOT, Dap, RunningSimulator

NAMES = ["catalog.products", "catalog.catalogs", "catalog.orders", "catalog.tags"]


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, simulator: RunningSimulator) -> Iterator[str]:
    """The name of a database with a replica that is right."""
    postgres.create_database("right_replica")
    Dap(simulator.url, postgres.dsn("right_replica")).initdb("catalog", *(name.split(".")[1] for name in NAMES))
    yield "right_replica"
    postgres.drop_database("right_replica")


@pytest.fixture
def replica(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A copy of the right replica."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE replica_copy TEMPLATE {template}")
    yield postgres.dsn("replica_copy")
    postgres.drop_database("replica_copy")


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(
    simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """`python -m local.compare`, in this process: its exit status and what it prints."""

    def run(dsn: str, *arguments: str, url: str = simulator.url) -> tuple[int, str, str]:
        monkeypatch.setenv("CD2_REPLICA_DSN", dsn)
        status = main(["--simulator", url, *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def differences(simulator: RunningSimulator, dsn: str) -> list[TableDifference]:
    return [result for result in compare(simulator.url, dsn, NAMES) if not result.equal]


def test_an_equal_replica_is_equal(simulator: RunningSimulator, replica: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "local.compare", "--simulator", simulator.url, "--tables", *NAMES],
        cwd=ROOT,
        env={**os.environ, "CD2_REPLICA_DSN": replica},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    rows = sum(simulator.control.tables()[name]["rows"] for name in NAMES)
    assert result.stdout == f"4 tables, {rows} rows compared: no difference\n"


ONE = "WHERE id = (SELECT min(id) FROM catalog.products WHERE {0} IS NOT NULL {1})"


@pytest.mark.parametrize(
    ("column", "value", "also"),
    [
        ("title", "title || ' '", ""),
        ("description", "NULL", "AND description = ''"),
        ("description", "replace(description, chr(10), ' ')", "AND description LIKE '%' || chr(10) || '%'"),
        ("title", "upper(title)", "AND title <> upper(title)"),
        ("price", "price - 0.01", "AND price > 0"),
        ("discount_rate", "discount_rate + 0.125", "AND abs(discount_rate) < 1000"),
        ("discount_rate", "'-Infinity'", "AND discount_rate = 'Infinity'"),
        ("start_date", "start_date + 1", "AND start_date < '9999-01-01'"),
        ("opens", "opens + interval '1 second'", ""),
        ("tag_ids", "tag_ids || 1::bigint", ""),
        ("tag_ids", "NULL", "AND tag_ids = '{}'"),
        ("days_to_complete", "days_to_complete - 1", "AND days_to_complete > 0"),
        ("visible", "NOT visible", ""),
        ("type", "'Program'", "AND type <> 'Program'"),
        ("created_at", "created_at + interval '1 microsecond'", "AND created_at < '9999-01-01'"),
    ],
)
def test_one_changed_value_is_found(
    simulator: RunningSimulator, replica: str, column: str, value: str, also: str
) -> None:
    with psycopg.connect(replica) as connection:
        changed = connection.execute(f"UPDATE catalog.products SET {column} = {value} {ONE.format(column, also)}")
        assert changed.rowcount == 1
    (found,) = differences(simulator, replica)
    assert (found.table, found.changed, found.missing, found.superfluous) == ("catalog.products", 1, 0, 0)
    assert column in found.examples[0]


def test_one_changed_character_in_json_is_found(simulator: RunningSimulator, replica: str) -> None:
    with psycopg.connect(replica) as connection:
        changed = connection.execute(
            "UPDATE catalog.catalogs SET settings = replace(settings::text, '\"limit\"', '\"limiT\"')::jsonb "
            "WHERE id = (SELECT min(id) FROM catalog.catalogs WHERE settings ? 'options')"
        )
        assert changed.rowcount == 1
    (found,) = differences(simulator, replica)
    assert (found.table, found.changed) == ("catalog.catalogs", 1)


def test_a_missing_and_a_superfluous_row_are_found(simulator: RunningSimulator, replica: str) -> None:
    with psycopg.connect(replica) as connection:
        key = connection.execute(
            "DELETE FROM catalog.orders WHERE order_uuid = (SELECT order_uuid FROM catalog.orders LIMIT 1) RETURNING *"
        ).fetchone()
        connection.execute(
            "INSERT INTO catalog.tags (id, name) VALUES (9223372036854775807, 'superfluous'), (-1, 'too')"
        )
    assert key is not None
    orders, tags = differences(simulator, replica)
    assert (orders.table, orders.missing, orders.superfluous, orders.changed) == ("catalog.orders", 1, 0, 0)
    assert (tags.table, tags.missing, tags.superfluous, tags.changed) == ("catalog.tags", 0, 2, 0)


def test_differences_of_the_tables_are_found(simulator: RunningSimulator, replica: str, command: Command) -> None:
    with psycopg.connect(replica) as connection:
        connection.execute("ALTER TABLE catalog.products ALTER COLUMN title TYPE varchar(256)")
        connection.execute("ALTER TABLE catalog.products DROP COLUMN opens, ADD COLUMN mine int")
        connection.execute("ALTER TABLE catalog.products ALTER COLUMN catalog_id DROP NOT NULL")
        connection.execute("ALTER TYPE catalog.products__type ADD VALUE 'More'")
        connection.execute("ALTER TABLE catalog.tags DROP CONSTRAINT pk_tags")
        connection.execute("DROP TABLE catalog.orders")
    orders, products, tags = sorted(differences(simulator, replica), key=lambda found: found.table)
    assert orders.problems == ["there is no such table in the replica"]
    assert sorted(products.problems) == [
        "column catalog_id allows NULL",
        "column mine is superfluous",
        "column opens is missing",
        "column title is character varying(256), not character varying(255)",
        "the values of column type differ in More",
    ]
    assert tags.problems == ["the primary key is ()"]
    status, printed, _ = command(replica)
    assert status == 1
    assert "canvas.users" in printed
    assert "109 tables" in printed


def test_a_table_that_only_the_replica_has_is_found(simulator: RunningSimulator, replica: str) -> None:
    with psycopg.connect(replica) as connection:
        connection.execute("CREATE TABLE catalog.left_behind (id int)")
    found = {result.table: result.problems for result in compare(simulator.url, replica)}
    assert found["catalog.left_behind"] == ["the simulator has no such table"]


def test_what_cannot_be_compared_gets_one_sentence(replica: str, command: Command) -> None:
    for status, _, printed in (
        command(""),
        command("postgresql://nobody@127.0.0.1:1/nothing"),
        command(replica, "--tables", "canvas.nothing"),
        command(replica, url="http://127.0.0.1:1"),
    ):
        assert status == 2
        assert printed.startswith("compare: ")
        assert printed.count("\n") == 1
