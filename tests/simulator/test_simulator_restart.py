"""What the simulator knows survives a restart and kill -9; the same seed always gives the same data."""

import json
from pathlib import Path

from local.compare import compare
from local.simulator.data.encoding import TRUTH
from local.simulator.data.rows import RowStream, Selection
from local.simulator.state.world import World
from tests.simulator.running import UNLIMITED, Dap, NewSimulator, RawClient, RunningSimulator

ADDED = ["canvas.hard_two_column_key", "canvas.made_up"]
OPTIONS = (*UNLIMITED, "--rows", "30", "--seed", "7")


def truths(simulator: RunningSimulator) -> dict[str, list[str]]:
    """Everything in some tables, as text (NaN is not equal to itself), and how large each is."""
    tables = simulator.control.tables()
    found = {"tables": [json.dumps(tables)]}
    for name in [name for name in tables if name.startswith("catalog.")] + ADDED:
        head, *rows = simulator.control.truth(*name.split(".", 1))
        found[name] = [json.dumps(row) for row in rows] + [json.dumps(head["columns"])]
    return found


def test_kill_and_restart_continue_the_chain(new_simulator: NewSimulator, database: str) -> None:
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
    simulator.control.expire("catalog", "users", 3)
    simulator.control.expire("catalog", "products", 2, told=True)
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


def test_the_same_seed_gives_the_same_data_and_another_seed_other_data(tmp_path: Path) -> None:
    def made(state: str, seed: int) -> dict[str, list[bytes]]:
        world = World(tmp_path / state, seed, rows=30, table_rows={})
        world.replay(lambda _: None)
        for _ in range(2):
            world.advance(None, {"inserts": 0.1, "updates": 0.2, "deletes": 0.1})
        world.journal.close()
        return {
            table.name: [line for chunk in RowStream(table.view(), TRUTH).chunks(Selection()) for line in chunk.lines]
            for table in world.tables.values()
        }

    first = made("a", 7)
    assert made("b", 7) == first
    other = made("c", 8)
    assert all(other[name] != first[name] for name in first)
