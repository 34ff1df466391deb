"""The plugin loads what is heavy before tasks are forked, and nothing that a developer edits."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from local.settings import REPOSITORY

SCRIPT = """
import json, sys
import airflow
import airflow.providers.amazon.aws.hooks.base_aws
sys.argv = ["airflow", *sys.argv[1:]]
import airflow.executors.local_executor
import airflow.sdk.execution_time.task_runner
import cd2_plugin
before = set(sys.modules)
import canvas_data_2
import cd2.replication.replicator
later = sorted(set(sys.modules) - before)
print(json.dumps({"before": [name for name in before if name.startswith("cd2")], "later": later}))
"""


def loaded(tmp_path: Path, *command: str, lazy: bool = False) -> dict[str, list[str]]:
    """The modules of ours before, and all modules after a task's imports, in a worker started like this."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": f"{REPOSITORY / 'plugins'}:{REPOSITORY / 'dags'}",
        "AIRFLOW_HOME": str(tmp_path),
        # the test loads the plugin itself
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(tmp_path),
        "AIRFLOW__CORE__LAZY_LOAD_PLUGINS": str(lazy),
    }
    argv = [sys.executable, "-c", SCRIPT, *command]
    answer = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    result: dict[str, list[str]] = json.loads(answer.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(
    "command",
    [("celery", "worker"), pytest.param(("scheduler", "--skip-serve-logs"), marks=pytest.mark.slow)],
    ids=["celery", "scheduler"],
)
def test_a_worker_has_loaded_all_that_a_task_needs_but_our_own_modules(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    modules = loaded(tmp_path, *command)

    others = {name.split(".")[0] for name in modules["later"]} - {"cd2", "canvas_data_2"}
    assert "cd2.replication.replicator" in modules["later"]
    assert others <= set(sys.stdlib_module_names)
    assert not [name for name in modules["before"] if name.startswith("cd2.replication")]


@pytest.mark.parametrize(
    ("command", "lazy"), [("triggerer", False), pytest.param("celery", True, marks=pytest.mark.slow)]
)
def test_other_components_and_lazy_plugins_load_nothing(tmp_path: Path, command: str, lazy: bool) -> None:
    assert {"dap.api", "asyncpg"} <= set(loaded(tmp_path, command, lazy=lazy)["later"])
