"""What the page says and does, whatever Airflow answers; the browser is real, Airflow's answers are canned."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from playwright.sync_api import Page, expect

from cd2.replication.load.rows import Progress
from cd2.replication.names import TableName
from tests.page.accessibility import violations
from tests.page.canned import (
    INIT,
    NOW,
    REASON,
    SYNC,
    Airflow,
    failed_table,
    instance,
    names,
    result,
    run,
    status,
    three_tables,
)
from tests.page.conftest import PATIENCE_MS

expect.set_options(timeout=PATIENCE_MS)
pytestmark = pytest.mark.slow


def test_the_verdict_is_one_sentence_and_a_run_is_asked_for_once(tab: Page) -> None:
    airflow = three_tables()
    airflow.open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    expect(tab.locator("#verdict")).to_contain_text("Checked 12 minutes ago · next run at")
    assert names(tab) == ["canvas.accounts", "canvas.users", "catalog.carts"]
    expect(tab.locator("[data-table='canvas.accounts']")).to_contain_text("+5 −2")
    assert sum("/r2/" in path for path in airflow.asked) == 1
    assert not [path for path in airflow.asked if "/r1/" in path]
    assert violations(tab) == []


@pytest.mark.parametrize("path", ["", "/airflow", "/deep/er"])
def test_it_works_below_any_path(tab: Page, path: str) -> None:
    airflow = three_tables()
    airflow.path = path
    requested: list[str] = []
    tab.on("request", lambda request: requested.append(request.url))
    airflow.open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    assert all(url.startswith(f"http://airflow.test{path}/") for url in requested)
    tab.locator(".runs a").last.click()
    expect(tab).to_have_title(f"Airflow: {path}/dags/canvas_data_2/runs/r2")


def test_a_failed_table_comes_first_with_its_reason_and_its_log(tab: Page) -> None:
    failed_table().open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("1 of 2 tables failed; the others are up to date.")
    assert names(tab) == ["canvas.users", "canvas.accounts"]
    expect(tab.locator("tr.why")).to_contain_text(REASON)
    assert violations(tab) == []
    tab.get_by_role("link", name="Log of canvas.users").click()
    expect(tab).to_have_title(f"Airflow: /dags/canvas_data_2/runs/r2/tasks/{SYNC}/mapped/1")


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (401, "You are logged out. Log in to Airflow again."),
        (403, "You lack the permission to see this. The page needs the permission to read the DAG canvas_data_2"),
        (404, "Airflow does not know the DAG canvas_data_2."),
        (500, "Airflow does not answer. The page tries again automatically."),
        (0, "Airflow does not answer. The page tries again automatically."),
        (400, "Airflow refused to answer. broken"),
    ],
)
def test_whatever_airflow_does_not_tell_is_a_sentence(tab: Page, code: int, said: str) -> None:
    Airflow(refuses={"GET": (code, "broken")}).open(tab)
    expect(tab.locator("#notice")).to_contain_text(said)
    assert violations(tab) == []


def test_what_was_shown_stays_while_airflow_does_not_answer_and_it_asks_again(tab: Page) -> None:
    airflow = three_tables()
    airflow.open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    airflow.refuses["GET"] = (0, "")
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(tab.locator("#notice")).to_contain_text("This page shows the state of")
    assert names(tab) == ["canvas.accounts", "canvas.users", "catalog.carts"]
    airflow.refuses.clear()
    tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(tab.locator("#notice")).to_be_empty()


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "There has been no run yet."),
        ([run("r1", "running", 0.1)], "The first refresh is running."),
        ([run("r1", "success", 1)], "No recent run has left a status of the tables."),
    ],
    ids=["none", "first", "dry"],
)
def test_without_a_status_there_is_a_sentence(tab: Page, runs: list[dict[str, object]], said: str) -> None:
    Airflow(runs=runs).open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text(said)
    assert violations(tab) == []


def test_a_run_that_failed_before_its_tables_says_what_the_task_said(tab: Page) -> None:
    airflow = three_tables()
    airflow.runs.insert(0, run("r3", "failed", 0.2))
    airflow.instances["r3"] = [instance("r3", "list_tables", "failed"), instance("r3", "notify", "failed")]
    airflow.xcoms["r3", "list_tables", "error"] = "The DAP key is refused: create a new one."
    airflow.open(tab)
    text = "The last run failed in list_tables, before it reached the tables."
    expect(tab.locator("#verdict .sentence")).to_have_text(text)
    expect(tab.locator("#verdict")).to_contain_text("The DAP key is refused: create a new one.")
    assert len(names(tab)) == 3


def test_a_table_that_a_whole_run_no_longer_lists_does_not_count(tab: Page) -> None:
    airflow = Airflow(runs=[run("r1", "success", 0.5)])
    airflow.statuses["r1"] = status(result("canvas.users"), others=("canvas.gone",))
    airflow.open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("The one table is up to date.")
    expect(tab.locator("[data-table='canvas.gone']")).to_contain_text("Not listed")


def test_a_table_that_a_run_of_others_did_not_ask_for_keeps_its_state(tab: Page) -> None:
    airflow = Airflow(runs=[run("r1", "success", 0.5, {"tables": ["users"]})])
    airflow.statuses["r1"] = status(result("canvas.users"), others=("canvas.accounts",))
    airflow.open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("All 2 tables are up to date.")


def test_data_that_nobody_has_checked_for_long_is_no_good_news(tab: Page) -> None:
    airflow = Airflow(runs=[run("r1", "success", 60)], dag={"is_paused": True})
    airflow.statuses["r1"] = status(result("canvas.users"), minutes_ago=60 * 60)
    airflow.open(tab)
    expect(tab.locator("#verdict .sentence")).to_have_text("No table has been checked for 2 days.")
    expect(tab.locator("#verdict")).to_contain_text("The DAG is paused")


def test_a_running_refresh_shows_what_each_table_waits_for_and_how_fast_rows_come(tab: Page) -> None:
    airflow = three_tables()
    airflow.runs.insert(0, run("r3", "running", 0.1))
    listed = ["canvas.accounts", "canvas.users", "canvas.courses", "canvas.roles", "canvas.terms"]
    airflow.xcoms["r3", "list_tables", "return_value"] = listed
    states = ["success", "running", "deferred", "deferred", "deferred"]
    airflow.instances["r3"] = [
        instance("r3", "list_tables", "success"),
        *(instance("r3", SYNC, state, index) for index, state in enumerate(states)),
        *(instance("r3", INIT, "skipped" if state == "success" else None, i) for i, state in enumerate(states)),
    ]
    progress = Progress(TableName("canvas", "users"), 1_234_567, 9_000_000, 100.0, (1, 3))
    turn = "Waiting {} s for our turn: DAP limits the calls per minute (data)."
    airflow.logs[SYNC, 1] = ["canvas.users: sync_table begins here", str(progress)]
    airflow.logs[SYNC, 2] = [turn.format(1), "canvas.courses: DAP is still working on job j."]
    airflow.logs[SYNC, 3] = [turn.format(3000)]
    airflow.open(tab)
    live = tab.locator("#live")
    expect(live).to_contain_text("1 of 5 tables done")
    expect(live.locator(".loads tbody tr")).to_have_text(re.compile(r"canvas\.users\s*1,234,567\s*12,346\s*Log"))
    expect(live.locator("li", has_text="at DAP").first).to_contain_text("1 at DAP canvas.courses")
    expect(live).to_contain_text("2 waiting for a turn at DAP canvas.roles, canvas.terms")
    expect(tab.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    assert violations(tab) == []


def test_texts_of_airflow_are_texts(tab: Page) -> None:
    airflow = failed_table()
    airflow.statuses["r2"]["tables"][1]["error"] = "<img src=x onerror=alert(1)> & more"
    airflow.open(tab)
    expect(tab.locator("tr.why")).to_contain_text("<img src=x onerror=alert(1)> & more")
    expect(tab.locator("tr.why img")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_that_can_be_shown_is_usable_in_both_colors(tab: Page, scheme: str) -> None:
    tab.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    airflow = failed_table()
    shown = airflow.statuses["r2"]
    shown["volumes"] = [
        {"day": f"{NOW - timedelta(days=29 - day):%Y-%m-%d}", "rows_written": 1000 * day, "rows_deleted": 10 * day}
        for day in range(30)
    ]
    views = [{"name": "reports.kept", "restored": True}, {"name": "reports.lost", "restored": False}]
    change = {"table": "canvas.users", "at": NOW.isoformat(), "from_version": 3, "to_version": 4, "what": "A column."}
    shown["schema_changes"] = [change | {"views": views}]
    shown["tables"][0] |= {"rows": 12345, "recent": [0, 5, 10], "verified_at": NOW.isoformat()}
    airflow.open(tab)
    expect(tab.locator("#overview")).to_contain_text("reports.lost")
    expect(tab.locator("[data-table='canvas.accounts']")).to_contain_text("12,345")
    assert tab.evaluate("document.documentElement.classList.contains('dark')") == (scheme == "dark")
    assert violations(tab) == []


def test_five_hundred_tables_take_three_requests_and_little_work(tab: Page) -> None:
    airflow = three_tables()
    airflow.statuses["r2"] = status(*(result(f"canvas.table_{number}", rows_upserted=number) for number in range(500)))
    for table in airflow.statuses["r2"]["tables"]:
        table["recent"] = list(range(20))
    devtools = tab.context.new_cdp_session(tab)
    devtools.send("Performance.enable")
    airflow.open(tab)
    expect(tab.locator(".tables tbody tr")).to_have_count(500)
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    print(f"500 tables: {metrics['TaskDuration']:.2f} s of work, {metrics['ScriptDuration']:.2f} s of it in scripts")
    assert len(airflow.asked) == 3
