"""Messages that documents quote are messages that the code prints.

A quoted message stands in italics and quotation marks, `*"like this … one"*`; an ellipsis stands for what varies.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.markdown import FENCE, REPOSITORY, documents, name
from tests.docs.quotes import QUOTED, VARIES, fragments

SOURCES = ("plugins", "dags", "scripts", "local")
EMPHASIS = re.compile(r"(?<![*\w/`])\*(?![*\s])([^*]+?)(?<!\s)\*(?![*\w])")
LONGEST_EMPHASIS = 4
"""Words: longer ones look like a message that should be in quotation marks. (Headings in front of a colon may be.)"""
PRINTF = re.compile(r"%(?:\.\d+)?[sdrf]")
QUOTES = [(name(document), quote) for document in documents() for quote in QUOTED.findall(document.read_text())]


@cache
def literals() -> tuple[str, ...]:
    """All strings of our programs on one line each; what a format fills in is an ellipsis."""
    found = []
    for folder in SOURCES:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in ast.walk(tree):
                if id(node) not in inside and (text := _text(node)):
                    found.append(" ".join(PRINTF.sub(VARIES, text).split()))
    return tuple(found)


def _text(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or VARIES for part in node.values)
    return ""


def test_there_are_quotes_to_check() -> None:
    assert len(QUOTES) >= 8


@pytest.mark.parametrize(("document", "quote"), QUOTES)
def test_a_quoted_message_is_one_that_the_code_prints(document: str, quote: str) -> None:
    missing = [part for part in fragments(quote) if not any(part in literal for literal in literals())]
    assert fragments(quote), f"{document} quotes nothing but what varies: {quote}"
    assert missing == [], f"{document} quotes what no program prints: {missing}"


@pytest.mark.parametrize("document", documents(), ids=name)
def test_what_looks_like_a_message_is_quoted_as_one(document: Path) -> None:
    """So that a message cannot escape the check above."""
    text = re.sub(r"`[^`\n]*`", "", QUOTED.sub("", FENCE.sub("", document.read_text())))
    long = [
        found.group(1)
        for found in EMPHASIS.finditer(text)
        if len(found.group(1).split()) > LONGEST_EMPHASIS and text[found.end() : found.end() + 1] != ":"
    ]
    assert long == [], f"{name(document)}: put these in quotation marks, or do without italics"
