"""The code has the shape that docs/architecture.md draws: every package explained, on the map, and small."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

from tests.architecture.imports import PLUGINS, modules

REPOSITORY = Path(__file__).parents[2]
MAP = (REPOSITORY / "docs" / "architecture.md").read_text()
LONGEST_MODULE = 300
MODULES_IN_A_FOLDER = 9
"""About eight: what a reader sees at a glance. `tasks` has one more."""
PACKAGES = {name: path for name, path in modules().items() if path.name == "__init__.py"}
MODULES = {name: path for name, path in modules().items() if path.name != "__init__.py"}


def our_python() -> list[Path]:
    """Every Python file that git knows or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    return [path for name in listed.splitlines() if (path := REPOSITORY / name).exists()]


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in (PLUGINS / "cd2").rglob("*.py")}
    assert folders == {path.parent for path in PACKAGES.values()}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_says_what_lives_there_and_what_it_may_import(package: str) -> None:
    text = ast.get_docstring(ast.parse(PACKAGES[package].read_text()))
    assert text, f"{package} has no docstring"
    if package != "cd2":
        assert re.search(r"(?i)\bimports?\b", text), f"{package} does not say what it may import: {text}"


@pytest.mark.parametrize("package", PACKAGES)
def test_the_map_names_every_package(package: str) -> None:
    path = f"{PACKAGES[package].parent.relative_to(REPOSITORY)}/"
    within = f"{PACKAGES[package].parent.relative_to(PLUGINS / 'cd2')}/"
    assert f"`{path}`" in MAP or f"`{within}`" in MAP, f"docs/architecture.md has no `{within}`"


@pytest.mark.parametrize("module", MODULES)
def test_the_map_names_every_module(module: str) -> None:
    name = MODULES[module].name
    assert f"`{name}`" in MAP, f"docs/architecture.md has no `{name}` ({module})"


def test_the_map_names_no_module_that_is_not_there() -> None:
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
