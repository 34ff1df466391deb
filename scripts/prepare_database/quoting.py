"""Names in statements, whatever their characters."""

from __future__ import annotations

from psycopg import sql


def statement(template: str, *names: str) -> str:
    """A statement with `{}` replaced by quoted names.

    :param template: ours, never from outside.
    """
    return sql.SQL(template).format(*map(sql.Identifier, names)).as_string(None)


def tables(schema: str, names: list[str]) -> str:
    """Tables of a schema, quoted, as a list in a statement."""
    return sql.SQL(", ").join(sql.Identifier(schema, name) for name in names).as_string(None)
