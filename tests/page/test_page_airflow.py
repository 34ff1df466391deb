"""The page inside of a real Airflow, from its home: real runs, real log-in, real rights."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from playwright.sync_api import FrameLocator, Page, TimeoutError, expect

from local.airflow.api import DAG_ID
from local.stack import Stack
from tests.e2e.story import PATIENCE_S, forget_what_is_under_way, jobs_held_back, only_these_tables, wait_for
from tests.page.accessibility import violations
from tests.page.conftest import PATIENCE_MS

pytestmark = pytest.mark.slow
expect.set_options(timeout=PATIENCE_MS)
TABLES = ["canvas.accounts", "canvas.courses", "canvas.users"]
CONF: dict[str, Any] = {"namespaces": ["canvas"], "tables": TABLES}
FRAME = "iframe[title='Canvas Data']"
MANY = 500


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Running, with three tables in the replica, and with somebody who may only look."""
    users = {"AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer"}
    with Stack(tmp_path_factory.mktemp("page"), rows=20, environment=users) as running:
        assert running.wait(running.trigger(CONF), PATIENCE_S) == "success"
        yield running


@pytest.fixture
def calm(stack: Stack) -> Stack:
    """The stack with nothing under way, and no failure to show."""
    forget_what_is_under_way(stack)
    newest = {"order_by": "-run_after", "limit": 1}
    (last,) = stack.api.call("GET", f"/dags/{DAG_ID}/dagRuns", params=newest)["dag_runs"]
    if last["state"] != "success" or last["conf"] != CONF:
        assert stack.wait(stack.trigger(CONF), PATIENCE_S) == "success"
    return stack


def log_in(stack: Stack, tab: Page, user: str = "admin") -> None:
    """Log in at Airflow's own form."""
    passwords = json.loads((stack.folder.airflow / "passwords.json").read_text())
    tab.goto(stack.ui)
    tab.locator("input[name='username']").fill(user)
    tab.locator("input[name='password']").fill(passwords[user])
    tab.locator("button[type='submit']").click()
    expect(tab.get_by_test_id("nav-sidebar")).to_be_visible()


def open_page(stack: Stack, tab: Page, user: str = "admin") -> FrameLocator:
    """The page, by one click from Airflow's home."""
    log_in(stack, tab, user)
    tab.get_by_test_id("nav-sidebar").get_by_text("Canvas Data").click()
    return tab.frame_locator(FRAME)


