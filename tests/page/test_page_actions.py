"""What a person can do on the page; the browser is real, Airflow's answers are canned."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from cd2.tasks.verifying import check_form
from tests.page.accessibility import violations
from tests.page.canned import failed_table, names, three_tables
from tests.page.conftest import PATIENCE_MS

expect.set_options(timeout=PATIENCE_MS)
pytestmark = pytest.mark.slow


def test_the_failed_tasks_can_be_cleared(tab: Page) -> None:
    airflow = failed_table()
    airflow.open(tab)
    tab.get_by_role("button", name="Clear failed tasks").click()
    expect(tab.get_by_role("dialog")).to_contain_text("Clears the failed tasks of the last run: 1 table, notify.")
    assert violations(tab) == []
    tab.get_by_role("dialog").get_by_role("button", name="Clear the failed tasks").click()
    expect(tab.get_by_role("dialog")).to_contain_text("The failed tasks are cleared")
    assert airflow.posted == [
        ("/dags/canvas_data_2/clearTaskInstances", {"dry_run": False, "dag_run_id": "r2", "only_failed": True})
    ]


def test_chosen_tables_get_a_full_refresh_after_what_the_trigger_form_says(tab: Page) -> None:
    airflow = three_tables()
    airflow.open(tab)
    expect(tab.get_by_role("button", name="Full refresh")).to_be_disabled()
    expect(tab.get_by_role("button", name="Verify")).to_have_count(0)
    tab.get_by_label("Select canvas.users").check()
    tab.get_by_label("Select catalog.carts").check()
    tab.get_by_role("button", name="Full refresh").click()
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_contain_text("canvas.users, catalog.carts.")
    expect(dialog).to_contain_text("DAP may refuse repeated snapshots.")
    tab.keyboard.press("Escape")
    assert airflow.posted == []
    tab.get_by_role("button", name="Full refresh").click()
    dialog.get_by_role("button", name="Start the full refresh").click()
    expect(dialog).to_contain_text("The run was triggered.")
    conf = {"tables": ["canvas.users", "catalog.carts"], "namespaces": ["canvas", "catalog"], "full_refresh": True}
    assert airflow.posted == [("/dags/canvas_data_2/dagRuns", {"logical_date": None, "conf": conf})]


def test_verify_is_offered_once_the_trigger_form_has_it(tab: Page) -> None:
    airflow = three_tables()
    airflow.dag = {"params": {"verify": {"value": False, "description": "Compares every value."}}}
    airflow.open(tab)
    tab.get_by_label("Select canvas.users").check()
    tab.get_by_role("button", name="Verify").click()
    dialog = tab.get_by_role("dialog")
    expect(dialog).to_contain_text("Compares every value.")
    expect(tab.get_by_role("button", name="Full refresh")).to_have_count(0)
    dialog.get_by_role("button", name="Start the verification").click()
    expect(dialog).to_contain_text("The run was triggered.")
    ((_, started),) = airflow.posted
    assert started["conf"] == {"tables": ["canvas.users"], "namespaces": ["canvas"], "verify": True}
    check_form(started["conf"], {"tables", "namespaces", "verify"})  # the DAG accepts what the page sends


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (403, "You lack the permission to start a run of this DAG."),
        (401, "You are logged out: log in to Airflow again"),
        (400, "Airflow refused: 'users; drop' does not match"),
        (0, "Airflow does not answer. Try again in a moment."),
    ],
)
def test_an_action_that_airflow_refuses_says_why_and_can_be_repeated(tab: Page, code: int, said: str) -> None:
    airflow = three_tables()
    airflow.refuses["POST"] = (code, "'users; drop' does not match")
    airflow.open(tab)
    tab.get_by_role("button", name="Sync all tables").click()
    dialog = tab.get_by_role("dialog")
    dialog.get_by_role("button", name="Start the run").click()
    expect(dialog.get_by_role("alert")).to_contain_text(said)
    airflow.refuses.clear()
    dialog.get_by_role("button", name="Start the run").click()
    expect(dialog).to_contain_text("The run was triggered.")


def test_tables_are_filtered_and_sorted_by_the_keyboard(tab: Page) -> None:
    three_tables().open(tab)
    tab.get_by_label("Filter the tables by name or error").fill("canvas acc")
    assert names(tab) == ["canvas.accounts"]
    expect(tab.get_by_role("status")).to_have_text("1 of 3 tables")
    tab.get_by_label("Filter the tables by name or error").fill("")
    tab.get_by_role("button", name="Last run").focus()
    tab.keyboard.press("Enter")
    expect(tab.get_by_role("columnheader", name="Last run")).to_have_attribute("aria-sort", "descending")
    expect(tab.get_by_role("button", name="Last run")).to_be_focused()
    assert names(tab)[0] == "canvas.accounts"
    tab.get_by_role("button", name="Changed").press("Enter")
    assert names(tab) == ["canvas.accounts"]
    tab.get_by_label("Namespace").select_option("catalog")
    expect(tab.locator(".tables tbody")).to_contain_text("No table matches.")


def test_on_another_dag_it_says_where_it_belongs(tab: Page) -> None:
    airflow = three_tables()
    airflow.open(tab, "?dag=other")
    expect(tab.locator("#verdict")).to_contain_text("The DAG other does not replicate Canvas Data 2.")
    assert airflow.asked == []
