"""The command: help, sizes, bad input in one sentence, a clean end."""

import socket
from pathlib import Path

import pytest

from local.simulator.__main__ import main, parser
from local.simulator.errors import CANNOT_START, OTHER_VERSION
from local.simulator.state.world import World
from tests.simulator.running import NewSimulator


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """The exit status of a command that cannot start, and the one line that it prints."""
    status = main(list(arguments))
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    return status, printed.err


def test_help_names_the_options_and_where_credentials_come_from() -> None:
    text = parser().format_help()
    for word in ("--state", "--rows", "--seed", "--job-seconds", "--data-limit", "CD2_SIMULATOR_CLIENT_SECRET"):
        assert word in text


def test_tables_are_as_large_as_their_weight_says_or_as_told(tmp_path: Path) -> None:
    world = World(tmp_path, seed=1, rows=1000, table_rows={"canvas.roles": 3, "catalog.tags": 0})
    rows = {table.name: table.live for table in world.tables.values()}
    world.journal.close()
    assert len(rows) == 109
    assert (rows["canvas.users"], rows["canvas.submissions"], rows["canvas.wikis"]) == (1000, 3000, 200)
    assert (rows["canvas.roles"], rows["catalog.tags"]) == (3, 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--rows", "-1"), "--rows must not be negative"),
        (("--table-rows", "users=3"), "--table-rows wants namespace.table=N, not 'users=3'"),
        (("--table-rows", "canvas.nothing=3"), "there is no table canvas.nothing in the catalogue"),
        (("--job-seconds", "-2"), "job_seconds must be a number that is not negative"),
        (("--rows-per-object", "0"), "rows_per_object must be a whole number above 0"),
        (("--data-limit", "-5"), "the limit of data must be a whole number"),
        (("--host", "no.such.host.invalid"), "is not an address to listen on"),
    ],
)
def test_a_wrong_option_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    status, printed = refused(capsys, "--port", "0", "--state", str(tmp_path / "state"), *options)
    assert status == CANNOT_START
    assert sentence in printed


def test_a_port_in_use_gets_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        status, printed = refused(capsys, "--port", port, "--state", str(tmp_path / "state"))
    assert status == CANNOT_START
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in printed


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--rows", "30", "--seed", "8"), "was made with --seed 7, not 8"),
        (("--rows", "31", "--seed", "7"), "was made with --rows 30, not 31"),
        (
            ("--rows", "30", "--seed", "7", "--table-rows", "canvas.users=3"),
            "was made with --table-rows (none), not canvas.users=3",
        ),
    ],
)
def test_a_state_that_was_made_of_something_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    World(tmp_path, seed=7, rows=30, table_rows={}).journal.close()
    status, printed = refused(capsys, "--port", "0", "--state", str(tmp_path), *options)
    assert status == CANNOT_START
    assert sentence in printed
    assert not (tmp_path / "address").exists()


def test_a_state_of_another_version_has_an_exit_status_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    World(tmp_path, seed=1, rows=100, table_rows={}).journal.close()
    journal = tmp_path / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"format":2', '"format":1'))
    status, printed = refused(capsys, "--port", "0", "--state", str(tmp_path))
    assert status == OTHER_VERSION
    assert "was made by another version of the simulator" in printed


def test_a_second_simulator_on_a_state_is_refused_and_sigterm_ends_the_first_cleanly(
    new_simulator: NewSimulator, capsys: pytest.CaptureFixture[str]
) -> None:
    simulator = new_simulator("--rows", "5")
    status, printed = refused(capsys, "--port", "0", "--state", str(simulator.state), "--rows", "5")
    assert status == CANNOT_START
    assert "another simulator is using the state directory" in printed
    assert simulator.stop() == 0
    assert not (simulator.state / "address").exists()