def test_a_newcomer_reaches_the_page_by_one_click_from_airflows_home(calm: Stack, tab: Page) -> None:
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if "/xcomEntries/" in request.url else None)
    frame = open_page(calm, tab)
    expect(frame.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    expect(frame.locator(".tables tr[data-table]")).to_have_count(3)
    expect(frame.locator("#verdict")).to_contain_text("Checked")
    assert len(asked) == 1
    assert violations(tab, "iframe") == []


def test_it_stands_on_the_dag_too_and_links_lead_out_of_its_frame(calm: Stack, tab: Page) -> None:
    log_in(calm, tab)
    tab.goto(f"{calm.ui}/dags/canvas_data_2")
    tab.get_by_role("link", name="Canvas Data", exact=True).last.click()
    frame = tab.frame_locator(FRAME)
    expect(frame.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    frame.locator(".runs a").last.click()
    tab.wait_for_url("**/dags/canvas_data_2/runs/*")


def test_it_has_the_colors_that_a_person_chose_in_airflow(calm: Stack, tab: Page) -> None:
    tab.add_init_script("localStorage.setItem('theme', 'dark')")
    frame = open_page(calm, tab)
    expect(frame.locator("html")).to_have_class("dark")
    tab.evaluate("document.documentElement.classList.replace('dark', 'light')")
    expect(frame.locator("html")).not_to_have_class("dark")


def test_a_failed_table_is_explained_and_run_again_from_the_page(calm: Stack, tab: Page) -> None:
    calm.simulator.fault("canvas", "users", "missing_column", times=1)
    calm.simulator.advance(0.1, TABLES)
    run_id = calm.trigger(CONF | {"tables": ["canvas.users", "canvas.courses"]})
    assert calm.wait(run_id, PATIENCE_S) == "failed"
    calm.simulator.clear_faults()
    frame = open_page(calm, tab)
    expect(frame.locator("#verdict .sentence")).to_have_text("1 of 3 tables failed; the others are up to date.")
    (failed,) = [one for one in calm.results(run_id) if one["state"] == "failed"]
    expect(frame.locator("tr.why")).to_contain_text(failed["error"]["message"])
    frame.get_by_role("button", name="Clear failed tasks").click()
    frame.get_by_role("dialog").get_by_role("button", name="Clear the failed tasks").click()
    expect(frame.get_by_role("dialog")).to_contain_text("The failed tasks are cleared")
    frame.get_by_role("dialog").get_by_role("button", name="Close").click()
    assert calm.wait(run_id, PATIENCE_S) == "success"
    expect(frame.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    expect(frame.locator("tr.why")).to_have_count(0)


def test_the_link_of_a_failed_table_leads_to_its_log(calm: Stack, tab: Page) -> None:
    calm.simulator.fault("canvas", "users", "missing_column", times=1)
    calm.simulator.advance(0.1, TABLES)
    assert calm.wait(calm.trigger(CONF), PATIENCE_S) == "failed"
    calm.simulator.clear_faults()
    frame = open_page(calm, tab)
    frame.get_by_role("link", name="Log of canvas.users").click()
    tab.wait_for_url("**/tasks/process_table.sync_table/mapped/*")


def test_a_running_refresh_is_shown_live_until_it_ends(calm: Stack, tab: Page) -> None:
    calm.simulator.advance(0.1, TABLES)
    frame = open_page(calm, tab)
    with jobs_held_back(calm):
        frame.get_by_role("button", name="Sync all tables").wait_for()
        for table in TABLES:
            frame.get_by_label(f"Select {table}").check()
        frame.get_by_role("button", name="Sync 3 tables").click()
        frame.get_by_role("dialog").get_by_role("button", name="Start the run").click()
        expect(frame.get_by_role("dialog")).to_contain_text("The run was triggered.")
        frame.get_by_role("dialog").get_by_role("button", name="Close").click()
        (run_id,) = calm.api.unfinished_runs()
        assert calm.api.run(run_id)["conf"]["tables"] == TABLES
        wait_for(lambda: len(calm.tables_with_a_job()) == len(TABLES), "three jobs at DAP")
        expect(frame.locator("#live")).to_contain_text("A refresh is running")
        expect(frame.locator("#live")).to_contain_text("0 of 3 tables done")
        expect(frame.locator("#live")).to_contain_text("DAP")
        assert violations(tab, "iframe") == []
    assert calm.wait(run_id, PATIENCE_S) == "success"
    expect(frame.locator("#live")).to_be_empty()
    expect(frame.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")


def test_who_may_only_look_sees_everything_and_is_told_what_is_not_allowed(calm: Stack, tab: Page) -> None:
    frame = open_page(calm, tab, "viewer")
    expect(frame.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    frame.get_by_role("button", name="Sync all tables").click()
    frame.get_by_role("dialog").get_by_role("button", name="Start the run").click()
    expect(frame.get_by_role("dialog")).to_contain_text("You lack the permission to start a run of this DAG.")
    assert calm.api.unfinished_runs() == []


def test_after_a_log_out_it_says_so_and_keeps_what_it_showed(calm: Stack, tab: Page) -> None:
    frame = open_page(calm, tab)
    expect(frame.locator("#verdict .sentence")).to_have_text("All 3 tables are up to date.")
    tab.context.clear_cookies()
    frame.locator("html").evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(frame.locator("#notice")).to_contain_text("You are logged out. This page shows the state of")
    frame.get_by_role("link", name="Log in to Airflow again").click()
    expect(tab.locator("input[name='username']")).to_be_visible()


def test_without_a_log_in_its_files_are_served_and_no_data(stack: Stack) -> None:
    assert requests.get(f"{stack.ui}/canvas-data/", timeout=60).ok
    for path in ("status", "api", "../api/v2/dags"):
        assert not requests.get(f"{stack.ui}/canvas-data/{path}", timeout=60).ok


def test_five_hundred_tables_are_one_xcom_of_one_run(calm: Stack, tab: Page) -> None:
    run_id = calm.trigger(CONF | {"dry_run": False})  # not the CONF of `calm`, whose page shows three tables
    assert calm.wait(run_id, PATIENCE_S) == "success"
    status = calm.api.xcom(run_id, "notify", key="status")
    (first, *_) = status["tables"]
    status["tables"] = [first | {"table": f"canvas.table_{i:03}", "recent": list(range(20))} for i in range(MANY)]
    path = f"/dags/canvas_data_2/dagRuns/{run_id}/taskInstances/notify/xcomEntries/status"
    calm.api.call("PATCH", path, json={"value": status})
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if "/taskInstances/" in request.url else None)
    devtools = tab.context.new_cdp_session(tab)
    log_in(calm, tab)
    devtools.send("Performance.enable")
    tab.goto(f"{calm.ui}/canvas-data/")
    expect(tab.locator(".tables tr[data-table]")).to_have_count(MANY)
    metrics = {one["name"]: one["value"] for one in devtools.send("Performance.getMetrics")["metrics"]}
    print(f"{MANY} tables: {metrics['TaskDuration']:.2f} s of work, {len(json.dumps(status)):,} bytes of XCom")
    assert len(asked) == 1


def test_airflows_list_of_assets_says_that_all_tables_are_up_to_date_and_as_of_when(calm: Stack, tab: Page) -> None:
    with only_these_tables(calm, TABLES):
        run_id = calm.trigger({})
        assert calm.wait(run_id, PATIENCE_S) == "success"
    log_in(calm, tab)
    tab.goto(f"{calm.ui}/assets")
    tab.get_by_role("link", name="Canvas Data 2 is up to date").click()
    event = tab.locator("a[href$='/tasks/notify']")
    expect(event).to_have_attribute("href", f"/dags/canvas_data_2/runs/{run_id}/tasks/notify")
    oldest = min(str(result["data_as_of"]) for result in calm.results(run_id))
    wait_for(lambda: oldest in unfolded(tab), f"{oldest} in what the event says")


def unfolded(tab: Page) -> str:
    """What Airflow's list shows of an event. Airflow folds it twice, the second time late: unfolded as often."""
    folded = tab.locator(".codicon-folding-collapsed")
    if folded.count() > 0:
        with suppress(TimeoutError):  # redrawn meanwhile: the next look unfolds it
            folded.click(timeout=5_000)
    return re.sub(r"\s", "", tab.locator(".view-lines").inner_text())
