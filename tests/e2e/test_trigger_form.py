"""The trigger form by hand: REST and the command line take and refuse the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from local.airflow.api import DAG_ID
from local.errors import LocalStackError
from local.stack import Stack
from tests.e2e.story import CONF, NAMES, PATIENCE_S, states, the_notification

pytestmark = pytest.mark.slow

Trigger = Callable[[Stack, dict[str, object]], str]


def by_rest(stack: Stack, conf: dict[str, object]) -> str:
    """Trigger a run; its id.

    :raises LocalStackError: with what Airflow says.
    """
    return stack.trigger(conf)


def by_command_line(stack: Stack, conf: dict[str, object]) -> str:
    """The same."""
    command = [sys.executable, "-m", "airflow", "dags", "trigger", DAG_ID, "--conf", json.dumps(conf), "-o", "json"]
    ended = subprocess.run(command, env=stack.airflow_environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    if ended.returncode:
        raise LocalStackError(ended.stderr + ended.stdout)
    answer = json.loads(ended.stdout[ended.stdout.index("[{") :])
    return str(answer[0]["dag_run_id"])


@pytest.mark.parametrize("trigger", [by_rest, by_command_line])
def test_a_dry_run_of_a_subset_lists_just_that_and_replicates_nothing(fresh: Stack, trigger: Trigger) -> None:
    run_id = trigger(fresh, CONF | {"dry_run": True})
    assert fresh.wait(run_id, PATIENCE_S) == "success"
    assert states(fresh, run_id) == {}
    message = the_notification(fresh)
    assert message.subject == "[OK] Canvas Data 2 dev: dry run, 5 tables listed"
    assert "\n".join(NAMES) in message.body


@pytest.mark.parametrize("trigger", [by_rest, by_command_line])
@pytest.mark.parametrize(
    ("conf", "told"),
    [
        ({"namespaces": ["canvass"]}, "is not one of"),
        ({"full_refresh": "maybe"}, "is not of type 'boolean'"),
    ],
    ids=["namespaces", "full_refresh"],
)
def test_a_wrong_value_is_refused_before_there_is_a_run(
    fresh: Stack, trigger: Trigger, conf: dict[str, object], told: str
) -> None:
    with pytest.raises(LocalStackError, match=told):
        trigger(fresh, conf)
    assert fresh.api.unfinished_runs() == []


def test_a_misspelled_parameter_fails_the_run_before_any_table_is_asked_for(fresh: Stack) -> None:
    """Airflow takes any parameter from the API and the command line; the run would be about all tables."""
    run_id = fresh.trigger({"table": ["users"], "dry_run": True})
    assert fresh.wait(run_id, PATIENCE_S) == "failed"
    assert fresh.results(run_id) == []
    message = the_notification(fresh)
    assert "The trigger form has table, which this DAG does not know. Did you mean tables?" in message.body
