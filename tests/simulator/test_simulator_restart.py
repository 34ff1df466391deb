"""What the simulator knows survives a restart and kill -9; the same seed always gives the same data."""

import json

from local.compare import compare
from tests.simulator.running import UNLIMITED, Dap, RawClient, RunningSimulator, run_simulator

OPTIONS = (*UNLIMITED, "--rows", "30", "--seed", "7")


def truths(simulator: RunningSimulator) -> dict[str, list]:
    """Everything in every table, as text (NaN is not equal to itself)."""
    found = {}
    for name in simulator.control.tables():
        head, *rows = simulator.control.truth(*name.split(".", 1))
        found[name] = [json.dumps(row) for row in rows] + [json.dumps(head["columns"])]
    return found


def test_kill_and_restart_continue_the_chain(new_simulator, database: str) -> None:
    tables = ("orders", "promotions")
    names = [f"catalog.{table}" for table in tables]
    simulator = new_simulator(*OPTIONS)
    dap = Dap(simulator.url, database)
    dap.initdb("catalog", *tables)
    simulator.control.advance(0.4)
    simulator.control.alter("catalog", "orders", "add_column", "color", type="s20")
    simulator.control.add_table("canvas", "hard_two_column_key", rows=12)
    simulator.control.add_table("canvas", "made_up", columns="*id:i64 name:s20? +stamps", rows=5)
    simulator.control.remove_table("canvas", "wikis")
    simulator.control.advance(0.3)
    simulator.control.fault("canvas", "roles", "too_many_requests", times=3)
    raw = RawClient(simulator.url)
    raw.login()
    assert raw.data("canvas.roles").status_code == 429
    job = raw.finished("canvas.users")
    (url,) = raw.object_urls(job)
    simulator.control.job_seconds(60)
    unfinished = raw.data("canvas.courses").json()["id"]
    before = truths(simulator)
    simulator.kill()

    # A crash in the middle of writing an entry.
    with (simulator.state / "journal.jsonl").open("a") as journal:
        journal.write('{"do": "advance", "at": 17')
    simulator.start()
    assert truths(simulator) == before
    raw.url = simulator.url
    answers = [raw.data("canvas.roles").status_code for _ in range(3)]
    assert answers == [429, 429, 200], "the token still works, two of three faults are left"
    assert raw.get(f"/dap/job/{job['id']}").json() == job
    path = url[url.index("/objects/") :]
    assert raw.download(simulator.url + path).status_code == 200
    assert raw.get(f"/dap/job/{unfinished}").json()["status"] in ("waiting", "running")

    simulator.control.advance(0.2)
    assert simulator.stop() == 0
    simulator.start()
    Dap(simulator.url, database).syncdb("catalog", *tables)
    assert [result for result in compare(simulator.url, database, names) if not result.equal] == []


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(new_simulator) -> None:
    def made(state: str, seed: str) -> dict[str, list]:
        simulator = new_simulator(*UNLIMITED, "--rows", "30", "--seed", seed, state=state)
        for _ in range(2):
            simulator.control.advance(0.3)
        found = truths(simulator)
        simulator.stop()
        return found

    first = made("a", "7")
    assert made("b", "7") == first
    other = made("c", "8")
    assert all(other[name] != first[name] for name in first)


def test_another_seed_or_size_on_an_existing_state_is_refused(new_simulator, tmp_path) -> None:
    simulator = new_simulator(*OPTIONS)
    state = str(simulator.state)

    def refused(*options: str) -> str:
        process = run_simulator("--port", "0", "--state", state, *options)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 2
        assert stderr.count("\n") == 1
        return stderr

    assert "another simulator is using the state directory" in refused(*OPTIONS)
    simulator.stop()
    assert "was made with --seed 7, not 8" in refused("--rows", "30", "--seed", "8")
    assert "was made with --rows 30, not 31" in refused("--rows", "31", "--seed", "7")
    assert "was made with --table-rows (none), not canvas.users=3" in refused(
        *OPTIONS, "--table-rows", "canvas.users=3"
    )
    assert not (simulator.state / "address").exists()
