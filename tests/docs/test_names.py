"""No document, comment or docstring names a file, module or column of ours that is not there."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cd2.replication.bookkeeping.tables import CREATE_TABLES
from cd2.settings import Settings
from tests.docs.markdown import REPOSITORY, repository_files

ELSEWHERE = {
    "airflow.cfg": "Airflow's own file",
    "backend.tf": "made by whoever deploys",
    "analytics.tf": "made by whoever deploys",
    "infra/terraform/backend.tf": "made by whoever deploys",
    ".github/workflows/deploy.yml": "where the example is copied to",
    "dist/startup.sh": "made by make package",
    "prepare_aurora_db.py": "of the system that people come from",
    "results.json": "made by make bench",
}
"""Names of files that are rightly not in the repository, each with its reason."""
TEXTS = {".md", ".py", ".toml", ".yml", ".yaml", ".tf", ".tfvars", ".hcl", ".env", ".txt", ""}
FILE_NAME = re.compile(r"(?<![\w./*{}$@-])((?:[\w.-]+/)*[\w-]+\.(?:md|py|toml|ya?ml|tf|sh|cfg))\b(?![\w/(*])")
DOTTED = re.compile(r"(?<![\w./\"'@-])cd2\.([a-z_]+(?:\.\w+)*)(?![\w*(/@-])")
TABLES = set(re.findall(r"CREATE (?:OR REPLACE )?(?:TABLE|VIEW) (?:IF NOT EXISTS )?cd2\.(\w+)", "".join(CREATE_TABLES)))
PLACEHOLDERS = {"key", "name"}
"""What stands for the name of any setting."""


def texts() -> list[str]:
    """What people wrote; mkdocs checks its own file, which names pages."""
    written = (name for name in repository_files() if Path(name).suffix in TEXTS and "constraints" not in name)
    return sorted(name for name in written if name != "mkdocs.yml")


def is_there(name: str, written_in: str) -> bool:
    """Whether there is a file of that name, from the root, from beside the text, or as the end of a path."""
    beside = (REPOSITORY / written_in).parent / name
    return beside.exists() or any(known == name or known.endswith(f"/{name}") for known in repository_files())


@cache
def is_known(dotted: str) -> bool:
    """Whether `cd2.` + this is a module (or something in one), a table of the schema, or a setting."""
    first, *rest = dotted.split(".")
    settings = {field.name for field in dataclasses.fields(Settings)}
    if first in TABLES or (not rest and first in settings | PLACEHOLDERS):
        return True
    parts = ["cd2", first, *rest]
    for cut in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[cut:]:
            found = getattr(found, attribute, None)
        return found is not None
    return False


def prose(source: str) -> Iterator[str]:
    """Comments and docstrings of a program; its other strings may name files that it makes."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def test_only_files_that_are_there_are_named() -> None:
    wrong = []
    for name in texts():
        text = (REPOSITORY / name).read_text()
        said = "\n".join(prose(text)) if name.endswith(".py") else text
        named = set(FILE_NAME.findall(said)) - set(ELSEWHERE)
        wrong += [f"{name}: {file}" for file in sorted(named) if not is_there(file, name)]
    assert wrong == []


def test_only_modules_tables_and_settings_that_are_there_are_named() -> None:
    wrong = []
    for name in texts():
        named = set(DOTTED.findall((REPOSITORY / name).read_text()))
        wrong += [f"{name}: cd2.{dotted}" for dotted in sorted(named) if not is_known(dotted)]
    assert wrong == []
