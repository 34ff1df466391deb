"""The code has the shape that docs/architecture.md draws: every package explained, on the map, and small."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.architecture.imports import PLUGINS, modules
from tests.docs.markdown import repository_files

REPOSITORY = Path(__file__).parents[2]
MAP = (REPOSITORY / "docs" / "architecture.md").read_text()
LONGEST_MODULE = 300
MODULES_IN_A_FOLDER = 9
"""About eight: what a reader sees at a glance. `tasks` has one more."""
PACKAGES = {name: path for name, path in modules().items() if path.name == "__init__.py"}
MODULES = {name: path for name, path in modules().items() if path.name != "__init__.py"}


def our_python() -> list[Path]:
    return [REPOSITORY / file for file in sorted(repository_files()) if file.endswith(".py")]


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in (PLUGINS / "cd2").rglob("*.py")}
    assert folders == {path.parent for path in PACKAGES.values()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_lives_there_and_what_it_may_import(package: str) -> None:
    text = ast.get_docstring(ast.parse(PACKAGES[package].read_text()))
    assert text, f"{package} has no docstring"
    if package != "cd2":
        assert re.search(r"(?i)\bimports?\b", text), f"{package} does not say what it may import: {text}"


def on_the_map() -> set[str]:
    """The modules that the map names, by their path below `cd2`: each stands below the folder named last before it."""
    section = MAP[MAP.index("## The package") : MAP.index("### One table, one transaction")]
    folder, found = "", set()
    for named in re.findall(r"`([\w/]+/|\w+\.py)`", section):
        if named.endswith("/"):
            folder = "" if named == "plugins/cd2/" else named
        else:
            found.add(f"{folder}{named}")
    return found


def test_the_map_names_every_package_and_module_at_its_place_and_no_other() -> None:
    there = {str(path.relative_to(PLUGINS / "cd2")) for path in MODULES.values()}
    assert on_the_map() == there


def test_every_file_that_the_architecture_names_is_there() -> None:
    known = {path.name for path in our_python()}
    named = set(re.findall(r"`(?:[\w./-]*/)?(\w+\.py)`", MAP))
    assert named <= known, f"docs/architecture.md names {', '.join(sorted(named - known))}"


def test_no_module_is_long() -> None:
    lengths = {str(path.relative_to(REPOSITORY)): len(path.read_text().splitlines()) for path in our_python()}
    long = [f"{name}: {lines} lines" for name, lines in lengths.items() if lines > LONGEST_MODULE]
    assert long == []


@pytest.mark.parametrize("package", PACKAGES)
def test_no_folder_is_crowded(package: str) -> None:
    folder = PACKAGES[package].parent
    inside = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
    assert len(inside) <= MODULES_IN_A_FOLDER, f"{folder.relative_to(REPOSITORY)}: {', '.join(inside)}"


def test_no_two_modules_of_tests_have_one_name() -> None:
    """Pytest imports them by name: of two, one is not collected in a fresh clone. And none imports from another."""
    files = [*(REPOSITORY / "tests").rglob("test_*.py")]
    counted = Counter(file.name for file in files)
    assert [name for name, number in counted.items() if number > 1] == []
    imports = re.compile(r"(?m)^(?:from|import) tests\.(?:\w+\.)*test_")
    assert [file.name for file in files if imports.search(file.read_text())] == []
