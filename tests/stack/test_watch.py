"""What `make run` shows while a run goes on, made from answers as Airflow gives them."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest
from rich.console import Console

from local.airflow.api import INIT_TASK, LIST_TASK, SYNC_TASK
from local.command.progress import Phase, Progress
from local.command.report import print_comparison, print_results
from local.command.watch import clock, fitting, log_lines, screen, watch
from local.compare.difference import ABSENT, TableDifference
from local.stack.client import StackClient

NAMES = [f"canvas.table_number_{number}" for number in range(109)]


class Answers:
    """What Airflow, the replica and the tasks of a run say."""

    def __init__(self) -> None:
        self.refreshes = 0
        self.instances: dict[tuple[str, int], str | None] = {}
        self.with_a_job: set[str] = set()
        self.results: dict[int, str] = {}
        self.api = self

    def run(self, run_id: str) -> dict[str, Any]:
        self.refreshes += 1
        return {"state": "failed" if self.refreshes > 10 else "running"}

    def check(self) -> None:
        pass

    def task_instances(self, run_id: str, changed_since: str | None = None) -> list[dict[str, Any]]:
        # Rows have no name: they have one only once a worker had them.
        return [
            {"task_id": task, "map_index": index, "state": state, "rendered_map_index": None}
            for (task, index), state in self.instances.items()
        ]

    def names(self, run_id: str) -> list[str]:
        return NAMES

    def tables_with_a_job(self) -> set[str]:
        return self.with_a_job

    def table_result(self, run_id: str, index: int, instances: object) -> dict[str, Any]:
        state = self.results.get(index, "initialized")
        namespace, table = NAMES[index].split(".")
        error = {"message": "The file is [damaged]."} if state == "failed" else None
        result = {"namespace": namespace, "table": table, "state": state, "error": error}
        return result | {"rows_upserted": 10, "rows_deleted": 1}


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def progress(answers: Answers) -> Progress:
    return Progress(cast("StackClient", answers), "run")


def first_load(answers: Answers) -> None:
    """The middle of a first load, with a table in every phase."""
    answers.instances[LIST_TASK, -1] = "success"
    for index in range(109):
        answers.instances[SYNC_TASK, index] = "success"
    for index in range(41):
        answers.instances[INIT_TASK, index] = "success"
    answers.results = {3: "failed"}
    for index in range(41, 49):
        answers.instances[INIT_TASK, index] = "running"
    for index in range(49, 90):
        answers.instances[INIT_TASK, index] = "deferred"
    answers.with_a_job = {NAMES[49], NAMES[50], NAMES[0]}
    answers.instances[INIT_TASK, 90] = "up_for_retry"
    answers.instances[INIT_TASK, 91] = "queued"


def test_before_the_tables_are_listed_there_is_a_step_instead_of_numbers(answers: Answers, progress: Progress) -> None:
    answers.instances["prepare_database", -1] = "running"
    progress.refresh()
    assert log_lines(progress, 3) == "  0:03  preparing the database"
    answers.instances |= {("prepare_database", -1): "success", (LIST_TASK, -1): "running"}
    progress.refresh()
    assert log_lines(progress, 4) == "  0:04  listing the tables"


def test_every_table_is_in_one_phase_by_its_name_in_the_list(answers: Answers, progress: Progress) -> None:
    first_load(answers)
    for _ in range(3):  # results are fetched in portions
        progress.refresh()
    phases = progress.phases()
    assert {phase: len(names) for phase, names in phases.items()} == {
        Phase.DONE: 40, Phase.FAILED: 1, Phase.LOADING: 8, Phase.AT_DAP: 2, Phase.TURN: 39, Phase.WORKER: 18,
        Phase.RETRY: 1,
    }  # fmt: skip
    assert sorted(name for names in phases.values() for name in names) == sorted(NAMES)
    assert phases[Phase.FAILED] == [NAMES[3]]
    assert phases[Phase.AT_DAP] == NAMES[49:51]
    assert phases[Phase.DONE][0] == NAMES[40]


def test_a_sync_that_waits_from_its_start_and_has_no_name_is_shown_by_its_name(
    answers: Answers, progress: Progress
) -> None:
    answers.instances[LIST_TASK, -1] = "success"
    answers.instances |= {(SYNC_TASK, index): "deferred" for index in range(109)}
    answers.with_a_job = {NAMES[7]}
    progress.refresh()
    assert progress.phases() == {Phase.AT_DAP: [NAMES[7]], Phase.TURN: NAMES[:7] + NAMES[8:]}


def test_a_log_has_lines_of_eighty_columns_with_numbers_and_names(answers: Answers, progress: Progress) -> None:
    first_load(answers)
    for _ in range(3):
        progress.refresh()
    lines = log_lines(progress, 95).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("  1:35  40 of 109 done, 8 loading, 2 at DAP, 39 waiting for a turn")
    assert "1 failed; 451 rows" in lines[1]
    assert lines[2] == "        loading: canvas.table_number_41, canvas.table_number_42 +6"
    assert lines[3] == "        waiting for a retry: canvas.table_number_90"


@pytest.mark.parametrize("width", [80, 60, 200])
def test_a_terminal_has_a_line_for_each_phase_and_none_is_too_long(
    answers: Answers, progress: Progress, width: int
) -> None:
    first_load(answers)
    for _ in range(3):
        progress.refresh()
    written = io.StringIO()
    Console(file=written, width=width).print(screen(progress, 95, width))
    lines = written.getvalue().splitlines()
    assert len(lines) == 8
    assert max(map(len, lines)) <= width
    assert "40 of 109 tables done" in lines[0]
    assert "1:35" in lines[0] or width == 60
    assert [line.split()[:2] for line in lines[1:]] == [
        ["8", "loading"], ["2", "at"], ["39", "waiting"], ["18", "waiting"], ["1", "waiting"], ["1", "failed"],
        ["40", "done"],
    ]  # fmt: skip
    assert NAMES[3] in lines[6]


def test_after_the_last_table_it_says_that_the_notification_is_next(answers: Answers, progress: Progress) -> None:
    answers.instances = {(LIST_TASK, -1): "success", ("notify", -1): "running"}
    answers.instances |= {(task, index): "success" for task in (SYNC_TASK, INIT_TASK) for index in range(109)}
    while len(progress.results) < 109:
        progress.refresh()
    assert log_lines(progress, 5) == "  0:05  109 of 109 done, notifying; 1,199 rows"


def test_the_results_of_a_run_fit_eighty_columns() -> None:
    result = {
        "namespace": "canvas", "table": "master_courses_child_subscriptions", "action": "sync",
        "state": "complete_with_schema_update", "rows_upserted": 123_456_789, "rows_deleted": 1_234_567,
        "bytes_downloaded": 10**9, "duration_s": 1234.5, "data_as_of": "2026-11-26T04:00:00+00:00", "error": None,
    }  # fmt: skip
    written = io.StringIO()
    print_results(Console(file=written, width=80), [result], {})
    line = next(line for line in written.getvalue().splitlines() if "master_courses" in line)
    print_results(Console(file=written, width=60), [result], {})
    assert written.getvalue().count("canvas.master_courses_child_subscriptions ") == 2, "a name is never cut"
    assert line.split() == ["canvas.master_courses_child_subscriptions", "schema", "update", "123,456,789", "1,234,567"]


@pytest.mark.parametrize("sentence", ["canvas.users: sync failed: It [rained].", "sync failed: It [rained]."])
def test_the_table_of_a_failure_is_named_once_in_its_line(sentence: str) -> None:
    result = {
        "namespace": "canvas", "table": "users", "action": "sync", "state": "failed", "rows_upserted": 0,
        "rows_deleted": 0, "bytes_downloaded": 0, "duration_s": 1.0, "data_as_of": None,
        "error": {"class": "TableFailure", "message": sentence, "type": None, "uuid": None},
    }  # fmt: skip
    written = io.StringIO()
    print_results(Console(file=written, width=120), [result], {})
    assert "\ncanvas.users: sync failed: It [rained]. (TableFailure)\n" in written.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_table_that_fails_is_named_once_with_its_reason_while_the_run_goes_on(
    answers: Answers, progress: Progress, monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    first_load(answers)
    monkeypatch.setattr("local.command.watch.POLL_EVERY", 0.01)
    monkeypatch.setattr("local.command.watch.LINE_EVERY", 0.0)
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=terminal, color_system=None)
    watch(cast("StackClient", answers), progress, console)
    assert progress.ended
    assert written.getvalue().count("canvas.table_number_3 failed: The file is [damaged].") == 1
    assert "8 loading" in written.getvalue()


def test_a_log_does_not_repeat_what_has_not_changed(
    answers: Answers, progress: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers.instances["prepare_database", -1] = "running"
    monkeypatch.setattr("local.command.watch.POLL_EVERY", 0.01)
    monkeypatch.setattr("local.command.watch.LINE_EVERY", 0.0)
    written = io.StringIO()
    watch(cast("StackClient", answers), progress, Console(file=written, width=80))
    assert written.getvalue().splitlines() == ["  0:00  preparing the database"]


@pytest.mark.parametrize(
    ("names", "width", "shown"),
    [
        ([], 10, ""),
        (["canvas.users"], 12, "canvas.users"),
        (["canvas.users", "canvas.roles"], 26, "canvas.users, canvas.roles"),
        (["canvas.users", "canvas.roles"], 25, "canvas.users +1"),
        (["canvas.master_courses_child_subscriptions"], 20, "canvas.master_cou..."),
        (["canvas.master_courses_child_subscriptions", "canvas.roles"], 20, "canvas.master_... +1"),
    ],
)
def test_names_are_shown_as_far_as_they_fit(names: list[str], width: int, shown: str) -> None:
    assert fitting(names, width) == shown


def test_a_duration_is_a_clock() -> None:
    assert [clock(seconds) for seconds in (0, 59.9, 61, 3723)] == ["0:00", "0:59", "1:01", "1:02:03"]


def test_tables_that_were_never_replicated_do_not_hide_those_that_differ() -> None:
    absent = [TableDifference(f"canvas.table_{number}", problems=[ABSENT]) for number in range(20)]
    wrong = TableDifference("canvas.users", rows=5, missing=1)
    written = io.StringIO()
    assert not print_comparison(Console(file=written, width=120), [*absent, wrong])
    head, first, *_, last = written.getvalue().splitlines()
    assert head == "Compared with the simulator's truth: 21 of 21 tables differ."
    assert first == "  canvas.users: 1 missing, 0 superfluous, 0 changed"
    assert last.startswith("The replica does not have 20 tables: make run brings all of them, and TABLES= compares")
