"""The documented limits hold by default, each call counted on its own, and can be changed."""

import pytest

from local.simulator.control import SimulatorError
from local.simulator.service.limits import DOCUMENTED
from tests.simulator.running import NewSimulator, RawClient


def test_the_documented_limits_are_on_by_default(new_simulator: NewSimulator) -> None:
    simulator = new_simulator("--rows", "5")
    raw = RawClient(simulator.url)
    raw.login()
    assert simulator.control.limits() == DOCUMENTED == {"list": 5, "schema": 500, "data": 5, "job": 500, "object": 200}

    answers = [raw.data(f"canvas.{table}") for table in ("roles", "rubrics", "scores", "users", "wikis", "groups")]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429]
    assert 1 <= int(answers[5].headers["Retry-After"]) <= 60
    assert set(answers[5].json()["error"]) == {"type", "uuid", "message"}
    lists = [raw.get("/dap/query/catalog/table").status_code for _ in range(6)]
    assert lists == [200] * 5 + [429], "lists have a count of their own"
    job = answers[0].json()
    assert raw.get(f"/dap/job/{job['id']}").status_code == 200
    simulator.control.limits(schema=3)
    schemas = [raw.get("/dap/query/canvas/table/roles/schema").status_code for _ in range(4)]
    assert schemas == [200] * 3 + [429]

    stats = simulator.control.stats()
    assert stats["too_many_requests_by_call"] == {"data": 1, "list": 1, "schema": 1}
    assert stats["data_posts_busiest_minute"] == 6
    assert stats["jobs"]["canvas.roles"] == 1

    simulator.control.limits(data=7)
    assert [raw.data("canvas.groups").status_code for _ in range(3)] == [200, 200, 429]
    simulator.control.limits(data=0)
    assert {raw.data("canvas.groups").status_code for _ in range(10)} == {200}
    for wrong in ({"tea": 5}, {"data": -1}, {"data": "many"}):
        with pytest.raises(SimulatorError):
            simulator.control.limits(**wrong)


def test_limits_can_be_given_at_the_start(new_simulator: NewSimulator) -> None:
    simulator = new_simulator("--rows", "1", "--data-limit", "0", "--object-limit", "1")
    assert simulator.control.limits() == DOCUMENTED | {"data": 0, "object": 1}
