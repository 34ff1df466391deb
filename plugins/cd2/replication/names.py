"""Names of namespaces and tables of Canvas Data 2, and quoted names for SQL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

NAMESPACES = ("canvas", "canvas_logs", "catalog", "new_quizzes")
"""The namespaces that the official client can replicate; it rejects any other name."""


@dataclass(frozen=True, order=True)
class TableName:
    """A table of Canvas Data 2, and the table of the replica with its rows: both have the same name."""

    namespace: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read `namespace.table`.

        :raises ValueError: it is not of that form.
        """
        namespace, dot, table = text.partition(".")
        if not (namespace and dot and table):
            raise ValueError(f"{text!r} is not a table name: write namespace.table, for example canvas.users")
        return cls(namespace, table)

    def matches(self, patterns: Iterable[str]) -> bool:
        """Whether it is one of these: `table` or `namespace.table`, shell wildcards allowed."""
        return any(fnmatchcase(str(self), pattern) or fnmatchcase(self.table, pattern) for pattern in patterns)

    def __str__(self) -> str:
        return f"{self.namespace}.{self.table}"

    @property
    def quoted(self) -> str:
        """The name for SQL: `"canvas"."users"`."""
        return f"{quote_identifier(self.namespace)}.{quote_identifier(self.table)}"

    @property
    def rows(self) -> str:
        """Its rows, for SQL that reads or changes them: without those of tables that inherit from it."""
        return f"ONLY {self.quoted}"


def quote_identifier(name: str) -> str:
    """A name quoted for SQL, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
