"""Jobs that are under way can be ended, so that tests need not wait for them."""

from tests.simulator.running import RawClient, RunningSimulator


def test_jobs_that_would_take_hours_are_done_when_they_are_told_to_finish(
    simulator: RunningSimulator, raw: RawClient
) -> None:
    simulator.control.job_seconds(7200)
    try:
        job = raw.data("canvas.conversations").json()
        assert raw.get(f"/dap/job/{job['id']}").json()["status"] == "waiting"
        simulator.control.finish_jobs()
        assert raw.finished("canvas.conversations")["id"] == job["id"]
    finally:
        simulator.control.job_seconds(0)
