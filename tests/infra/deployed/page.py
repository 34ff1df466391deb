"""Every command of docs/deploy.md in its order: what is typed for it, or why nothing can be."""

from __future__ import annotations

import re

from scripts.costs import BEGIN, END
from tests.infra.terminal import Step, blocks

TYPED = {
    "GRANT canvas_readers TO somebody": Step("GRANT canvas_readers TO somebody", ""),
    "ALTER ROLE cd2_replication SET log_error_verbosity = terse;": Step(
        "ALTER ROLE cd2_replication SET log_error_verbosity = terse;", ""
    ),
    "ALTER ROLE cd2_replication SET log_min_messages = fatal;": Step(
        "ALTER ROLE cd2_replication SET log_min_messages = fatal;", ""
    ),
    "ANALYZE": Step("ANALYZE", ""),
    "--dsn-file FILE": Step(
        'make prepare-database ENV=dev ARGS="--dsn-file FILE --dry-run"',
        "Preparing the database cd2 on ... for cd2_replication (dry run)\n...\nNothing to change: 7 already right.",
    ),
    "--member-of OWNER": Step(
        'make prepare-database ENV=dev ARGS="--member-of OWNER"',
        "Preparing the database cd2 of canvas-data-2-dev for cd2_replication\n...\n"
        "  changed  membership of cd2_replication in OWNER, whose views it may restore\n...",
    ),
    "make costs": Step("make costs", "the page's own"),
    'make costs ARGS="--storage 500 --io 900 --acu 8"': Step(
        'make costs ARGS="--storage 500 --io 900 --acu 8"',
        "US dollars a month in us-east-1, ...\n| Aurora: storage (500 GB) | ...\n"
        "| Aurora: I/O (900 million requests) | ...",
    ),
    "make prices REGION=eu-central-1": Step(
        "make prices REGION=eu-central-1", "... prices of eu-central-1 are in dist/prices-eu-central-1.json."
    ),
    "make costs REGION=eu-central-1": Step(
        "make costs REGION=eu-central-1",
        "US dollars a month in eu-central-1, computed from `dist/prices-eu-central-1.json` of ...\n...\n"
        "| mw1.2xlarge | ...\n...",
    ),
    "--help": Step("make costs ARGS=--help", "usage: costs ... --storage N ... --io N ..."),
}
"""What is typed for a command outside of a block that shows a terminal, and what is printed."""

NO_SESSION = " --generate-cli-skeleton output"
"""Has AWS's command line check the arguments, and send nothing."""

NOT_TYPED = {
    "make setup": "it would build .venv anew; tests/setup has it",
    "aws sso login": "it opens a browser",
    "TERRAFORM=/path": "Terraform is on the PATH here",
    "git pull": "the copy has no remote",
    "YES=1": "here is a terminal; test_deploy has it",
    "YES=prod": "here is a terminal; test_second_life has it",
    "WAIT=0": "the same update without waiting; test_pausing has it",
    "terraform apply": "what the page says not to use",
    "ALTER": "a word",
    "CREATE DATABASE": "words; prepare_database says which, and test_prepare_database_refused runs that",
    "aws rds restore-db-cluster-to-point-in-time": "only its name; moto and MiniStack have no backups of Aurora",
    "aws rds restore-db-cluster-from-snapshot": "only its name; what is in the snapshot only Aurora knows",
    "make test-infra": "it runs this test",
    "make test": "it runs the other tests",
    "psql": "only RDS has a certificate that these authorities signed; its arguments are parsed",
}
"""Why a command is not typed, by the command or its first word."""

_FENCE = r"^```(?P<language>\w*)\n(?P<block>.*?)^```"
_INLINE = r"`(?P<inline>[^`\n]+)`"
_COMMAND = re.compile(
    r"(?:make|aws|terraform|git|psql|python|\.venv/\S+) \S|--[a-z]|[A-Z_]{3,}=|(?:ALTER|GRANT|ANALYZE|CREATE|DROP)\b"
)


class UnlistedError(AssertionError):
    """A command that is neither typed nor listed."""


def steps(document: str) -> list[Step]:
    """What is typed for a document, in its order, each command outside of a terminal once.

    :raises UnlistedError: a command of it is not typed, and `NOT_TYPED` does not say why.
    """
    shown = [step for block in blocks(document) for step in block]
    words = {word for step in [*shown, *TYPED.values()] for word in re.split(r'[ "]', step.command)}
    found: list[Step] = []
    for part in re.finditer(rf"(?ms){_FENCE}|{_INLINE}", document):
        if part["language"] == "console":
            found += blocks(part[0])[0]
            continue
        for command in commands(part):
            if command in TYPED:
                found += [TYPED[command]] if TYPED[command] not in found else []
            elif command.startswith("aws ssm start-session"):
                found.append(Step(command + NO_SESSION, '{\n    "SessionId": ...'))
            elif not _listed(command) and not all(_is_typed(word, words) for word in command.split()):
                raise UnlistedError(f"`{command}` of the page is not typed: put it into TYPED or NOT_TYPED")
    return found


def commands(part: re.Match[str]) -> list[str]:
    """The commands in a block or in the running text."""
    if part["inline"]:
        return [part["inline"]] if _COMMAND.match(part["inline"]) else []
    if part["language"] == "sh":
        return re.sub(r"\\\n\s*", "", part["block"]).splitlines()
    return [line for line in part["block"].splitlines() if part["language"] in ("text", "sql") and _COMMAND.match(line)]


def _listed(command: str) -> bool:
    return command in NOT_TYPED or command.split()[0] == "psql"


def _is_typed(word: str, words: set[str]) -> bool:
    """Whether a word is typed; `NAME=` stands for any value."""
    return word in words or (word.endswith("=") and any(each.startswith(word) for each in words))


def costs(document: str) -> str:
    """What the page says that `make costs` prints."""
    return document.partition(BEGIN)[2].partition(END)[0].strip()
