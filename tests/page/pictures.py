"""Makes the pictures in docs/images in some minutes: `PYTHONPATH=plugins python -m tests.page.pictures`.

The runs are real. What a new stack does not have is made up: a month of history in the XCom of a run, and the rate of
loads that take long.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect, sync_playwright

from cd2.replication.load.rows import Progress
from cd2.replication.names import TableName
from local.settings import REPOSITORY
from local.stack import Stack
from tests.page.conftest import PATIENCE_MS, chromium

IMAGES = REPOSITORY / "docs" / "images"
VIEWPORT: Any = {"width": 1280, "height": 800}
CONF: dict[str, Any] = {"namespaces": ["canvas"]}
SLOW = ("canvas.submissions", "canvas.enrollments", "canvas.users")
DAYS = 30


def with_history(status: dict[str, Any]) -> dict[str, Any]:
    """The status as after a month."""
    chance = random.Random(7)
    now = datetime.now(UTC)
    for table in status["tables"]:
        table["rows"] = int(10 ** chance.uniform(1.5, 7.5))
        busy = int(table["rows"] * 0.002 * chance.random()) if chance.random() < 0.7 else 0
        table["recent"] = [int(busy * chance.uniform(0.2, 1.2)) for _ in range(20)]
        if table["state"] in ("complete", "initialized"):
            table |= {"state": "complete", "rows_written": busy, "rows_deleted": busy // 30}
    days = [now - timedelta(days=DAYS - 1 - number) for number in range(DAYS)]
    rows = [int((0.25 if day.weekday() > 4 else 1) * chance.uniform(9e5, 15e5)) for day in days]
    status["volumes"] = [
        {"day": f"{day:%Y-%m-%d}", "rows_written": written, "rows_deleted": written // 25}
        for day, written in zip(days, rows, strict=True)
    ]
    lost = [("reports.people", True), ("reports.old", False)]
    changes: list[tuple[str, int, str, list[tuple[str, bool]], int]] = [
        ("canvas.courses", 4, "The column homeroom_course (boolean) was added.", [], 20),
        ("canvas.users", 7, "The column legacy_locale was dropped.", lost, 70),
        ("canvas.quizzes", 2, "The enumeration of quiz_type has the new value survey.", [], 200),
    ]
    status["schema_changes"] = [
        {
            "table": table,
            "at": (now - timedelta(hours=hours)).isoformat(),
            "from_version": version - 1,
            "to_version": version,
            "what": what,
            "views": [{"name": name, "restored": restored} for name, restored in views],
        }
        for table, version, what, views, hours in changes
    ]
    return status


def run(stack: Stack) -> str:
    """A run of all tables after some changes, with the history in its status."""
    stack.simulator.advance(0.2)
    run_id = stack.trigger(CONF)
    stack.wait(run_id, 1200)
    status = with_history(stack.api.xcom(run_id, "notify", key="status"))
    path = f"/dags/canvas_data_2/dagRuns/{run_id}/taskInstances/notify/xcomEntries/status"
    stack.api.call("PATCH", path, json={"value": status})
    return run_id


@contextmanager
def logged_in(stack: Stack, browser: Browser, theme: str) -> Iterator[Page]:
    """A tab of somebody who has chosen these colors."""
    context = browser.new_context(viewport=VIEWPORT, timezone_id="UTC", locale="en-US", reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(f"localStorage.setItem('theme', '{theme}')")
    tab = context.new_page()
    passwords = json.loads((stack.folder.airflow / "passwords.json").read_text())
    tab.goto(stack.ui)
    tab.locator("input[name='username']").fill("admin")
    tab.locator("input[name='password']").fill(passwords["admin"])
    tab.locator("button[type='submit']").click()
    expect(tab.get_by_test_id("nav-sidebar")).to_be_visible(timeout=PATIENCE_MS)
    yield tab
    context.close()


def picture(tab: Page, name: str) -> None:
    """Take it when nothing moves any more."""
    tab.wait_for_timeout(2500)
    tab.screenshot(path=IMAGES / f"{name}.png")


def page_picture(stack: Stack, browser: Browser, name: str, says: str, theme: str = "light") -> None:
    """The page inside of Airflow."""
    with logged_in(stack, browser, theme) as tab:
        tab.get_by_test_id("nav-sidebar").get_by_text("Canvas Data").click()
        frame = tab.frame_locator("iframe[title='Canvas Data']")
        expect(frame.locator("main")).to_contain_text(says, timeout=PATIENCE_MS)
        picture(tab, name)


def running_picture(stack: Stack, browser: Browser) -> None:
    """A refresh in its middle, three tables of which load for long."""
    stack.simulator.advance(0.2)
    stack.simulator.job_seconds(15)
    for name in SLOW:
        stack.simulator.fault("canvas", name.split(".")[1], "slow_download", seconds=600)
    run_id = stack.trigger(CONF)
    with logged_in(stack, browser, "light") as tab:
        tab.route("**/logs/**", lambda route: tell_progress(stack, run_id, route))
        tab.get_by_test_id("nav-sidebar").get_by_text("Canvas Data").click()
        live = tab.frame_locator("iframe[title='Canvas Data']").locator("#live")
        expect(live.locator(".loads tbody tr")).to_have_count(len(SLOW), timeout=600_000)
        expect(live.locator(".loads")).to_contain_text("2,481,337", timeout=600_000)
        expect(live).to_contain_text("waiting for a turn", timeout=PATIENCE_MS)
        picture(tab, "page-running")
    stack.api.fail_run(run_id)
    stack.simulator.clear_faults()
    stack.simulator.job_seconds(0)


def dictionary_picture(stack: Stack, browser: Browser) -> None:
    """The data dictionary of the replica."""
    file = stack.folder.path / "dictionary.html"
    # Another process, because playwright has the event loop of this one.
    environment = os.environ | {"CD2_DSN": stack.replica_dsn}
    subprocess.run([sys.executable, "-m", "cd2.dictionary", str(file)], env=environment, check=True)
    context = browser.new_context(viewport=VIEWPORT, color_scheme="light")
    tab = context.new_page()
    tab.goto(file.as_uri())
    picture(tab, "dictionary")
    context.close()


def tell_progress(stack: Stack, run_id: str, route: Route) -> None:
    """What the log of a table says that has been loading for a minute."""
    index = int(route.request.url.split("map_index=")[1].split("&")[0])
    table = stack.names(run_id)[index]
    if table not in SLOW:
        route.continue_()
        return
    number = SLOW.index(table) + 1
    progress = Progress(TableName.parse(table), 2_481_337 // number, 81_000_000, 61.0 / number**0.2, (2, 5))
    event = {"event": str(progress), "timestamp": datetime.now(UTC).isoformat()}
    route.fulfill(json={"content": [event], "continuation_token": None})


def main() -> None:
    """Make all pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Stack(Path(folder) / "stack", rows=100, job_creations_per_minute=60) as stack,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--lang=en-US"])
        for _ in range(2):
            run(stack)
        dictionary_picture(stack, browser)
        page_picture(stack, browser, "page", "tables are up to date")
        page_picture(stack, browser, "page-dark", "tables are up to date", "dark")
        running_picture(stack, browser)
        for table in ("assignments", "quizzes"):
            stack.simulator.fault("canvas", table, "missing_column", times=1)
        failed = run(stack)
        page_picture(stack, browser, "page-failed", "tables failed")
        with logged_in(stack, browser, "light") as tab:
            tab.goto(f"{stack.ui}/dags/canvas_data_2/runs/{failed}/tasks/process_table.sync_table/mapped")
            picture(tab, "grid")
        browser.close()


if __name__ == "__main__":
    main()
