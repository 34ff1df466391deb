"""The command: help, sizes, bad input in one sentence, a clean end."""

import socket

import pytest

from tests.simulator.running import run_simulator


def test_help_names_the_options_and_where_credentials_come_from() -> None:
    process = run_simulator("--help")
    stdout, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    for word in ("--state", "--rows", "--seed", "--job-seconds", "--data-limit", "CD2_SIMULATOR_CLIENT_SECRET"):
        assert word in stdout


def test_sizes_of_tables(new_simulator) -> None:
    simulator = new_simulator("--rows", "1000", "--table-rows", "canvas.roles=3", "--table-rows", "catalog.tags=0")
    tables = simulator.control.tables()
    assert len(tables) == 109
    rows = {name: table["rows"] for name, table in tables.items()}
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
def test_a_wrong_option_gets_one_sentence(tmp_path, options: tuple[str, ...], sentence: str) -> None:
    process = run_simulator("--port", "0", "--state", str(tmp_path / "state"), *options)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert sentence in stderr
    assert stderr.count("\n") == 1


def test_a_port_in_use_gets_one_sentence(tmp_path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        process = run_simulator("--port", port, "--state", str(tmp_path / "state"))
        _, stderr = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in stderr
    assert stderr.count("\n") == 1


def test_sigterm_ends_it_cleanly(new_simulator) -> None:
    simulator = new_simulator("--rows", "5")
    assert simulator.stop() == 0
    assert not (simulator.state / "address").exists()
