"""Names: of the namespaces and tables of Canvas Data 2, and of anything in PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass

NAMESPACES = ("canvas", "canvas_logs", "catalog", "new_quizzes")
"""The namespaces that the official client can replicate; it refuses any other name."""


@dataclass(frozen=True, order=True)
class TableName:
    """A table of Canvas Data 2, and the table of the replica that holds its rows: both have the same name."""

    namespace: str
    table: str

    @classmethod
    def parse(cls, text: str) -> TableName:
        """Read `namespace.table`.

        :raises ValueError: the text is no such name.
        """
        namespace, dot, table = text.partition(".")
        if not (namespace and dot and table):
            raise ValueError(f"{text!r} is not a table name: write namespace.table, for example canvas.users")
        return cls(namespace, table)

    def __str__(self) -> str:
        return f"{self.namespace}.{self.table}"

    @property
    def quoted(self) -> str:
        """The name as SQL reads it: `"canvas"."users"`."""
        return f"{quote_identifier(self.namespace)}.{quote_identifier(self.table)}"


def quote_identifier(name: str) -> str:
    """A name as PostgreSQL reads it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'
