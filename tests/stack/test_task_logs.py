"""`make logs` shows what tasks said, and of the components what is not about HTTP requests."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from local.airflow.api import DAG_ID
from local.command.logs import logs
from local.errors import LocalStackError
from local.settings import Options
from local.stack.folder import Folder

SYNC = "airflow.task.operators.cd2.tasks.operators.SyncTable"
ACCESS = """\
2026-11-26T11:00:00.1Z [info     ] request finished [http.access] method=GET path=/api/v2/version status_code=200
127.0.0.1 - - [26/Nov/2026 11:00:00] "POST / HTTP/1.1" 200 -
2026-11-26T11:00:00.2Z [warning  ] The disk is nearly full. [airflow] loc=on.py:62
Traceback (most recent call last):
  File "somewhere.py", line 1, in somewhere
ValueError: no such thing
2026-11-26T11:00:00.3Z [info     ] request finished [http.access] method=PUT path=/execution/x status_code=204
"""


def write(path: Path, *events: tuple[str, str, str, str]) -> None:
    """A log as Airflow writes it: time, level, logger, text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({"timestamp": f"2026-11-26T{time}.1Z", "level": level, "event": text, "logger": logger})
        for time, level, logger, text in events
    ]
    path.write_text("\n".join([*lines, '{"timestamp": "2026-11-26T11:09:09.1Z", "lev']))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A stack's folder after a run: one table is synced, another fails at its second try."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api-server.log").write_text(ACCESS)
    (tmp_path / "logs" / "aws.log").write_text('127.0.0.1 - - [26/Nov/2026 11:00:00] "POST / HTTP/1.1" 200 -\n')
    run = tmp_path / "airflow" / "logs" / f"dag_id={DAG_ID}" / "run_id=manual__1"
    noise = ("11:00:59", "info", "task", "::endgroup::")
    listed = (
        "11:00:01",
        "info",
        "airflow.task.operators.cd2.tasks.operators.ListTables",
        "2 tables: canvas.a, canvas.b",
    )
    write(run / "task_id=list_tables" / "attempt=1.log", listed, noise)
    sync = run / "task_id=process_table.sync_table"
    write(sync / "map_index=0" / "attempt=1.log", ("11:00:05", "info", SYNC, "canvas.a: complete, 3 rows"), noise)
    write(sync / "map_index=0" / "attempt=1.log.trigger.1.log", ("11:00:03", "info", "cd2.jobs", "canvas.a: asked DAP"))
    write(sync / "map_index=1" / "attempt=1.log", ("11:00:06", "warning", "cd2.jobs", "canvas.b: 429"), noise)
    write(sync / "map_index=1" / "attempt=2.log", ("11:00:09", "error", "cd2.tasks", "The file is damaged: see [7]"))
    return tmp_path


def printed(options: Options, width: int = 80) -> str:
    written = io.StringIO()
    assert logs(options, Console(file=written, width=width)) == 0
    return written.getvalue()


def test_each_task_has_one_line_its_last_by_the_name_of_its_table(folder: Path) -> None:
    lines = printed(Options(directory=folder)).splitlines()
    begin = lines.index("Tasks of the last run, manual__1: the last line of each log")
    assert lines[begin + 1 : begin + 4] == [
        "  11:00:01  list_tables: 2 tables: canvas.a, canvas.b",
        "  11:00:05  canvas.a: complete, 3 rows",
        "  11:00:09  canvas.b: The file is damaged: see [7]",
    ]


def test_of_a_component_only_what_is_wrong_is_shown(folder: Path) -> None:
    text = printed(Options(directory=folder))
    assert "http.access" not in text
    assert "HTTP/1.1" not in text
    assert "somewhere.py" not in text
    assert "The disk is nearly full." in text
    assert "ValueError: no such thing" in text
    assert "  none: aws\n" in text


def test_what_stopping_breaks_is_no_problem_of_a_component(folder: Path) -> None:
    with (folder / "logs" / "api-server.log").open("a") as log:
        log.write(
            "2026-11-26T11:30:00.5Z [critical ] Process terminated by signal. [airflow]\nBrokenPipeError: broken\n"
        )
    assert "Process terminated" in printed(Options(directory=folder))
    Folder(folder).remember(stopped_at="2026-11-26T11:30:00.4+00:00")
    text = printed(Options(directory=folder))
    assert "Process terminated" not in text
    assert "BrokenPipeError" not in text
    assert "The disk is nearly full." in text


def test_a_table_by_name_has_all_lines_of_all_its_tries_in_order(folder: Path) -> None:
    text = printed(Options(directory=folder, tables=("a", "canvas.b")))
    assert text.splitlines()[:6] == [
        "canvas.a",
        "  11:00:03  canvas.a: asked DAP",
        "  11:00:05  canvas.a: complete, 3 rows",
        "canvas.b",
        "  11:00:06  canvas.b: 429",
        "  11:00:09  The file is damaged: see [7]",
    ]
    assert "The disk" not in text


def test_a_table_that_was_not_in_the_run_is_named_with_those_that_were(folder: Path) -> None:
    with pytest.raises(LocalStackError, match="no table is called 'users'; there are: a, b"):
        logs(Options(directory=folder, tables=("users",)), Console(file=io.StringIO()))


def test_what_is_wrong_is_never_cut_and_the_rest_fits_the_terminal(folder: Path) -> None:
    run = folder / "airflow" / "logs" / f"dag_id={DAG_ID}" / "run_id=manual__1" / "task_id=process_table.sync_table"
    write(run / "map_index=0" / "attempt=1.log", ("11:00:05", "info", SYNC, "canvas.a: " + "much " * 30))
    write(run / "map_index=1" / "attempt=2.log", ("11:00:09", "error", SYNC, "canvas.b: " + "sentence " * 30 + "end."))
    lines = printed(Options(directory=folder)).splitlines()
    (much,) = (line for line in lines if "much" in line)
    assert len(much) <= 80
    assert much.endswith("...")
    assert any(line.endswith("sentence end.") for line in lines)


def test_before_the_first_run_it_says_so(tmp_path: Path) -> None:
    options = replace(Options(), directory=tmp_path)
    assert "There are no logs yet in" in printed(options)
    assert "No task has run yet." in printed(options)
