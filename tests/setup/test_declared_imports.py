"""Every distribution that our Python code imports is named in requirements.txt or requirements-dev.txt."""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.compile_constraints import ROOT, requirement_lines

# the roots of our own modules: python runs in the checkout, with plugins/ on the path
OWN = {path.stem for folder in (ROOT, ROOT / "plugins", ROOT / "dags") for path in folder.iterdir()}


def imported_modules(source: str) -> Iterator[str]:
    """Names of the modules that a program imports, wherever the statement stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


packages_distributions = functools.cache(importlib.metadata.packages_distributions)


@functools.cache
def files_of(distribution: str) -> frozenset[str]:
    return frozenset(str(path) for path in importlib.metadata.files(distribution) or ())


@functools.cache
def owners(module: str) -> frozenset[str]:
    """The installed distributions that a module comes from; several share a namespace such as airflow.providers."""
    top = module.partition(".")[0]
    candidates = set(packages_distributions().get(top, ()))
    path = module.replace(".", "/")
    while len(candidates) > 1 and path:
        holders = {name for name in candidates if {f"{path}.py", f"{path}/__init__.py"} & files_of(name)}
        candidates = holders or candidates
        path = path.rpartition("/")[0]
    return frozenset(canonicalize_name(name) for name in candidates)


def undeclared(source: str, declared: set[str]) -> set[str]:
    """What a program imports that is neither ours nor Python's nor declared."""
    third_party = {name for name in imported_modules(source) if name.partition(".")[0] not in OWN}
    third_party = {name for name in third_party if name.partition(".")[0] not in sys.stdlib_module_names}
    return {name for name in third_party if not owners(name) & declared}


@pytest.fixture(scope="module")
def declared() -> set[str]:
    lines = requirement_lines(ROOT / "requirements.txt") + requirement_lines(ROOT / "requirements-dev.txt")
    return {canonicalize_name(Requirement(line).name) for line in lines}


def test_every_import_is_declared(declared: set[str]) -> None:
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.splitlines()]
    assert len(files) > 100
    missing = {str(file.relative_to(ROOT)): undeclared(file.read_text(), declared) for file in files if file.exists()}
    assert {name: modules for name, modules in missing.items() if modules} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def later():\n    import sympy.core\n", {"sympy.core"}),
        ("from airflow.providers.smtp.hooks.smtp import SmtpHook", {"airflow.providers.smtp.hooks.smtp"}),
        ("from airflow.providers.amazon.aws.hooks.sns import SnsHook\nfrom airflow.sdk import DAG", set()),
        ("import jwt, dap.api, json\nfrom . import x\nfrom cd2.settings import y\nimport local.simulator", set()),
        ("import nowhere_to_be_found", {"nowhere_to_be_found"}),
    ],
)
def test_an_import_that_nothing_declares_is_found(declared: set[str], source: str, expected: set[str]) -> None:
    assert undeclared(source, declared) == expected
