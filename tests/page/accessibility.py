"""What axe finds on a page."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page


def violations(tab: Page, within: str | None = None) -> list[str]:
    """Everything that axe's rules object to, with the first elements that it names.

    :param within: only what this selector finds.
    """
    found = Axe().run(tab, context=within).response["violations"]
    return [f"{one['impact']} {one['id']}: {[node['html'][:150] for node in one['nodes'][:3]]}" for one in found]
