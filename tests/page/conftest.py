"""A browser for the tests of the page: Chromium, driven by playwright.

Playwright brings none here: it is the machine's own (`apt install chromium`), or the program that CHROMIUM names.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_MS = 60_000.0
"""For what takes tenths of a second: a busy machine makes no test fail."""


def chromium() -> str | None:
    """The program; None: there is none on this machine."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One per module: while it is open, nobody else can run an event loop in this thread."""
    program = chromium()
    if program is None:
        pytest.skip("no Chromium on this machine")
    with sync_playwright() as playwright:
        # The sandbox of the browser needs rights that containers do not give; it opens only our own pages.
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--lang=en-US"])
        yield opened
        opened.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Page]:
    """A tab of its own, with no cookie; errors of its scripts fail the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 900}, timezone_id="UTC", locale="en-US")
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    context.close()
    assert errors == []
