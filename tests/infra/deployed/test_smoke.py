"""The smoke test of a deployment, through MWAA's protocol, on a real Airflow."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from local.stack import Stack
from scripts.mwaa import DAG_ID, Mwaa
from scripts.smoke import main, short_run_id
from tests.infra.mwaa_api import NAME, MwaaApi, serving

pytestmark = pytest.mark.infra

REGION = "eu-central-1"
ARGUMENTS = ["--name", NAME, "--region", REGION]
REFUSED = {"detail": "The Dag with ID: `canvas_data_2` was not found"}


@pytest.fixture
def mwaa(monkeypatch: pytest.MonkeyPatch, moto: str) -> Iterator[MwaaApi]:
    api = MwaaApi()
    with serving(api) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
            monkeypatch.setenv(name.lower(), value)
        yield api


class TestWithoutAirflow:
    """What stands in the way before Airflow is asked."""

    def test_an_environment_that_is_not_there_is_a_sentence(self, mwaa: MwaaApi) -> None:
        with pytest.raises(SystemExit, match=f"no MWAA environment other in {REGION}: `make deploy` creates it"):
            main(["--name", "other", "--region", REGION])

    def test_an_environment_that_is_being_made_or_could_not_be_made_says_what_mwaa_said(self, mwaa: MwaaApi) -> None:
        mwaa.environment["Status"] = "CREATING"
        with pytest.raises(SystemExit, match=f"{NAME} is CREATING: Airflow does not respond yet.* 20 to 30 minutes"):
            main(ARGUMENTS)
        mwaa.environment |= {"Status": "CREATE_FAILED", "LastUpdate": {"Error": {"ErrorMessage": "no route to S3"}}}
        with pytest.raises(SystemExit, match=r"is CREATE_FAILED: .* MWAA said: no route to S3"):
            main(ARGUMENTS)

    def test_a_missing_right_is_named(self, mwaa: MwaaApi) -> None:
        mwaa.refusals = [(403, "AccessDeniedException", {"Message": "User: x is not authorized"})]
        with pytest.raises(SystemExit, match=rf"needs airflow:GetEnvironment .*InvokeRestApi on role/{NAME}/Op"):
            main(ARGUMENTS)

    def test_an_environment_from_before_invoke_rest_api_must_be_updated(self, mwaa: MwaaApi) -> None:
        mwaa.refusals = [(400, "ValidationException", {"message": "Update your environment to use InvokeRestApi"})]
        with pytest.raises(SystemExit, match="must be updated before InvokeRestApi works"):
            main(ARGUMENTS)

    def test_an_airflow_that_does_not_answer_for_a_moment_is_asked_again(self, mwaa: MwaaApi) -> None:
        busy = (400, "RestApiServerException", {"RestApiStatusCode": 503, "RestApiResponse": {"detail": "starting"}})
        mwaa.refusals = [busy, busy, (200, "", {"RestApiStatusCode": 200, "RestApiResponse": {"is_paused": False}})]
        assert Mwaa(NAME, REGION, retry_delay_s=0.01).call("GET", f"/dags/{DAG_ID}") == {"is_paused": False}
        mwaa.refusals = [busy] * 9
        with pytest.raises(Exception, match="refused GET /dags/canvas_data_2: 503 starting"):
            Mwaa(NAME, REGION, retry_delay_s=0.01).call("GET", f"/dags/{DAG_ID}")

    def test_no_credentials_are_a_sentence(self, mwaa: MwaaApi, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
        with pytest.raises(SystemExit, match="there are no AWS credentials: log in"):
            main(ARGUMENTS)


def test_the_runs_name_leaves_room_for_the_path_of_a_log() -> None:
    assert len(f"/dags/{DAG_ID}/dagRuns/{short_run_id()}/taskInstances/notify/logs/1") <= 64


class TestOnAirflow:
    """In front of a whole local stack."""

    @pytest.fixture
    def api(self, stack: Stack, mwaa: MwaaApi) -> MwaaApi:
        stack.notifications()  # of tests before
        mwaa.__init__(stack.ui, stack.folder.secret("airflow_admin"))  # type: ignore[misc]
        return mwaa

    def test_a_dry_run_tells_the_state_of_each_task_and_the_notifications_subject(
        self, api: MwaaApi, stack: Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        main(ARGUMENTS)
        output = capsys.readouterr().out
        assert f"Airflow 3.3.1 of {NAME} is AVAILABLE" in output
        for task in ("prepare_database", "list_tables", "notify"):
            assert f"  {task:<28}success" in output
        (message,) = stack.notifications()
        assert output.strip().splitlines()[-1] == message.subject
        assert "dry run" in message.subject

    def test_a_paused_dag_is_switched_on_only_if_asked_and_only_if_it_works(
        self, api: MwaaApi, stack: Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.pause(stack)
        with pytest.raises(SystemExit, match="is paused, so a run would never start: run this again with --unpause"):
            main(ARGUMENTS)
        stack.simulator.fault(kind="account_disabled", endpoint="list")
        try:
            with pytest.raises(SystemExit, match="the dry run failed"):
                main([*ARGUMENTS, "--unpause"])
        finally:
            stack.simulator.clear_faults()
        output = capsys.readouterr().out
        assert f"  {'list_tables':<28}failed" in output
        assert "[FAILURE] Canvas Data 2 dev: list_tables failed" in output
        assert "Instructure has disabled DAP for this account" in output
        assert "is paused again, because this run did not succeed" in output
        assert (stack.api.dag() or {})["is_paused"] is True
        main([*ARGUMENTS, "--unpause"])
        assert (stack.api.dag() or {})["is_paused"] is False

    def test_a_dag_that_cannot_be_loaded_shows_why(
        self, api: MwaaApi, stack: Stack, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = stack.folder.path.parent / "dags" / "canvas_data_2.py"
        good = file.read_text()
        file.write_text("import a_package_that_is_not_there  # so that Airflow looks at it: airflow, dag\n")
        try:
            self.wait(lambda: bool(stack.api.import_errors()))
            stack.api.call("DELETE", f"/dags/{DAG_ID}")
            with pytest.raises(SystemExit) as caught:
                main(ARGUMENTS)
            assert "Airflow cannot load the DAG:\n" in str(caught.value)
            assert "No module named 'a_package_that_is_not_there'" in str(caught.value)
        finally:
            file.write_text(good)
        self.wait(lambda: not stack.api.import_errors() and stack.api.dag() is not None)

    @staticmethod
    def pause(stack: Stack) -> None:
        stack.api.call("PATCH", f"/dags/{DAG_ID}", json={"is_paused": True}, params={"update_mask": "is_paused"})

    @staticmethod
    def wait(condition: object, seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            assert time.monotonic() < deadline
            time.sleep(0.5)
