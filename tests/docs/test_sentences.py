"""docs/operations.md has every sentence with which a table or a task can fail, and what to do about it.

The other direction, that what it quotes is what the code says, is in `test_messages.py`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

import pytest

from cd2.replication.errors import KINDS, FailedJobError, RefusedCredentials
from cd2.replication.failures import RULES
from cd2.replication.sqlerrors.sqlstates import SQLSTATES
from tests.docs.markdown import REPOSITORY, tables
from tests.docs.quotes import QUOTED, VARIES, fragments

OPERATIONS = REPOSITORY / "docs" / "operations.md"
LIKE_MANY = 4
"""A quote that is part of more sentences than this is no entry of the list: "it will be retried"."""
FAILURES = {*KINDS, RefusedCredentials.__name__, FailedJobError.__name__}
MADE_BY = dict.fromkeys(FAILURES, 0) | {"_without_result": 1, "_in_the_way": 2, "because_of": 1}
"""What makes a failure, and which of its arguments is the sentence."""
LEAST_WORDS = 3
"""A text with fewer only joins others, which are looked for by name."""


@cache
def sentences() -> dict[str, str]:
    """Every sentence of a failure, with an ellipsis for what varies, and where it stands."""
    found = {}
    for path in sorted((REPOSITORY / "plugins" / "cd2").rglob("*.py")):
        where = str(path.relative_to(REPOSITORY))
        tree = ast.parse(path.read_text())
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for line, text in _of(function, tree):
                    found[text] = f"{where}:{line}"
    found |= {rule.advice: "failures.py" for rule in RULES} | {meaning.advice: "sqlstates.py" for meaning in SQLSTATES}
    return found


def _of(function: ast.AST, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for call in ast.walk(function):
        if not isinstance(call, ast.Call):
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        place = MADE_BY.get(name)
        if place is not None and len(call.args) > place:
            for text in _texts(call.args[place], function, tree):
                if len(re.findall(r"[A-Za-z]{2,}", text)) >= LEAST_WORDS:
                    yield call.lineno, " ".join(text.split())


def _texts(node: ast.AST, function: ast.AST, tree: ast.Module) -> Iterator[str]:
    """What an expression says; if that is nothing of its own, what the variables and functions in it say."""
    text = _text(node)
    if len(re.findall(r"[A-Za-z]{2,}", text)) >= LEAST_WORDS:
        yield text
        return
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    for part in ast.walk(function):
        if isinstance(part, ast.Assign | ast.NamedExpr):
            targets = part.targets if isinstance(part, ast.Assign) else [part.target]
            if {target.id for target in targets if isinstance(target, ast.Name)} & names:
                yield _text(part.value)
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef) and part.name in names:
            yield from (_text(end.value) for end in ast.walk(part) if isinstance(end, ast.Return) and end.value)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or VARIES for part in node.values)
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return ""


@cache
def entries() -> list[list[str]]:
    """What the tables quote, but for words that are in many sentences."""
    cells = [cell for rows in tables(OPERATIONS).values() for row in rows for cell in row]
    quotes = [fragments(quote) for cell in cells for quote in QUOTED.findall(cell)]
    return [quote for quote in quotes if quote and sum(_has(one, quote) for one in sentences()) <= LIKE_MANY]


def _has(sentence: str, quote: list[str]) -> bool:
    return all(part in sentence for part in quote)


def first_column(word: str) -> list[str]:
    """The codes in the first column of the tables whose first heading is this."""
    rows = [row for header, rows in tables(OPERATIONS).items() if header[0] == word for row in rows]
    return [code for row in rows for code in re.findall(r"`([^`]+)`", row[0])]


def test_the_sentences_are_found() -> None:
    assert len(sentences()) > 120
    for known in ("ended without a result: clear it", "did not finish its job within", "cannot be recreated"):
        assert any(known in sentence for sentence in sentences()), known


@pytest.mark.parametrize("sentence", sentences())
def test_every_sentence_that_something_can_fail_with_is_in_the_list_of_what_to_do(sentence: str) -> None:
    said = any(_has(sentence, quote) for quote in entries())
    assert said, f"docs/operations.md does not say what to do about this one ({sentences()[sentence]}): {sentence}"


def test_every_type_of_daps_errors_is_in_the_list_and_no_other() -> None:
    types = [rule.code for rule in RULES if rule.code and rule.exception.__name__ == "OperationError"]
    assert sorted(first_column("DAP's type")) == sorted(types)


def test_every_sqlstate_is_in_the_list_and_no_other() -> None:
    assert sorted(set(first_column("SQLSTATE"))) == sorted({meaning.code for meaning in SQLSTATES if meaning.code})
