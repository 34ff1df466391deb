"""The data dictionary of a replica with all 109 tables, in a real browser: search, references, keyboard, paper."""

from __future__ import annotations

import secrets
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from cd2.dictionary import catalog
from cd2.dictionary.model import Dictionary
from cd2.dictionary.page import render
from cd2.replication.database.connection import DatabaseTarget, connected
from local.postgres import EmbeddedPostgres
from tests.page.accessibility import violations
from tests.page.conftest import PATIENCE_MS
from tests.replication.replica import make_replicator, prepare, run, target_of
from tests.replication.simulators import NO_LIMITS, simulator_process
from tests.steps import init

pytestmark = pytest.mark.slow
expect.set_options(timeout=PATIENCE_MS)
MOST_MEMORY = 30_000_000
"""Bytes, for reading and rendering 109 tables: a worker has at least 2 GB."""


@pytest.fixture(scope="module")
def replica(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseTarget]:
    """All tables, filled through the product."""
    name = f"dictionary_{secrets.token_hex(4)}"
    postgres.create_database(name)
    target = target_of(postgres.dsn(name))
    prepare(target)
    with simulator_process(tmp_path_factory.mktemp("simulator"), "--rows", "3", *NO_LIMITS) as simulator:
        replicator = make_replicator(simulator, target)

        async def fill() -> None:
            for table in simulator.tables():
                assert (await init(replicator, table)).state == "initialized"

        run(fill())
    yield target
    postgres.drop_database(name)


def read(target: DatabaseTarget) -> Dictionary:
    async def work() -> Dictionary:
        async with connected(target) as connection:
            return await catalog.read(connection)

    return run(work())


@pytest.fixture(scope="module")
def file(replica: DatabaseTarget, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file, made before the browser holds the thread; made in little memory."""
    path = tmp_path_factory.mktemp("dictionary") / "dictionary.html"
    tracemalloc.start()
    try:
        with path.open("w", encoding="utf-8") as out:
            out.writelines(render(read(replica)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MOST_MEMORY
    return path


@pytest.fixture
def page(file: Path, tab: Page) -> Iterator[Page]:
    """The file in a browser, which asks for nothing else."""
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    assert set(asked) == {file.as_uri()}


def test_it_shows_every_table_with_a_diagram_of_each_area(page: Page) -> None:
    expect(page.locator("section.table")).to_have_count(109)
    expect(page.locator("header")).to_contain_text("109 tables, ")
    expect(page.locator("svg.erd")).to_have_count(page.locator("section.area").count())
    expect(page.locator("svg.erd g.box")).to_have_count(109)
    submissions = page.locator("[id='canvas.submissions']")
    expect(submissions).to_contain_text("Rows")
    expect(submissions).to_contain_text("Checked")
    expect(page.locator("[id='canvas.submissions.user_id']").get_by_role("link")).to_have_text("canvas.users")
    expect(page.locator("[id='canvas.quizzes.context_id']")).to_contain_text("canvas.courses")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_light_and_dark_and_while_one_searches(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert violations(page) == []
    page.get_by_label("Search tables").fill("workflow_state deleted")
    expect(page.get_by_role("status")).not_to_be_empty()
    assert violations(page) == []


def test_search_finds_tables_columns_and_values_and_says_how_many(page: Page) -> None:
    page.keyboard.press("/")
    expect(page.get_by_label("Search tables")).to_be_focused()
    page.keyboard.type("users sortable")
    expect(page.locator("section.table:visible")).to_have_count(1)
    expect(page.locator("[id='canvas.users'] tbody tr:visible")).to_have_count(1)
    expect(page.get_by_role("status")).to_have_text("1 table, 1 column")
    expect(page.locator("nav a:visible")).to_have_text(["users"])
    page.get_by_label("Search tables").fill("pass_fail")
    expect(page.locator("[id='canvas.assignments.grading_type']")).to_be_visible()
    page.get_by_label("Search tables").fill("no such thing <b>")
    expect(page.locator("#nothing")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("section.table:visible")).to_have_count(109)


def test_a_reference_leads_to_its_table_even_if_the_search_has_hidden_it(page: Page) -> None:
    page.get_by_label("Search tables").fill("enrollment_states enrollment_id")
    link = page.locator("[id='canvas.enrollment_states.enrollment_id'] a")
    expect(link).to_have_text("canvas.enrollments")
    link.focus()
    page.keyboard.press("Enter")
    expect(page.locator("[id='canvas.enrollments']")).to_be_in_viewport()
    expect(page.get_by_label("Search tables")).to_have_value("")
    assert page.url.endswith("#canvas.enrollments")
    page.locator("[id='canvas.enrollments'] .used a").first.click()
    expect(page.locator("tr:target")).to_be_in_viewport()
    page.locator("svg.erd a[href='#canvas.rubrics']").click()
    expect(page.locator("[id='canvas.rubrics']")).to_be_in_viewport()


def test_on_paper_there_is_all_of_it_and_nothing_to_click(page: Page) -> None:
    assert page.locator("details:not([open])").count() > 1
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.locator("nav")).to_be_hidden()
    expect(page.get_by_label("Search tables")).to_be_hidden()
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf(format="A4").startswith(b"%PDF-")
