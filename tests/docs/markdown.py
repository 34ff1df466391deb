"""What the project's Markdown files hold: links, headings, commands, SQL."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE_COMMAND = re.compile(r"`((?:make|airflow|aws|terraform|docker compose|\.venv/bin/\w+) [^`]+|\.ci/run)`")
SEPARATORS = {"|", "&&", ";"}


@dataclass(frozen=True)
class Command:
    """One command that a document tells people to run: its words, without variables set before it."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join(self.words)}"


@cache
def repository_files() -> frozenset[str]:
    """Every file of the repository, also new ones; without Git, every file that is not in a folder of tools."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    if (REPOSITORY / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.splitlines()
    else:
        listed = [str(path.relative_to(REPOSITORY)) for path in REPOSITORY.rglob("*") if not _is_made(path)]
    return frozenset(file for file in listed if (REPOSITORY / file).is_file())


def _is_made(path: Path) -> bool:
    made = {".venv", ".local", "__pycache__", ".terraform", "dist"}
    parts = path.relative_to(REPOSITORY).parts
    return bool(made & set(parts)) or any(part.endswith("_cache") for part in parts)


def documents() -> list[Path]:
    """All Markdown files that people read."""
    return sorted(REPOSITORY / file for file in repository_files() if file.endswith(".md"))


def name(document: Path) -> str:
    return str(document.relative_to(REPOSITORY))


def links(document: Path) -> list[str]:
    """Targets of all links, without code."""
    text = FENCE.sub("", document.read_text())
    return LINK.findall(re.sub(r"`[^`]*`", "", text)) + LINK.findall(
        "\n".join(re.findall(r"\[[^\]]*`[^\]]*\]\([^)]*\)", text))
    )


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"(?m)^#{1,6} +(.+)$", FENCE.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def blocks(document: Path, *languages: str) -> list[str]:
    """The contents of the fenced blocks in these languages."""
    return [text for language, text in FENCE.findall(document.read_text()) if language in languages]


def commands(document: Path) -> list[Command]:
    """Commands of `sh` blocks, those typed in `console` blocks, and those named in running text."""
    found = [line for block in blocks(document, "sh") for line in block.replace("\\\n", " ").splitlines()]
    for block in blocks(document, "console"):
        found += re.findall(r"(?m)^\$ (.+)$", block.replace("\\\n", " "))
    found += INLINE_COMMAND.findall(FENCE.sub("", document.read_text()))
    return [command for line in found for command in _split(name(document), line)]


def _split(document: str, line: str) -> list[Command]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    lexer.commenters = "#" if re.search(r"(^|\s)#", line) else ""
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word in SEPARATORS:
            parts.append([])
        elif parts[-1] or not re.match(r"\w+=", word):
            parts[-1].append(word)
    return [Command(document, tuple(part)) for part in parts if part]


def tables(document: Path) -> dict[tuple[str, ...], list[list[str]]]:
    """The rows of all tables, by their header; tables with the same header follow one another."""
    found: dict[tuple[str, ...], list[list[str]]] = {}
    for header, body in re.findall(r"(?m)^(\|.*)\n\|[-| ]+\|\n((?:\|.*\n?)+)", document.read_text()):
        found.setdefault(tuple(_cells(header)), []).extend(_cells(line) for line in body.splitlines())
    return found


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
